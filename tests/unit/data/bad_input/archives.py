"""The archives in which the datasets come."""

import io
import shutil
import stat
import tarfile
import zipfile

from tests.unit.data.bad_input.entry import Entry, first, on, replaced, rewritten

ARCHIVE = {
    "acdc": "ACDC.zip",
    "atlas": "ATLAS_R2.0.tar.gz",
    "btseg": "brainTumorDataPublic_1-766.zip",
    "coca": "cocacoronarycalciumandchestcts-2.zip",
    "isic2017": "ISIC-2017_Test_v2_Data.zip",
    "isic2018": "ISIC2018_Task1_Training_GroundTruth.zip",
    "kvasir_seg": "kvasir-seg.zip",
    "monuseg": "MoNuSegTestData.zip",
    "orcascore": "Challenge_data.zip",
    "polypgen": "PolypGen2021_MultiCenterData_v3.zip",
    "synapse": "RawData.zip",
}


def _member(name, content=b"evil", **attributes):
    """One more member in a zip."""

    def change(path):
        info = zipfile.ZipInfo(name)
        for key, value in attributes.items():
            setattr(info, key, value)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(info, content)

    return change


def _kind(mode):
    return {"create_system": 3, "external_attr": mode << 16}


def _as_tar(change=lambda archive: None, mode="w:gz"):
    """The content of a zip as a tar instead, and what ``change`` adds to it."""

    def spoil(path):
        with zipfile.ZipFile(path) as source, tarfile.open(path.with_suffix(".tar.gz"), mode) as target:
            for info in source.infolist():
                if not info.is_dir():
                    member = tarfile.TarInfo(info.filename)
                    member.size = info.file_size
                    target.addfile(member, io.BytesIO(source.read(info)))
            change(target)
        path.unlink()

    return spoil


def _tar_member(name, kind=tarfile.REGTYPE, target="", content=b""):
    def change(archive):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, target, len(content)
        archive.addfile(info, io.BytesIO(content))

    return _as_tar(change)


def _tar_of(size):
    def change(archive):
        info = tarfile.TarInfo("bomb")
        info.size = size
        archive.fileobj.write(info.tobuf())

    return _as_tar(change)


def _tripled(path):
    """Every member three times at one offset: the directory is three times as long."""
    with zipfile.ZipFile(path) as archive:
        entries, start = archive.infolist(), archive.start_dir
    content = path.read_bytes()
    directory = content[start : content.rindex(b"PK\x05\x06")]
    end = bytearray(content[len(content) - 22 :])
    end[8:10] = end[10:12] = (3 * len(entries)).to_bytes(2, "little")
    end[12:16] = (3 * len(directory)).to_bytes(4, "little")
    path.write_bytes(content[:start] + directory * 3 + bytes(end))


