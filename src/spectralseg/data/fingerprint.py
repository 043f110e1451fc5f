"""What raw files of a user hold, without reading all of them: gigabytes must not be read before every plan."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from spectralseg.errors import InputError, explained
from spectralseg.files import regular_file

_ENDS = 2**14  # bytes at either end of a file; PNG, gzip and zip have the checksums of all their content at the end
_NOT_DATA = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # left by operating systems, as are hidden files


def fingerprint(raw: Path) -> str:
    """Checksum of the names, sizes, beginnings and ends of the files in a folder, or of a single file.

    Dates do not count, nor do hidden files and others that operating systems leave. A change inside of a large file
    that has no checksum of its own and keeps its size, such as an uncompressed volume, is not noticed.

    Raises:
        InputError: a file or folder cannot be read.
    """
    digest = hashlib.sha256()
    if not raw.is_dir():
        regular_file(raw)
    try:
        for name, file in _files(raw) if raw.is_dir() else [("", os.fspath(raw))]:
            with open(file, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
                digest.update(stream.read(_ENDS))
                stream.seek(max(_ENDS, size - _ENDS))
                digest.update(stream.read(_ENDS))
    except OSError as error:
        raise InputError(f"{error.filename or raw}: {explained(error)}") from None
    return digest.hexdigest()


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Regular files below a folder with their names there, in an order of their own. Links are followed, once."""
    folders, seen = [os.fspath(root)], set()
    while folders:
        folder = folders.pop()
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in seen:
            continue
        seen.add((place.st_dev, place.st_ino))
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name in _NOT_DATA:
                continue
            try:
                mode = entry.stat().st_mode
            except FileNotFoundError:  # a link to nothing
                continue
            if stat.S_ISDIR(mode):
                folders.append(entry.path)
            elif stat.S_ISREG(mode):
                yield os.path.relpath(entry.path, root), entry.path
