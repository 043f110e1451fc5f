"""Files that are either complete or absent."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from spectralseg.errors import InputError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the final name only when the block ends without an error."""
    with _blaming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            partial.chmod(0o666 & ~_umask())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Delete what processes that were killed inside :func:`replacing` left beside ``path``; for its only writer."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As :func:`replacing` for a folder. Files of the same name in an existing folder are replaced one by one, so
    that logs which a workflow keeps there survive.

    Descriptions (``*.json``) are removed first and come last: a process that is killed in between leaves none, never
    one that describes other files than those beside it.
    """
    with _blaming(path):
        if path.exists() and not path.is_dir():  # noticed before the work, not after it
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield partial
            path.mkdir(exist_ok=True)
            descriptions = sorted(partial.glob("*.json"))
            for file in descriptions:
                (path / file.name).unlink(missing_ok=True)
            for file in [*sorted(set(partial.iterdir()) - set(descriptions)), *descriptions]:
                file.replace(path / file.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def creating_folder(path: Path) -> Iterator[Path]:
    """As :func:`replacing_folder`, for a folder that does not exist yet or is empty, so that nothing old is in it.

    Raises:
        InputError: the folder has content.
    """
    if path.is_dir() and any(path.iterdir()):
        raise InputError(f"{path}: is there already; remove the folder or choose another name")
    with replacing_folder(path) as partial:
        yield partial


@contextlib.contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Make errors of the system name ``path``: a full disk names no file, and partial files mean nothing to anyone."""
    try:
        yield
    except OSError as error:
        hidden = os.fspath(path.parent / f".{path.name}.")
        if error.errno is None or (error.filename is not None and not str(error.filename).startswith(hidden)):
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, complete or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def visible(paths: Iterable[Path]) -> list[Path]:
    """Paths without those whose names start with a dot, which are temporary files of a process, or of a killed one;
    sorted.

    Patterns of pathlib match hidden names as well.
    """
    return sorted(path for path in paths if not path.name.startswith("."))


def read_regular(path: Path, most: int, remedy: str) -> bytes | None:
    """The content of a file of at most ``most`` bytes; None where there is no such file.

    Raises:
        InputError: it is too long, or no regular file, whose end may never come; the message ends with the remedy.
    """
    if not path.exists():
        return None
    if not path.is_file():
        raise InputError(f"{path}: is no regular file; {remedy}")
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise InputError(f"{path}: is longer than {most:,} bytes; {remedy}")
    return content


def read_json(path: Path, most: int, remedy: str) -> Any:
    """The content of a JSON file as by :func:`read_regular`; None where there is no such file.

    Raises:
        InputError: as there, or it is no JSON.
    """
    content = read_regular(path, most, remedy)
    try:
        return None if content is None else json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON ({error}); {remedy}") from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
