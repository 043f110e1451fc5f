import gzip
import io
import itertools
import os
import random
import re
import shlex
import shutil
import stat
import subprocess
import tarfile
import zipfile
from types import SimpleNamespace

import pytest

from spectralseg.data import archives, disk
from spectralseg.data.cases import find_files
from spectralseg.errors import InputError


def make_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def tar_link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def refuse(archive, folder, pattern):
    with pytest.raises(InputError, match=pattern) as caught:
        archives.unpack(archive, folder)
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(folder.iterdir()), "an archive that fails leaves nothing behind"


@pytest.fixture
def folder(tmp_path):
    """Target folder; files beside it must not change."""
    target = tmp_path / "target"
    target.mkdir()
    return target


@pytest.mark.parametrize("name", ["a.zip", "A.ZIP", "a.tar", "a.tar.gz", "a.tgz"])
def test_an_archive_is_unpacked_with_its_folders(tmp_path, folder, name):
    members = {"top/one.txt": b"1", "top/deep/two.txt": b"2"}
    if name.lower().endswith(".zip"):
        archive = make_zip(tmp_path / name, members)
    else:
        archive = make_tar(tmp_path / name, members, "w" if name.endswith(".tar") else "w:gz")
    assert archives.is_archive(archive)
    archives.unpack(archive, folder)
    assert {str(path.relative_to(folder)): path.read_bytes() for path in find_files(folder, "*")} == members


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt"])
def test_a_zip_member_that_points_outside_is_refused_and_nothing_is_written(tmp_path, folder, name):
    archive = make_zip(tmp_path / "a.zip", {"fine.txt": b"1", name: b"evil"})
    refuse(archive, folder, "would be written outside")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "target"]


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt"])
def test_a_tar_member_that_points_outside_is_refused_and_nothing_is_written(tmp_path, folder, name):
    archive = make_tar(tmp_path / "a.tar", {"fine.txt": b"1", name: b"evil"})
    refuse(archive, folder, "would be written outside")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "target"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK])
def test_a_link_or_device_in_a_zip_is_refused(tmp_path, folder, kind):
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (kind | 0o777) << 16
    refuse(make_zip(tmp_path / "a.zip", {link: b"/etc/passwd"}), folder, "'link' is a link or device")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "file"])
def test_a_link_in_a_tar_is_refused(tmp_path, folder, kind, target):
    archive = make_tar(tmp_path / "a.tar", {"file": b"1", tar_link("link", target, kind): b""})
    refuse(archive, folder, "'link' is a link or device")


def test_a_device_in_a_tar_is_refused(tmp_path, folder):
    archive = make_tar(tmp_path / "a.tar", {tar_link("pipe", "", tarfile.FIFOTYPE): b""})
    refuse(archive, folder, "'pipe' is a link or device")


def make(path, members):
    if path.suffix == ".zip":
        return make_zip(path, members)
    return make_tar(path, members, "w" if path.suffix == ".tar" else "w:gz")


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_an_archive_that_expands_beyond_a_multiple_of_its_size_is_refused_before_it_does(
    tmp_path, folder, monkeypatch, kind
):
    archive = make(tmp_path / f"a.{kind}", {"a": bytes(600_000), "b": bytes(600_000)})
    monkeypatch.setattr(archives, "_SMALL", 1_000_000)
    monkeypatch.setattr(archives, "_RATIO", 0)
    refuse(archive, folder, r"its \d+ bytes expand to more than 1 MiB, as a bomb does; .*unpack it by hand")
    monkeypatch.setattr(archives, "_RATIO", 1_200_000 / archive.stat().st_size)
    archives.unpack(archive, folder)
    assert sorted(path.stat().st_size for path in folder.iterdir()) == [600_000, 600_000]


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_free_disk_space_is_checked(tmp_path, folder, monkeypatch, kind):
    archive = make(tmp_path / f"a.{kind}", {"a": bytes(9 * 2**20)})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=disk.RESERVE + 5 * 2**20))
    refuse(archive, folder, "expands to 9 MiB, but only 5 MiB of the disk are free beyond a reserve of 256 MiB")


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_the_number_of_members_is_limited(tmp_path, folder, monkeypatch, kind):
    archive = make(tmp_path / f"a.{kind}", {str(n): b"" for n in range(11)})
    monkeypatch.setattr(archives, "_MOST_MEMBERS", 10)
    refuse(archive, folder, "more than 10 members")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *itertools.product(
            ("zip", "tar", "tgz"), ("..\\evil.txt", "\\evil.txt", "C:/evil.txt", "c:evil.txt", "C:\\evil")
        ),
        *itertools.product(("tar", "tgz"), ("a\\b.txt",)),
    ],
)
def test_unsafe_names_of_other_systems_are_refused(tmp_path, folder, kind, name):
    refuse(make(tmp_path / f"a.{kind}", {"fine.txt": b"1", name: b"evil"}), folder, "would be written outside")


