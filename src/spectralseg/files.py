"""Files that are either complete or absent."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectralseg.errors import InputError, explained

if TYPE_CHECKING:
    import pandas as pd


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


_FORMULA = re.compile(r"[=@\t\r]|[+-](?![-+−–0-9eE.,:;%±()\[\]\s]*$)")


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV, without its index, in which no text is taken for a formula by spreadsheet programs.

    They run cells that start with ``=``, ``+``, ``-`` or ``@``: such text is preceded by an apostrophe. Numbers, also
    with an interval behind them, stay as they are.
    """
    guarded = table.copy()
    guarded.columns = [_without_formula(name) for name in table.columns]
    for place, kind in enumerate(table.dtypes):
        if kind.kind not in "biufM":
            guarded.isetitem(place, [_without_formula(value) for value in table.iloc[:, place]])
    return guarded.to_csv(index=False, lineterminator="\n")


def _without_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def regular_file(path: Path, most: int | None = None, remedy: str = "give an intact file of its kind") -> int:
    """Size in bytes of a file that exists, is no folder, pipe or device, and has at most ``most`` bytes.

    Reading anything else can wait or go on for ever.

    Args:
        path: the file, or a link to it.
        most: bytes; None for any number.
        remedy: what the user can do where it is not such a file.

    Raises:
        InputError: it is not.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        what = "the link leads nowhere" if path.is_symlink() else "the file is missing"
        raise InputError(f"{path}: cannot be read: {what}; {remedy}") from None
    except (OSError, ValueError) as error:
        reason = explained(error) if isinstance(error, OSError) else "its name holds a null character"
        raise InputError(f"{path}: cannot be read: {reason}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: is a folder, pipe or device, not a file; {remedy}")
    if most is not None and status.st_size > most:
        raise InputError(
            f"{path}: has {status.st_size / 2**20:.1f} MiB, more than the limit of {most / 2**20:g} MiB; {remedy}"
        )
    return status.st_size


def read_text(path: Path, most: int, remedy: str = "give an intact file of its kind") -> str:
    """The text of a :func:`regular_file` in UTF-8, with or without a byte order mark.

    Raises:
        InputError: there is no such file, it has more than ``most`` bytes, or they are no text in UTF-8.
    """
    regular_file(path, most, remedy)
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {explained(error)}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read: byte {error.start} is not text in UTF-8; {remedy}") from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    regular_file(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
