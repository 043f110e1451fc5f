"""Locks of open files and folders (``flock``): the kernel lets go of them when their holder ends, however it ends."""

from __future__ import annotations

import errno
import os

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

# NFS locks files that are open for writing only, and no folders; other file systems have no locks at all.
_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF}
_held: set[int] = set()


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


def _forget() -> None:
    """In a forked process, such as a worker of a loader: a copy of a lock would keep it when this process is killed."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