def test_backslashes_of_windows_are_separators_in_a_zip(tmp_path, folder):
    members = {"top\\": b"", "top\\in ner\\a.txt": b"1", "top\\b.txt": b"2"}
    archives.unpack(make_zip(tmp_path / "a.zip", members, zipfile.ZIP_DEFLATED), folder)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == {
        *("top", "top/in ner", "top/in ner/a.txt", "top/b.txt")
    }
    assert (folder / "top" / "in ner" / "a.txt").read_bytes() == b"1"


def test_a_name_with_a_nul_is_refused(tmp_path, folder):
    archive = make_zip(tmp_path / "a.zip", {"aXb.txt": b"1"}, zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"aXb", b"a\0b"))
    refuse(archive, folder, "would be written outside")


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_duplicate_names_are_refused(tmp_path, folder, kind):
    archive = make(tmp_path / f"a.{kind}", {"a": b"1", "./a": b"2"})
    refuse(archive, folder, "'(./)?a' appears twice")


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_a_file_that_is_also_a_folder_is_refused(tmp_path, folder, kind):
    refuse(make(tmp_path / f"a.{kind}", {"a/b": b"1", "a": b"2"}), folder, "'a' is a file and a folder")


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_deeply_nested_folders_are_refused(tmp_path, folder, kind):
    refuse(make(tmp_path / f"a.{kind}", {"a/" * 1500 + "b": b"1"}), folder, "more than 64 folders deep")


def test_members_that_overlap_are_refused(tmp_path, folder):
    """Every entry of the directory points to the same compressed bytes."""
    archive = make_zip(tmp_path / "a.zip", {"a": bytes(9999), "b": bytes(9999), "c": bytes(9999)})
    content = bytearray(archive.read_bytes())
    for place in [match.start() for match in re.finditer(b"PK\x01\x02", content)]:
        content[place + 42 : place + 46] = bytes(4)  # offset of the local header
    archive.write_bytes(bytes(content))
    refuse(archive, folder, "members that overlap")


