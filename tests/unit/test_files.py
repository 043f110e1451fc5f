import errno
import hashlib
import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from spectralseg import locks
from spectralseg.errors import InputError
from spectralseg.files import (
    creating_folder,
    csv_text,
    notes_of,
    read_regular,
    remove_leftovers,
    replacing,
    replacing_all,
    replacing_folder,
    sha256_of,
    write_json,
    write_parquet,
)


class Stop(Exception):
    pass


def test_a_file_appears_only_when_the_block_ends(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with replacing(target) as partial:
        partial.write_text("new")
        assert not target.exists()
        assert partial.parent == target.parent, "a rename is atomic only within one folder"
        assert partial.suffix == target.suffix, "writers choose their format by the suffix"
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_only_leftovers_of_a_killed_writer_are_removed(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("whole")
    script = "import os, sys, pathlib; from spectralseg.files import replacing\n"
    script += "with replacing(pathlib.Path(sys.argv[1])) as partial: os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, str(target)], check=False)
    (tmp_path / ".file.txt-of-another").write_text("")
    assert len(list(tmp_path.iterdir())) == 3
    remove_leftovers(target)
    assert {path.name for path in tmp_path.iterdir()} == {"file.txt", ".file.txt-of-another"}
    assert target.read_text() == "whole"


@pytest.mark.parametrize("writer", [replacing, replacing_folder])
def test_the_next_writer_removes_only_leftovers_of_killed_writers(tmp_path, writer):
    leftovers = [tmp_path / f".file.txt.{end}" for end in ("abcd1234", "abcd_234.txt", "00000000")]
    names = (".file.txt.swp", ".file.txt.abcd1234.bak", "file.txt.abcd1234", ".other.abcd1234")
    others = [tmp_path / name for name in names]
    for path in (*leftovers[:2], *others):
        path.write_text("")
    (leftovers[2] / "below").mkdir(parents=True)
    with writer(tmp_path / "file.txt") as first:
        assert not any(path.exists() for path in leftovers)
        with writer(tmp_path / "file.txt"):
            assert first.exists(), "its writer is running"
    assert {path.name for path in tmp_path.iterdir()} == {"file.txt", *names}


def test_without_locks_temporary_files_are_never_removed_as_leftovers(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a"):
        assert first.exists()


@pytest.mark.parametrize("writer", [replacing, replacing_folder])
def test_content_is_synced_before_the_renaming(tmp_path, monkeypatch, writer):
    """A power cut leaves either the old or the new file."""
    events, fsync, rename = [], os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda handle: events.append(os.fstat(handle).st_ino) or fsync(handle))
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, lambda *names: events.append("rename") or rename(*names))
    with writer(tmp_path / "target") as partial:
        file = partial / "a.json" if partial.is_dir() else partial
        file.write_text("x")
        inodes = [path.stat().st_ino for path in dict.fromkeys((file, partial))]
    assert events == [*inodes, "rename", tmp_path.stat().st_ino]


def test_all_files_are_written_before_the_first_is_renamed(tmp_path):
    names = [tmp_path / "a.txt", tmp_path / "deep" / "b.txt"]

    def write(text, error=None):
        with replacing_all(*names) as partials:
            for partial in partials:
                partial.write_text(text)
            if error:
                raise error

    write("old")
    for error in (Stop(), OSError(errno.ENOSPC, "full", str(tmp_path / "deep" / ".b.txt.abcd1234"))):
        with pytest.raises(type(error)) as caught:
            write("new", error)
        assert [name.read_text() for name in names] == ["old", "old"]
    assert caught.value.filename == str(names[1])
    write("new")
    assert [name.read_text() for name in names] == ["new", "new"]
    assert [len(list(name.parent.iterdir())) for name in names] == [2, 1]


def test_a_folder_that_another_process_created_meanwhile_is_kept(tmp_path):
    def create():
        with creating_folder(tmp_path / "new") as partial:
            (partial / "file").write_text("created")
            (tmp_path / "new").mkdir()
            (tmp_path / "new" / "file").write_text("existing")

    with pytest.raises(InputError, match="already exists"):
        create()
    assert (tmp_path / "new" / "file").read_text() == "existing"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_table_keeps_its_values_and_notes(tmp_path):
    frame = pd.DataFrame({"a": ["x", "y"], "b": [0.5, float("nan")]}, index=[7, 9])
    write_parquet(tmp_path / "a.parquet", frame, {"of": "b"})
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), frame.reset_index(drop=True))
    assert notes_of(parquet.read_table(tmp_path / "a.parquet")) == {"of": "b"}
    write_parquet(tmp_path / "a.parquet", frame)
    assert notes_of(parquet.read_table(tmp_path / "a.parquet")) is None


@pytest.mark.parametrize("before", [None, "old"])
def test_an_exception_keeps_the_old_file_and_leaves_no_other(tmp_path, before):
    target = tmp_path / "file.txt"
    if before:
        target.write_text(before)

    def fail():
        with replacing(target) as partial:
            partial.write_text("half")
            raise Stop

    with pytest.raises(Stop):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == (["file.txt"] if before else [])
    if before:
        assert target.read_text() == before


