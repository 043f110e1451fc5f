"""Unpacking archives without letting them write elsewhere or expand without bound."""

from __future__ import annotations

import contextlib
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from spectralseg.errors import InputError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_MOST_BYTES = 200 * 2**30
_CHUNK = 2**20


def is_archive(path: Path) -> bool:
    """Whether a file is taken for an archive, by its name."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into ``folder``; an archive that cannot be trusted writes nothing.

    Raises:
        InputError: the archive is damaged, would write outside ``folder``, holds links or devices, or is absurdly
            large.
    """
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as content:
                _check(archive, folder, [_zip_member(member) for member in content.infolist()])
                content.extractall(folder)
        else:
            with tarfile.open(archive) as tar:
                members = [_Member(m.name, m.size, m.isreg() or m.isdir()) for m in tar]
                _read_to_the_end(tar)
                _check(archive, folder, members)
                tar.extractall(folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{archive}: cannot be unpacked ({reason}); fetch it again") from None


class _Member(NamedTuple):
    """What zip and tar say alike of what they hold. ``plain``: a file or folder, neither link nor device."""

    name: str
    size: int
    plain: bool


def _zip_member(member: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive was not made on Unix
    return _Member(member.filename, member.file_size, kind in (0, stat.S_IFREG, stat.S_IFDIR))


def _check(archive: Path, folder: Path, members: Sequence[_Member]) -> None:
    if sum(member.size for member in members) > _MOST_BYTES:
        raise InputError(f"{archive}: expands to more than {_MOST_BYTES >> 30} GiB; this is not a known dataset")
    root = folder.resolve()
    for member in members:
        if not (root / member.name).resolve().is_relative_to(root):
            raise InputError(f"{archive}: member '{member.name}' would be written outside; do not use this file")
        if not member.plain:
            raise InputError(f"{archive}: member '{member.name}' is a link or device; do not use this file")


def _read_to_the_end(tar: tarfile.TarFile) -> None:
    """Look where tarfile does not: at the checksum of gzip, and at what follows the last readable member."""
    while tar.fileobj is not None and (chunk := tar.fileobj.read(_CHUNK)):
        if chunk.strip(b"\0"):
            raise tarfile.ReadError("unreadable data behind the last member")


@contextlib.contextmanager
def unpacked(raw: Path, scratch: Path) -> Iterator[Path]:
    """A folder in which a reader finds the official layout.

    ``raw`` is an archive, a folder of archives (unpacked for the time of the block, with other files linked beside
    them), or a folder that already has the layout (used in place).

    Raises:
        InputError: ``raw`` does not exist, an archive cannot be unpacked, or it lies beside its own content.
    """
    if not raw.exists():
        raise InputError(f"{raw}: does not exist; give a folder or an archive in the official layout")
    entries = sorted(raw.iterdir()) if raw.is_dir() else [raw]
    archives = [entry for entry in entries if is_archive(entry)]
    if not archives:
        yield raw
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".unpacked.") as name:
        folder = Path(name)
        for archive in archives:  # first, so that nothing is written through a link
            unpack(archive, folder)
        taken = {path.name for path in folder.iterdir()} | {_stem(archive) for archive in archives}
        for entry in entries:
            if entry in archives or entry.name.startswith("."):  # what file managers leave is no data
                continue
            if entry.name in taken:
                raise InputError(f"{entry}: an archive beside it holds the same; keep one of the two")
            (folder / entry.name).symlink_to(entry.resolve())
        yield folder


def _stem(archive: Path) -> str:
    """Name of the folder that unpacking by hand usually makes."""
    return next(archive.name[: -len(suffix)] for suffix in SUFFIXES if archive.name.lower().endswith(suffix))
