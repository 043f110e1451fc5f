"""Files and folders that are complete or absent, also after a power cut.

Whatever is written lies in a hidden temporary file or folder beside its final place first: ``.NAME.abcd1234``. Its
writer holds a lock on it (:mod:`spectralseg.locks`), so that the next one knows which of them killed writers left, and
removes these. Where the file system has no locks, they stay.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectralseg import locks
from spectralseg.errors import InputError, explained

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_RANDOM = "[a-z0-9_]{8}"  # as tempfile draws it
_UNSYNCABLE = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_NOTES = b"spectralseg"  # key of the metadata of a parquet file
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the final name only when the block ends without an error.

    The content reaches the disk before the name does, so that a power cut leaves the old file or the new one.
    """
    with replacing_all(path) as (partial,):
        yield partial


@contextlib.contextmanager
def replacing_all(*paths: Path) -> Iterator[list[Path]]:
    """As :func:`replacing` for several files: all are written before the first takes its name."""
    with _blaming(*paths), contextlib.ExitStack() as stack:
        partials = [stack.enter_context(_temporary_file(path)) for path in paths]
        yield partials
        for partial in partials:
            _sync(partial)
            partial.chmod(0o666 & ~_umask())
        for partial, path in zip(partials, paths, strict=True):
            partial.replace(path)
        for folder in dict.fromkeys(path.parent for path in paths):
            _sync(folder)


