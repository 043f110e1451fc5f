"""Locks of open files and folders (``flock``): the kernel lets go of them when their holder ends, however it ends."""

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
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

# NFS locks files that are open for writing only, and no folders; other file systems have no locks at all.
_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF}
_FILE = ".lock"
_PAUSE = 0.2  # seconds between looks at a folder that another process writes to
_held: set[int] = set()
_log = logging.getLogger(__name__)


def keep(handle: int) -> int:
    """Let only this process hold what ``handle`` locks: processes forked from it close their copy."""
    _held.add(handle)
    return handle


def release(handle: int) -> None:
    """Close a handle given to :func:`keep`; nothing in a forked process, which has no copy."""
    if handle in _held:
        _held.discard(handle)
        os.close(handle)


def try_lock(handle: int) -> bool | None:
    """Lock an open file or folder; False where another process has it, None where the file system has no locks."""
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
    """Let no other process write to a folder until the block ends, as far as the file system has locks.

    A process that has the same task, such as one whose workflow was killed, is waited for. The lock is a file in the
    folder, which NFS knows on all machines; it is removed after the block.

    Args:
        folder: is made if need be.
        task: what is done there, in the words of a message: "training of ...".
        deadline: value of ``time.monotonic()`` at which waiting ends.

    Returns:
        Whether another process was waited for.

    Raises:
        InputError: another process does something else there.
        Interrupted: the deadline came first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, waited = folder / _FILE, False
    while (handle := _take(file)) is None:
        holder = _holder(file)
        if holder.get("task", task) != task:
            raise InputError(
                f"{folder}: is in use by the {_words(holder)}; wait until it has ended, or choose another folder"
            )
        if not waited:
            _log.info("%s: waiting for the %s", folder, _words(holder) if holder else "process that writes there")
        waited = True
        if deadline is not None and time.monotonic() > deadline:
            raise Interrupted(f"{folder}: stopped by its time limit before the other process had ended; run it again")
        time.sleep(_PAUSE)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"task": task, "process": os.getpid(), "host": platform.node()}).encode(), 0)
        yield waited
    finally:
        file.unlink(missing_ok=True)
        release(handle)


def _take(file: Path) -> int | None:
    """Lock a file, which is made if need be; None where another process has it."""
    handle = keep(os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666))
    # Whoever had it removed it: the next look makes a new file.
    if try_lock(handle) is False or not os.fstat(handle).st_nlink:
        release(handle)
        return None
    return handle


def _holder(file: Path) -> dict[str, str | int]:
    """What the holder of a lock wrote into its file; nothing where that cannot be read yet."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _words(holder: dict[str, str | int]) -> str:
    return f"{holder.get('task')} (process {holder.get('process')} on {holder.get('host')})"


def _forget() -> None:
    """In a forked process, such as a worker of a loader: a copy of a lock would keep it when this process is killed."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