def _encrypted(content):
    changed = bytearray(content)
    changed[6] |= 1
    changed[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def _promising(size):
    """Change the size of the first member in the directory."""

    def change(content):
        place = content.index(b"PK\x01\x02") + 24
        return content[:place] + size.to_bytes(4, "little") + content[place + 4 :]

    return change


def _nested(path):
    shutil.move(path, path.with_name("inner"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_name("inner"), "inner.zip")
    path.with_name("inner").unlink()


def _packed(dataset, name, change, says):
    return Entry(name, dataset, on(ARCHIVE[dataset], change), says, packed=True)


def _bomb(path):
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb", "w") as member:
        for _ in range(17):
            member.write(bytes(2**24))


def _unpacked_beside(raw):
    with zipfile.ZipFile(first(raw, "*.zip")) as archive:
        archive.extractall(raw)


OUTSIDE = "would be written outside"
ENTRIES = [
    _packed(
        "kvasir_seg", "zip slip", _member("../../evil.jpg"), rf"kvasir-seg\.zip: member '\.\./\.\./evil\.jpg' {OUTSIDE}"
    ),
    _packed(
        "polypgen", "zip slip within a path", _member("a/../../evil"), rf"v3\.zip: member 'a/\.\./\.\./evil' {OUTSIDE}"
    ),
    _packed("isic2018", "absolute path", _member("/tmp/evil"), rf"GroundTruth\.zip: member '/tmp/evil' {OUTSIDE}"),
    _packed("acdc", "path of Windows", _member("..\\..\\evil"), rf"ACDC\.zip: member .* {OUTSIDE}"),
    _packed("synapse", "drive of Windows", _member("C:/evil"), rf"RawData\.zip: member 'C:/evil' {OUTSIDE}"),
    _packed(
        "monuseg",
        "link to a file",
        _member("link", b"/etc/passwd", **_kind(stat.S_IFLNK | 0o777)),
        r"TestData\.zip: member 'link' is a link or device",
    ),
    _packed(
        "btseg",
        "device",
        _member("null", b"", **_kind(stat.S_IFCHR | 0o666)),
        r"1-766\.zip: member 'null' is a link or device",
    ),
    _packed("isic2017", "bomb", _bomb, r"Test_v2_Data\.zip: its \d+ bytes expand to more than 256 MiB, as a bomb does"),
    _packed(
        "kvasir_seg",
        "bomb of another method",
        _member("bomb", bytes(2**20), compress_type=zipfile.ZIP_BZIP2),
        r"kvasir-seg\.zip: member 'bomb' is packed by a method",
    ),
    _packed("kvasir_seg", "bomb of overlapping members", _tripled, r"kvasir-seg\.zip: has members that overlap"),
    _packed(
        "kvasir_seg",
        "name twice",
        _member("Kvasir-SEG/kavsir_bboxes.json"),
        r"kvasir-seg\.zip: member 'Kvasir-SEG/kavsir_bboxes\.json' appears twice",
    ),
    _packed(
        "acdc",
        "file as a folder",
        _member("ACDC/database/training/patient049/Info.cfg/a"),
        r"ACDC\.zip: member '\S+Info\.cfg' is a file and a folder",
    ),
    _packed(
        "synapse",
        "folders without end",
        _member("a/" * 70 + "b"),
        r"RawData\.zip: member .* lies more than 64 folders deep",
    ),
    _packed(
        "synapse", "name without end", _member("a" * 300), r"RawData\.zip: cannot be unpacked .*file name too long"
    ),
    _packed("acdc", "encrypted", rewritten(_encrypted), r"ACDC\.zip: member .* is encrypted"),
    _packed("synapse", "size too small", rewritten(_promising(9)), r"RawData\.zip: cannot be unpacked"),
    _packed(
        "synapse",
        "size too large",
        rewritten(_promising(10**8)),
        r"RawData\.zip: (cannot be unpacked|member .* is not as long)",
    ),
    _packed(
        "synapse",
        "size of gigabytes",
        rewritten(_promising(2**32 - 2)),
        r"RawData\.zip: its \d+ bytes expand to more than 256 MiB",
    ),
    _packed(
        "isic2018",
        "truncated",
        rewritten(lambda c: c[: len(c) * 2 // 3]),
        r"GroundTruth\.zip: cannot be unpacked .*; fetch it again",
    ),
    _packed(
        "btseg",
        "damaged",
        rewritten(lambda c: c[:2000] + bytes(200) + c[2200:]),
        r"1-766\.zip: cannot be unpacked .*; fetch it again",
    ),
    _packed(
        "orcascore",
        "truncated",
        rewritten(lambda c: c[: len(c) // 2]),
        r"Challenge_data\.zip: cannot be unpacked .*; fetch it again",
    ),
    _packed("coca", "bomb", _bomb, r"chestcts-2\.zip: its \d+ bytes expand to more than 256 MiB, as a bomb does"),
    _packed("polypgen", "empty", replaced(b""), r"v3\.zip: cannot be unpacked"),
    _packed("kvasir_seg", "an error page", replaced(b"<html>Log in</html>"), r"kvasir-seg\.zip: cannot be unpacked"),
    _packed("acdc", "an archive in an archive", _nested, r"no file matches 'training/patient\*/Info\.cfg'"),
    _packed("isic2017", "missing", lambda path: path.unlink(), r"no file matches images"),
    Entry(
        "unpacked in place as well",
        "kvasir_seg",
        _unpacked_beside,
        r"Kvasir-SEG: an archive beside it holds the same",
        packed=True,
    ),
    Entry("a tar instead", "kvasir_seg", on("*.zip", _as_tar()), r"\[\{\}, \{\}\]", recorded=True, packed=True),
    _packed(
        "kvasir_seg",
        "tar slip",
        _tar_member("../evil", content=b"evil"),
        rf"kvasir-seg\.tar\.gz: member '\.\./evil' {OUTSIDE}",
    ),
    _packed(
        "acdc",
        "tar with a link outside",
        _tar_member("link", tarfile.SYMTYPE, "/etc"),
        r"ACDC\.tar\.gz: member 'link' is a link or device",
    ),
    _packed(
        "synapse",
        "tar with a hard link",
        _tar_member("link", tarfile.LNKTYPE, "/etc/passwd"),
        r"RawData\.tar\.gz: member 'link' is a link or device",
    ),
    _packed(
        "kvasir_seg",
        "tar with a pipe",
        _tar_member("pipe", tarfile.FIFOTYPE),
        r"kvasir-seg\.tar\.gz: member 'pipe' is a link or device",
    ),
    _packed(
        "kvasir_seg",
        "tar with a device",
        _tar_member("disk", tarfile.BLKTYPE),
        r"kvasir-seg\.tar\.gz: member 'disk' is a link or device",
    ),
    _packed("acdc", "tar of terabytes", _tar_of(2**42), r"ACDC\.tar\.gz: its \d+ bytes expand to more than 256 MiB"),
    _packed(
        "acdc",
        "tar without its end",
        lambda path: _as_tar()(path) or rewritten(lambda c: c[:-500])(path.with_suffix(".tar.gz")),
        r"ACDC\.tar\.gz: cannot be unpacked",
    ),
    _packed(
        "synapse",
        "tar with a tail",
        lambda path: _as_tar()(path) or rewritten(lambda c: c + b"tail")(path.with_suffix(".tar.gz")),
        r"RawData\.tar\.gz: cannot be unpacked",
    ),
]