def test_wrong_sizes_are_detected(tmp_path, folder):
    archive = make_zip(tmp_path / "a.zip", {"a": bytes(999)})
    content = bytearray(archive.read_bytes())
    place = content.index(b"PK\x01\x02") + 24  # uncompressed size
    content[place : place + 4] = (1000).to_bytes(4, "little")
    archive.write_bytes(bytes(content))
    refuse(archive, folder, "'a' is not as long as its header says")
    content[place : place + 4] = (998).to_bytes(4, "little")
    archive.write_bytes(bytes(content))
    refuse(archive, folder, "cannot be unpacked")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rare_compression_methods_are_refused(tmp_path, folder, method):
    refuse(make_zip(tmp_path / "a.zip", {"a": b"1" * 999}, method), folder, "'a' is packed by a method")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_huge_headers_are_refused(tmp_path, folder, kind):
    archive = tmp_path / "a.tar.gz"
    info = tarfile.TarInfo("a")
    info.type, info.size = kind, 50 * 2**20
    with gzip.open(archive, "wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
        stream.write(bytes(info.size))
    refuse(archive, folder, "a header of absurd size")


def test_endless_padding_is_refused(tmp_path, folder):
    archive = make_tar(tmp_path / "a.tgz", {"a": b"1"}, "w:gz")
    with gzip.open(archive, "ab") as stream:
        stream.write(bytes(40 * 2**20))
    refuse(archive, folder, "endless padding")


def test_a_sparse_file_is_refused(tmp_path, folder):
    info = tarfile.TarInfo("a")
    info.type = tarfile.GNUTYPE_SPARSE
    refuse(make_tar(tmp_path / "a.tar", {info: b""}), folder, "'a' is a link or device")


def test_nested_archives_are_not_unpacked(tmp_path, folder):
    inner = make_zip(tmp_path / "inner.zip", {"a": b"1"})
    archives.unpack(make_zip(tmp_path / "a.zip", {"inner.zip": inner.read_bytes()}), folder)
    assert [path.name for path in folder.iterdir()] == ["inner.zip"]


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_a_truncated_archive_is_an_input_error(tmp_path, folder, kind, share):
    noise = {"a.bin": bytes((i * i) % 251 for i in range(50_000))}
    archive = tmp_path / f"a.{kind}"
    make_zip(archive, noise) if kind == "zip" else make_tar(archive, noise, "w" if kind == "tar" else "w:gz")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    refuse(archive, folder, "cannot be unpacked .*fetch it again")


def test_an_archive_that_is_compressed_twice_is_named(tmp_path, folder):
    archive = make_tar(tmp_path / "a.tar.gz", {"a": b"1"}, "w:gz")
    archive.write_bytes(gzip.compress(archive.read_bytes()))
    refuse(archive, folder, "is compressed twice; decompress it once")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("length", [1024, 1324, 1536, 2560, 2561, 3071])
def test_a_tar_that_ends_between_members_or_in_a_header_is_an_input_error(tmp_path, folder, compressed, length):
    # Two blocks of 512 bytes for each file: header and content.
    content = make_tar(tmp_path / "a.tar", {"a": b"1", "empty": b"", "b": b"2"}).read_bytes()
    archive = tmp_path / "b.tar.gz"
    truncated = content[:length]
    archive.write_bytes(gzip.compress(truncated) if compressed else truncated)
    refuse(archive, folder, "cannot be unpacked .*fetch it again")


def test_a_tar_with_one_block_of_zeros_at_its_end_is_unpacked(tmp_path, folder):
    content = make_tar(tmp_path / "a.tar", {"a": b"1"}).read_bytes()
    (tmp_path / "b.tar").write_bytes(content[:1536])
    archives.unpack(tmp_path / "b.tar", folder / "new")
    assert (folder / "new" / "a").read_bytes() == b"1"


def test_a_tar_whose_last_member_is_empty_and_unreadable_is_refused(tmp_path, folder):
    content = bytearray(make_tar(tmp_path / "a.tar", {"a": b"1", "b": b""}).read_bytes())
    content[1024] ^= 0xFF  # in the header of "b"
    (tmp_path / "a.tar").write_bytes(content)
    refuse(tmp_path / "a.tar", folder, "cannot be unpacked .*behind the last member")


@pytest.mark.parametrize("kind", ["zip", "tgz"])
@pytest.mark.parametrize("values", [4, 256])
def test_an_archive_with_damaged_bytes_is_an_input_error(tmp_path, folder, kind, values):
    noise = {"a.bin": bytes(random.Random(0).choices(range(values), k=50_000))}
    archive = tmp_path / f"a.{kind}"
    make_zip(archive, noise) if kind == "zip" else make_tar(archive, noise, "w:gz")
    content = bytearray(archive.read_bytes())
    for place in range(len(content) // 3, len(content) // 3 + 200):
        content[place] ^= 0xFF
    archive.write_bytes(bytes(content))
    refuse(archive, folder, "cannot be unpacked")


def test_a_tar_with_an_unreadable_second_member_is_refused(tmp_path, folder):
    archive = make_tar(tmp_path / "a.tar", {"a": b"1", "b": b"2"})
    content = bytearray(archive.read_bytes())
    content[1024] ^= 0xFF  # in the header of "b"
    archive.write_bytes(bytes(content))
    refuse(archive, folder, "cannot be unpacked .*behind the last member")


def test_a_file_that_only_has_the_name_of_an_archive_is_an_input_error(tmp_path, folder):
    for name in ("a.zip", "a.tar.gz"):
        (tmp_path / name).write_text("<html>Please log in</html>")
        refuse(tmp_path / name, folder, "cannot be unpacked")


def test_an_encrypted_zip_is_an_input_error(tmp_path, folder):
    archive = make_zip(tmp_path / "a.zip", {"a.txt": b"secret"}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # flag of the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    archive.write_bytes(bytes(content))
    refuse(archive, folder, "'a.txt' is encrypted; .*password")


def test_a_folder_in_the_official_layout_is_used_in_place(tmp_path):
    (tmp_path / "images").mkdir()
    with archives.unpacked(tmp_path, tmp_path / "scratch") as found:
        assert found == tmp_path
    assert not (tmp_path / "scratch").exists()


def test_archives_are_unpacked_beside_links_to_the_other_entries_and_removed_afterwards(tmp_path):
    raw = tmp_path / "raw"
    (raw / "labels").mkdir(parents=True)
    (raw / "labels" / "b.txt").write_text("b")
    (raw / "readme.txt").write_text("r")
    make_zip(raw / "a.zip", {"images/a.txt": b"a"})
    with archives.unpacked(raw, tmp_path / "scratch") as found:
        names = [path.relative_to(found).as_posix() for path in find_files(found, "*.txt")]
        assert names == ["a.zip/images/a.txt", "labels/b.txt", "readme.txt"]
    assert not list((tmp_path / "scratch").iterdir())
    assert sorted(path.name for path in raw.iterdir()) == ["a.zip", "labels", "readme.txt"]
    assert (raw / "labels" / "b.txt").read_text() == "b"


def test_one_archive_is_enough(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a.txt": b"a"})
    with archives.unpacked(archive, tmp_path / "scratch") as found:
        assert [path.relative_to(found).as_posix() for path in find_files(found, "*.txt")] == ["a.zip/a.txt"]


def test_files_of_one_name_in_two_archives_do_not_replace_each_other(tmp_path):
    for name in ("a", "b"):
        make_zip(tmp_path / f"{name}.zip", {"same.txt": name.encode()})
    with archives.unpacked(tmp_path, tmp_path / "scratch") as found:
        assert [path.read_text() for path in find_files(found, "same.txt")] == ["a", "b"]


@pytest.mark.parametrize("whole", [True, False])
def test_errors_name_the_archive_instead_of_the_temporary_folder(tmp_path, whole):
    archive = make_zip(tmp_path / "a.zip", {"top/a.txt": b"a"})
    with (
        pytest.raises(InputError) as caught,
        archives.unpacked(tmp_path if whole else archive, tmp_path / "scratch") as found,
    ):
        raise InputError(f"{found / 'a.zip' / 'top' / 'a.txt'}: is odd")
    assert str(caught.value) == f"{archive}/top/a.txt: is odd"


def test_a_file_that_is_no_archive_is_an_input_error(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(InputError, match=r"a\.rar: is neither"), archives.unpacked(tmp_path / "a.rar", tmp_path):
        pass


def test_the_unpacked_folder_is_removed_when_the_block_fails(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a.txt": b"a"})

    def fail():
        with archives.unpacked(archive, tmp_path / "scratch"):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list((tmp_path / "scratch").iterdir())


def test_a_path_that_does_not_exist_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="does not exist"), archives.unpacked(tmp_path / "none", tmp_path):
        pass


@pytest.mark.parametrize(
    ("folder", "member"),
    [("Data", "Data/a.txt"), ("data", "data/a.txt"), ("b", "a.txt")],
    ids=["sorted before", "sorted after", "named after the archive"],
)
@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_that_was_also_unpacked_in_place_is_refused(tmp_path, folder, member, suffix):
    raw = tmp_path / "raw"
    (raw / folder).mkdir(parents=True)
    (raw / folder / "a.txt").write_text("mine")
    if suffix == ".zip":
        make_zip(raw / "b.zip", {member: b"archived"})
    else:
        make_tar(raw / "b.tar.gz", {member: b"archived"}, "w:gz")
    with (
        pytest.raises(InputError, match=rf"{raw / folder}: .*keep one of the two"),
        archives.unpacked(raw, tmp_path / "scratch"),
    ):
        pass
    assert (raw / folder / "a.txt").read_text() == "mine"
    assert not list((tmp_path / "scratch").iterdir())


def test_clutter_of_file_managers_does_not_collide(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / ".DS_Store").write_text("mine")
    make_zip(raw / "a.zip", {".DS_Store": b"archived", "a.txt": b"a"})
    with archives.unpacked(raw, tmp_path / "scratch") as found:
        assert [path.name for path in find_files(found, "a.zip/*")] == ["a.txt"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.parametrize("base64", [True, False])
@pytest.mark.parametrize("name", ["a b.tar.gz", "a.enc"])
def test_the_command_for_an_encrypted_archive_decrypts_it(tmp_path, name, base64):
    make_tar(tmp_path / "plain.tar.gz", {"a.txt": b"a"}, "w:gz")
    key = {"shell": False, "check": True, "cwd": tmp_path, "capture_output": True, "env": {**os.environ, "KEY": "k"}}
    encrypt = ["openssl", "aes-256-cbc", "-md", "sha256", "-pass", "env:KEY", "-in", "plain.tar.gz", "-out", name]
    subprocess.run([*encrypt, *(["-a"] if base64 else [])], **key)
    (tmp_path / "plain.tar.gz").unlink()
    for raw in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match="is still encrypted; decrypt it with your key") as caught:
            archives.unpacked(raw, tmp_path / "scratch").__enter__()
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
    command = shlex.split(str(caught.value).rpartition(": ")[2])
    subprocess.run([*command, "-pass", "env:KEY"], **key)
    archives.verify(tmp_path / command[-1])


def test_fetch_refuses_an_encrypted_archive_as_well(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"Salted__" + bytes(40))
    with pytest.raises(InputError, match=r"a\.zip: is still encrypted"):
        archives.verify(tmp_path / "a.zip")
