"""Locks of open files and folders (``flock``), which the kernel releases whenever their process ends."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from spectralseg.errors import InputError, Interrupted

try:
    import fcntl
except ImportError:  # not available on this system
    fcntl = None  # type: ignore[assignment]

# NFS can lock neither folders nor files that are not open for writing; some file systems have no locks at all.
_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF}
_FILE = ".lock"
_PAUSE = 0.2  # seconds between attempts to take a lock
_held: set[int] = set()
_log = logging.getLogger(__name__)


def keep(handle: int) -> int:
    """Register a handle so that only this process holds its lock: forked processes close their copy."""
    _held.add(handle)
    return handle


def handles() -> tuple[int, ...]:
    """Handles of the locks that this process holds, for a child process that shall share them."""
    return tuple(sorted(_held))


def release(handle: int) -> None:
    """Close a handle given to :func:`keep`. In a forked process, which has no copy, this does nothing."""
    if handle in _held:
        _held.discard(handle)
        os.close(handle)


def try_lock(handle: int) -> bool | None:
    """Lock an open file or folder; False if another process holds the lock, None if the file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True


@contextlib.contextmanager
def only_writer(folder: Path, task: str, deadline: float | None = None) -> Iterator[bool]:
    """Lock a folder so that only this process writes to it in the block, if the file system has locks.

    If another process holds the lock for the same task, such as one whose workflow was killed, wait for it. The lock is
    a file in the folder, which also works on NFS across machines; it is removed after the block.

    Args:
        folder: the folder, which is created if it does not exist.
        task: description of the work for messages, such as "training of ...".
        deadline: value of ``time.monotonic()`` at which waiting ends; None to wait without a limit.

    Returns:
        Whether this process had to wait.

    Raises:
        InputError: another process holds the lock for a different task.
        Interrupted: the deadline was reached while waiting.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, waited = folder / _FILE, False
    while (handle := _take(file)) is None:
        holder = _holder(file)
        if holder.get("task", task) != task:
            raise InputError(
                f"{folder}: is in use by the {_described(holder)}; wait until it has ended, or choose another folder"
            )
        if not waited:
            _log.info("%s: waiting for the %s", folder, _described(holder) if holder else "process that holds the lock")
        waited = True
        if deadline is not None and time.monotonic() > deadline:
            raise Interrupted(
                f"{folder}: the time limit was reached while waiting for another process; rerun the command"
            )
        time.sleep(_PAUSE)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"task": task, "process": os.getpid(), "host": platform.node()}).encode(), 0)
        yield waited
    finally:
        file.unlink(missing_ok=True)
        release(handle)


def _take(file: Path) -> int | None:
    """Lock a file, which is created if it does not exist; None if another process holds the lock."""
    handle = keep(os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666))
    # A file without links was removed by its previous holder: the next attempt creates a new one.
    if try_lock(handle) is False or not os.fstat(handle).st_nlink:
        release(handle)
        return None
    return handle


def _holder(file: Path) -> dict[str, str | int]:
    """What the holder of a lock wrote into its file; empty if it cannot be read yet."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _described(holder: dict[str, str | int]) -> str:
    return f"{holder.get('task')} (process {holder.get('process')} on {holder.get('host')})"


def _forget() -> None:
    """Close all locks in a forked process, such as a loader worker: it would hold them after its parent is killed."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