def test_a_killed_writer_keeps_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    code = (
        "import os, sys; from pathlib import Path; from spectralseg.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half'); os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == 9
    assert target.read_text() == "old"
    assert all(path.name.startswith(".") for path in tmp_path.iterdir() if path != target)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_permissions_follow_the_umask(tmp_path, umask):
    previous = os.umask(umask)
    try:
        with replacing(tmp_path / "file.txt") as partial:
            partial.write_text("x")
        assert os.umask(umask) == umask, "the umask of the process is unchanged"
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o666 & ~umask


def test_a_folder_gets_its_files_at_the_end_of_the_block_and_keeps_others(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "log.txt").write_text("log")
    (target / "a.txt").write_text("old")
    with replacing_folder(target) as partial:
        (partial / "a.txt").write_text("new")
        (partial / "b.txt").write_text("new")
        assert (target / "a.txt").read_text() == "old"
        assert not (target / "b.txt").exists()
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        "a.txt": "new",
        "b.txt": "new",
        "log.txt": "log",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_kill_between_two_files_leaves_no_description(tmp_path, monkeypatch, moves):
    target = tmp_path / "folder"
    target.mkdir()
    for name in ("a.json", "b.npy", "z.npy"):
        (target / name).write_text("old")
    replace, moved = Path.replace, []

    def stopping(source, destination):
        if len(moved) == moves:
            raise Stop
        moved.append(destination.name)
        return replace(source, destination)

    def write():
        with replacing_folder(target) as partial:
            for name in ("a.json", "b.npy", "z.npy"):
                (partial / name).write_text("new")
            monkeypatch.setattr(Path, "replace", stopping)

    with pytest.raises(Stop):
        write()
    assert moved == ["b.npy", "z.npy"][:moves]
    assert not (target / "a.json").exists()


def test_a_failed_block_keeps_an_existing_folder(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "a.txt").write_text("old")

    def fail():
        with replacing_folder(target) as partial:
            (partial / "a.txt").write_text("half")
            raise Stop

    with pytest.raises(Stop):
        fail()
    assert (target / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_failed_block_creates_no_folder(tmp_path):
    def fail():
        with replacing_folder(tmp_path / "deep" / "folder"):
            raise Stop

    with pytest.raises(Stop):
        fail()
    assert not (tmp_path / "deep" / "folder").exists()


@pytest.mark.parametrize("writer", [replacing, replacing_folder])
def test_errors_of_the_operating_system_name_the_destination(tmp_path, writer):
    def fail(filename):
        with writer(tmp_path / "target") as partial:
            raise OSError(errno.ENOSPC, "No space left on device", filename and filename(partial))

    for filename in (None, lambda partial: str(partial)):
        with pytest.raises(OSError, match="No space left") as caught:
            fail(filename)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "target"))
    with pytest.raises(OSError, match="No space left") as caught:
        fail(lambda _: "/elsewhere")
    assert caught.value.filename == "/elsewhere"
    assert not list(tmp_path.iterdir())


def test_a_folder_does_not_replace_a_file(tmp_path):
    (tmp_path / "target").write_text("mine")

    def fail():
        with replacing_folder(tmp_path / "target"):
            pytest.fail("the work began")

    with pytest.raises(FileExistsError, match="target"):
        fail()
    assert (tmp_path / "target").read_text() == "mine"


def test_json_is_indented_sorted_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "λ"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "a": "λ",\n  "b": 1\n}\n'


def test_a_value_that_is_not_json_leaves_no_file(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert not list(tmp_path.iterdir())


def test_the_checksum_is_sha256_of_the_bytes(tmp_path):
    content = os.urandom(100_000)
    (tmp_path / "a").write_bytes(content)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_a_created_folder_has_only_new_files(tmp_path):
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "empty", tmp_path / "deep" / "new"):
        with creating_folder(target) as partial:
            (partial / "below").mkdir()
            (partial / "below" / "file").write_text("new")
            assert not list(tmp_path.glob("*/file"))
        assert (target / "below" / "file").read_text() == "new"
        with pytest.raises(InputError, match="already exists"), creating_folder(target) as partial:
            pytest.fail("the work began")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "empty"]


def test_csv_text_escapes_formulas_and_keeps_numbers():
    texts = ["=1+1", "+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!D2", "@SUM(A1)", "-HYPERLINK(1)", "plain", "", None]
    numbers = ["-0.5", "+1.2e-3", "-0.1 [-0.2, 0.0]", "-", "−1", "+0.3 ± 0.1", "-5 %"]
    table = pd.DataFrame({"=name": texts[:7], "value": numbers, "n": [-1.5] * 7})
    table = pd.read_csv(io.StringIO(csv_text(table)), keep_default_na=False, dtype=str)
    assert list(table.columns) == ["'=name", "value", "n"]
    assert table["'=name"].tolist() == [*(f"'{text}" for text in texts[:5]), "plain", ""]
    assert table["value"].tolist() == numbers
    assert table["n"].tolist() == ["-1.5"] * 7
    plain = pd.DataFrame({"a": ["x", None], "b": [1, 2], "c": pd.Categorical(["u", "v"]), "d": [True, False]})
    assert csv_text(plain) == plain.to_csv(index=False, lineterminator="\n")


def test_a_file_that_is_deleted_while_it_is_read_is_missing(tmp_path, monkeypatch):
    file = tmp_path / "progress.json"
    assert read_regular(file, 100, "delete it") is None
    file.write_bytes(b"{}")
    assert read_regular(file, 100, "delete it") == b"{}"
    opened = Path.open

    def vanish(path, *arguments):
        path.unlink()
        return opened(path, *arguments)

    monkeypatch.setattr(Path, "open", vanish)
    assert read_regular(file, 100, "delete it") is None


def test_a_file_that_is_created_while_it_is_looked_for_is_missing(tmp_path, monkeypatch):
    file = tmp_path / "progress.json"
    looked = Path.stat

    def appear(path, **options):
        try:
            return looked(path, **options)
        finally:
            file.write_bytes(b"{}")

    monkeypatch.setattr(Path, "stat", appear)
    assert read_regular(file, 100, "delete it") is None
    assert read_regular(file, 100, "delete it") == b"{}"
