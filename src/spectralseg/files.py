"""Atomic writes: files and folders are complete or absent, even after a power cut.

Content is first written to a hidden temporary file or folder beside its destination: ``.NAME.abcd1234``. The writer
holds a lock on it (:mod:`spectralseg.locks`). The next writer removes temporary files without a lock, which killed
processes left behind. If the file system has no locks, they are kept.
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

_RANDOM = "[a-z0-9_]{8}"  # the random part of names that tempfile makes
_UNSYNCABLE = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_NOTES = b"spectralseg"  # key of the metadata of a parquet file
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it is renamed to ``path`` when the block ends without an error.

    The content is synced to the disk before the renaming, so that a power cut leaves either the old or the new file.
    """
    with replacing_all(path) as (partial,):
        yield partial


@contextlib.contextmanager
def replacing_all(*paths: Path) -> Iterator[list[Path]]:
    """As :func:`replacing` for several files: all are written before the first is renamed."""
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
    """As :func:`replacing` for a folder. A new folder appears in one step.

    In an existing folder, files of the same name are replaced one by one, so that logs that a workflow keeps there are
    preserved. Descriptions (``*.json``) are removed first and written last: if the process is killed in between, no
    description is left that does not match the files beside it.

    Args:
        path: the folder.
        durable: whether the content must survive a power cut.
    """
    with _folder_beside(path) as (partial, target):
        yield partial
        if _rename_folder(partial, target, durable=durable):
            return
        descriptions = sorted(partial.glob("*.json"))
        for file in descriptions:
            (target / file.name).unlink(missing_ok=True)
        _sync(target)
        for file in sorted(set(partial.iterdir()) - set(descriptions)):
            file.replace(target / file.name)
        _sync(target)
        for file in descriptions:
            file.replace(target / file.name)
        _sync(target)


@contextlib.contextmanager
def creating_folder(path: Path) -> Iterator[Path]:
    """As :func:`replacing_folder`, for a folder that does not exist yet or is empty.

    Raises:
        InputError: the folder is not empty.
    """
    occupied = InputError(f"{path}: already exists and is not empty; remove the folder or choose another name")
    if path.is_dir() and any(path.iterdir()):  # checked before the work as well as after it
        raise occupied
    with _folder_beside(path) as (partial, target):
        yield partial
        if not _rename_folder(partial, target, durable=True):
            raise occupied


@contextlib.contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder ``.PREFIX.abcd1234`` in ``parent`` that is deleted after the block, like those of killed processes."""
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
    """Delete temporary files of ``path`` that killed processes left; those in use by running processes are kept."""
    name = re.compile(rf"\.{re.escape(path.name)}\.{_RANDOM}({re.escape(path.suffix)})?")
    with contextlib.suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        for entry in [entry for entry in entries if name.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):  # deleted meanwhile, or owned by another user
                _remove_unless_locked(entry)


def _remove_unless_locked(entry: os.DirEntry[str]) -> None:
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
        lock_handle = _hold(Path(name), os.O_RDWR)
        if lock_handle is not None:
            break
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        locks.release(lock_handle)


def _hold(path: Path, flags: int) -> int | None:
    """Lock a new temporary file or folder for this process; None if another process has removed it as a leftover."""
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
    """A temporary folder beside a folder, and the path of that folder with links resolved."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    with _blaming(target):
        if target.exists() and not target.is_dir():  # checked before the work
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target))
        with temporary_folder(target.parent, target.name) as partial:
            yield partial, target


def _rename_folder(partial: Path, path: Path, *, durable: bool) -> bool:
    """Rename a folder in one step; False if the destination exists and is not empty."""
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
    """Make errors of the operating system name the destination, instead of no file or a temporary file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        hidden = {path: os.fspath(path.parent / f".{path.name}.") for path in paths}
        partial = "" if error.filename is None else str(error.filename)
        destinations = paths[:1] if not partial else [path for path in paths if partial.startswith(hidden[path])]
        if not destinations:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(destinations[0])) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys atomically."""
    with replacing(path) as partial:
        dump_json(partial, value)


