"""Unpacking archives without letting them write elsewhere or expand without bound."""

from __future__ import annotations

import contextlib
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from spectralseg.errors import InputError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_MOST_BYTES = 200 * 2**30


def is_archive(path: Path) -> bool:
    """Whether a file is taken for an archive, by its name."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into ``folder``.

    Raises:
        InputError: the archive is damaged, would write outside ``folder``, holds links, or is absurdly large.
    """
    try:
        if archive.name.lower().endswith(".zip"):
            _unpack_zip(archive, folder)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{archive}: cannot be unpacked ({reason}); fetch it again") from None


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        members = content.infolist()
        if sum(member.file_size for member in members) > _MOST_BYTES:
            raise InputError(f"{archive}: expands to more than {_MOST_BYTES >> 30} GiB; this is not a known dataset")
        root = folder.resolve()
        for member in members:
            if not (root / member.filename).resolve().is_relative_to(root):
                raise InputError(
                    f"{archive}: member '{member.filename}' would be written outside; do not use this file"
                )
            if (member.external_attr >> 16) & 0o170000 == 0o120000:
                raise InputError(f"{archive}: member '{member.filename}' is a link; do not use this file")
        content.extractall(folder)


@contextlib.contextmanager
def unpacked(raw: Path, scratch: Path) -> Iterator[Path]:
    """A folder in which a reader finds the official layout.

    ``raw`` is an archive, a folder of archives (unpacked for the time of the block, with other files linked beside
    them), or a folder that already has the layout (used in place).
    """
    if not raw.exists():
        raise InputError(f"{raw}: does not exist; give a folder or an archive in the official layout")
    entries = sorted(raw.iterdir()) if raw.is_dir() else [raw]
    if not any(is_archive(entry) for entry in entries):
        yield raw
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".unpacked.") as name:
        folder = Path(name)
        for entry in entries:
            if is_archive(entry):
                unpack(entry, folder)
            else:
                (folder / entry.name).symlink_to(entry.resolve())
        yield folder
