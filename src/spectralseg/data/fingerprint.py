"""Fingerprint of the raw files of a user, without reading all of their content, so that planning stays fast."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from spectralseg.errors import InputError, explained
from spectralseg.files import regular_file

_ENDS = 2**14  # bytes read at either end; PNG, gzip and zip files end with checksums of their content
_NOT_DATA = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # left by operating systems, as are hidden files


def fingerprint(raw: Path) -> str:
    """Checksum of the names, sizes, beginnings and ends of the files in a folder, or of a single file.

    Dates and files of operating systems, such as hidden files, are ignored. A change within a large file that keeps its
    size and has no checksum at its end, such as an uncompressed volume, is not detected.

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
    """Relative names and paths of regular files below a folder, in deterministic order. Links are followed once."""
    folders, visited = [os.fspath(root)], set()
    while folders:
        folder = folders.pop()
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name in _NOT_DATA:
                continue
            try:
                mode = entry.stat().st_mode
            except FileNotFoundError:  # a broken link
                continue
            if stat.S_ISDIR(mode):
                folders.append(entry.path)
            elif stat.S_ISREG(mode):
                yield os.path.relpath(entry.path, root), entry.path