@contextlib.contextmanager
def replacing_folder(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """As :func:`replacing` for a folder, which appears at once where there was none.

    Files of the same name in an existing folder are replaced one by one, so that logs which a workflow keeps there
    survive. Descriptions (``*.json``) are removed first and come last: a process that is killed in between leaves none,
    never one that describes other files than those beside it.

    Args:
        path: the folder.
        durable: whether the content must survive a power cut.
    """
    with _folder_beside(path) as (partial, place):
        yield partial
        if _take_name(partial, place, durable=durable):
            return
        descriptions = sorted(partial.glob("*.json"))
        for file in descriptions:
            (place / file.name).unlink(missing_ok=True)
        _sync(place)
        for file in sorted(set(partial.iterdir()) - set(descriptions)):
            file.replace(place / file.name)
        _sync(place)
        for file in descriptions:
            file.replace(place / file.name)
        _sync(place)


@contextlib.contextmanager
def creating_folder(path: Path) -> Iterator[Path]:
    """As :func:`replacing_folder`, for a folder that does not exist yet or is empty, so that nothing old is in it.

    Raises:
        InputError: the folder has content.
    """
    occupied = InputError(f"{path}: is there already; remove the folder or choose another name")
    if path.is_dir() and any(path.iterdir()):  # noticed before the work, not after it
        raise occupied
    with _folder_beside(path) as (partial, place):
        yield partial
        if not _take_name(partial, place, durable=True):
            raise occupied


@contextlib.contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder ``.PREFIX.abcd1234`` in ``parent`` that is gone after the block; those of killed processes go, too."""
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent / prefix)
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{prefix}."))
        handle = _hold(folder, os.O_RDONLY)
        if handle is not None:
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        locks.release(handle)


def remove_leftovers(path: Path) -> None:
    """Delete what killed processes left beside ``path``; what a process still writes to, and other files, stay."""
    name = re.compile(rf"\.{re.escape(path.name)}\.{_RANDOM}({re.escape(path.suffix)})?")
    with contextlib.suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        for entry in [entry for entry in entries if name.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):  # gone meanwhile, or of another user
                _remove_unless_held(entry)


def _remove_unless_held(entry: os.DirEntry[str]) -> None:
    folder = entry.is_dir(follow_symlinks=False)
    if not folder and not entry.is_file(follow_symlinks=False):
        return
    handle = locks.keep(os.open(entry.path, (os.O_RDONLY if folder else os.O_RDWR) | os.O_NOFOLLOW))
    try:
        if locks.try_lock(handle):
            shutil.rmtree(entry.path) if folder else os.unlink(entry.path)
    finally:
        locks.release(handle)


@contextlib.contextmanager
def _temporary_file(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        held = _hold(Path(name), os.O_RDWR)
        if held is not None:
            break
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        locks.release(held)


def _hold(path: Path, flags: int) -> int | None:
    """Lock what was just made, as long as this process lives; None where somebody took it for a leftover meanwhile."""
    try:
        handle = locks.keep(os.open(path, flags))
    except FileNotFoundError:
        return None
    if locks.try_lock(handle) is False or not os.fstat(handle).st_nlink:
        locks.release(handle)
        return None
    return handle


@contextlib.contextmanager
def _folder_beside(path: Path) -> Iterator[tuple[Path, Path]]:
    """A temporary folder beside a folder, and the place of that folder, where links lead."""
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    with _blaming(place):
        if place.exists() and not place.is_dir():  # noticed before the work, not after it
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(place))
        with temporary_folder(place.parent, place.name) as partial:
            yield partial, place


def _take_name(partial: Path, path: Path, *, durable: bool) -> bool:
    """Move a folder to its place in one step; False where there is a folder with content."""
    if durable:
        for folder, _, names in os.walk(partial):
            for name in names:
                _sync(Path(folder, name))
            _sync(Path(folder))
    partial.chmod(0o777 & ~_umask())
    try:
        partial.rename(path)
    except OSError as error:
        if error.errno not in _OCCUPIED:
            raise
        return False
    _sync(path.parent)
    return True


@contextlib.contextmanager
def _blaming(*paths: Path) -> Iterator[None]:
    """Make errors of the system name a path: a full disk names no file, and partial files mean nothing to anyone."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        hidden = {path: os.fspath(path.parent / f".{path.name}.") for path in paths}
        partial = "" if error.filename is None else str(error.filename)
        blamed = paths[:1] if not partial else [path for path in paths if partial.startswith(hidden[path])]
        if not blamed:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(blamed[0])) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, complete or not at all."""
    with replacing(path) as partial:
        dump_json(partial, value)


def dump_json(file: Path, value: Any) -> None:
    """Write JSON with sorted keys to a file that :func:`replacing_all` gave."""
    file.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def write_parquet(file: Path, frame: pd.DataFrame, notes: Mapping[str, Any] | None = None) -> None:
    """Write a table with checksums of its pages, and with ``notes`` about it, which :func:`notes_of` reads."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pandas(frame, preserve_index=False)
    if notes is not None:
        table = table.replace_schema_metadata({**table.schema.metadata, _NOTES: json.dumps(notes, sort_keys=True)})
    parquet.write_table(table, file, write_page_checksum=True)


def notes_of(table: pa.Table) -> dict[str, Any] | None:
    """What :func:`write_parquet` noted about a table; None where it noted nothing, or nothing that can be read."""
    notes = (table.schema.metadata or {}).get(_NOTES)
    with contextlib.suppress(ValueError):
        return None if notes is None else dict(json.loads(notes))
    return None


_FORMULA = re.compile(r"[=@\t\r]|[+-](?![-+−–0-9eE.,:;%±()\[\]\s]*$)")


def write_texts(folder: Path | str, texts: Mapping[str, str]) -> list[Path]:
    """Write texts by file name into a folder, each complete or not at all, and return the paths."""
    files = [Path(folder) / name for name in texts]
    for file, text in zip(files, texts.values(), strict=True):
        with replacing(file) as partial:
            partial.write_text(text, encoding="utf-8")
    return files


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
    try:
        regular_file(path, most, remedy)
        with path.open("rb") as stream:
            return stream.read(most)
    except (InputError, FileNotFoundError):
        if not path.exists():  # also where it has just gone
            return None
        raise


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    regular_file(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Bring a file or folder to the disk, where the file system can."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that can be written to, but not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNSYNCABLE:
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