def dump_json(file: Path, value: Any) -> None:
    """Write JSON with sorted keys, not atomically: for files of :func:`replacing_all`."""
    file.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def write_parquet(file: Path, frame: pd.DataFrame, notes: Mapping[str, Any] | None = None) -> None:
    """Write a table with page checksums, and with ``notes`` as metadata, which :func:`notes_of` reads."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pandas(frame, preserve_index=False)
    if notes is not None:
        table = table.replace_schema_metadata({**table.schema.metadata, _NOTES: json.dumps(notes, sort_keys=True)})
    parquet.write_table(table, file, write_page_checksum=True)


def notes_of(table: pa.Table) -> dict[str, Any] | None:
    """The notes that :func:`write_parquet` stored with a table; None if there are none, or if they cannot be read."""
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
    """A table as CSV without its index, safe to open in spreadsheet programs.

    Spreadsheet programs execute cells that start with ``=``, ``+``, ``-`` or ``@`` as formulas: such text is prefixed
    with an apostrophe. Numbers, with or without an interval, are not changed.
    """
    safe = table.copy()
    safe.columns = [_without_formula(name) for name in table.columns]
    for position, dtype in enumerate(table.dtypes):
        if dtype.kind not in "biufM":
            safe.isetitem(position, [_without_formula(value) for value in table.iloc[:, position]])
    return safe.to_csv(index=False, lineterminator="\n")


def _without_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def regular_file(path: Path, most: int | None = None, remedy: str = "give an intact file of its kind") -> int:
    """Check that a path is a regular file of at most ``most`` bytes; reading a pipe or device may never end.

    Args:
        path: the file, or a link to it.
        most: largest size in bytes; None for no limit.
        remedy: what the user can do otherwise.

    Returns:
        Size of the file in bytes.

    Raises:
        InputError: the file is missing, not a regular file, or too large.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        cause = "the target of the link is missing" if path.is_symlink() else "the file is missing"
        raise InputError(f"{path}: cannot be read: {cause}; {remedy}") from None
    except (OSError, ValueError) as error:
        reason = (
            explained(error) if isinstance(error, OSError) else "its name contains a null character; correct the path"
        )
        raise InputError(f"{path}: cannot be read: {reason}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: is a folder, pipe or device, not a file; {remedy}")
    if most is not None and status.st_size > most:
        raise InputError(
            f"{path}: has {status.st_size / 2**20:.1f} MiB, more than the limit of {most / 2**20:g} MiB; {remedy}"
        )
    return status.st_size


def read_text(path: Path, most: int, remedy: str = "give an intact file of its kind") -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        InputError: as :func:`regular_file`, or the content is not valid UTF-8.
    """
    regular_file(path, most, remedy)
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {explained(error)}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read: byte {error.start} is not valid UTF-8; {remedy}") from None


def visible(paths: Iterable[Path]) -> list[Path]:
    """Sorted paths without hidden files, such as temporary files; patterns of pathlib match hidden names as well."""
    return sorted(path for path in paths if not path.name.startswith("."))


def read_regular(path: Path, most: int, remedy: str) -> bytes | None:
    """The content of a file of at most ``most`` bytes; None if the file does not exist.

    Raises:
        InputError: the file is too large or not a regular file; the message ends with the remedy.
    """
    if not path.exists():  # a file that another process creates after this does not exist yet
        return None
    try:
        regular_file(path, most, remedy)
        with path.open("rb") as stream:
            return stream.read(most)
    except (InputError, FileNotFoundError):
        if not path.exists():  # also if it was deleted meanwhile
            return None
        raise


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    regular_file(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Sync a file or folder to the disk, if the file system supports it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that is writable but not readable
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
