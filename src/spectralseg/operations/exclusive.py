"""One scheduler per study: a lock that the kernel releases when its process ends, for whatever reason.

A scheduler first plans and then starts jobs. The lock is checked before planning and taken when jobs start. Taking it
fails if another process has changed the study in between, as the plan would repeat its work.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from spectralseg.errors import InputError
from spectralseg.locks import try_lock

MARK = "SPECTRALSEG_STUDY"  # environment variable of all processes that a scheduler on this machine starts
_MAX_BYTES = 200  # maximum bytes of a holder's name
_PATIENCE = 60.0  # seconds for a training to save its checkpoint
_log = logging.getLogger(__name__)


class StudyLock:
    """The lock of a study. Create it before planning and take it before the first job.

    The lock file names the last holder and is never removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / ".lock"
        self._holder = self._read()

    def take(self) -> None:
        """Hold the lock until this process ends.

        Raises:
            InputError: another process holds it, or has held it since this object was created.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._file, os.O_CREAT | os.O_RDWR, 0o666)
        free = any(_locked(handle) for _ in _pauses())
        holder = os.pread(handle, _MAX_BYTES, 0)
        if not free:
            os.close(handle)
            raise InputError(
                f"{self._folder}: another run of the workflow is under way ({holder.decode()}); wait for it or stop it"
            )
        if holder != self._holder:
            os.close(handle)
            raise InputError(f"{self._folder}: another run of the workflow has changed the study meanwhile; run again")
        me = f"process {os.getpid()} on {platform.node()} since {time.time_ns() // 10**6}".encode()[:_MAX_BYTES]
        os.ftruncate(handle, 0)
        os.pwrite(handle, me, 0)

    def _read(self) -> bytes | None:
        """The last holder, empty if there was none; None while the lock is held."""
        try:
            handle = os.open(self._file, os.O_RDWR)
        except OSError:
            return b""
        try:
            return os.pread(handle, _MAX_BYTES, 0) if _locked(handle) else None
        finally:
            os.close(handle)


def _pauses() -> Iterator[None]:
    """Yield ten times with pauses: other processes hold the lock briefly to check it."""
    for number in range(10):
        time.sleep(0.1 if number else 0)
        yield


def _locked(handle: int) -> bool:
    """Lock an open file. Returns whether that succeeded, True on a file system without locks."""
    locked = try_lock(handle)
    if locked is None:
        _log.warning("this file system has no locks; run only one workflow per study at a time")
    return locked is not False


def end_orphans(study: Path) -> int:
    """End the jobs of a killed scheduler of this study on this machine, and mark the jobs of this process.

    Jobs that survive their scheduler would write to the same files as new jobs. They get SIGTERM, on which a training
    saves its checkpoint, and later SIGKILL. Only the holder of the lock may call this function.

    Returns:
        Number of processes that were ended.
    """
    mark = os.fspath(study.resolve())
    me = psutil.Process()
    family = {me.pid, *(relative.pid for relative in (*me.parents(), *me.children(recursive=True)))}
    orphans = [process for process in psutil.process_iter() if process.pid not in family and _mark_of(process) == mark]
    for orphan in orphans:
        with contextlib.suppress(psutil.Error):
            orphan.terminate()
    for orphan in psutil.wait_procs(orphans, timeout=_PATIENCE)[1]:
        with contextlib.suppress(psutil.Error):
            orphan.kill()
    os.environ[MARK] = mark
    return len(orphans)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        mark: str | None = process.environ().get(MARK)
    except (psutil.Error, OSError):  # of another user, or ended
        return None
    return mark
