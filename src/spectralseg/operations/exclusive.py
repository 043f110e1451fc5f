"""One scheduler per study: a lock that ends with the process that holds it, however it ends.

A scheduler plans first and acts later. So the lock is looked at when planning starts and taken when jobs start, and is
refused if another process worked on the study in between: its results would be planned for a second time.
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

MARK = "SPECTRALSEG_STUDY"  # environment variable of all processes that a scheduler of this machine starts
_LONGEST = 200  # bytes of the name of a holder
_PATIENCE = 60.0  # seconds in which a training saves its checkpoint
_log = logging.getLogger(__name__)


class StudyLock:
    """The lock of a study, to be made before planning and taken before the first job.

    The file of the lock says who took it last. It is never removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / ".lock"
        self._seen = self._look()

    def take(self) -> None:
        """Hold the lock until this process ends.

        Raises:
            InputError: another process holds it, or has held it since this object was made.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._file, os.O_CREAT | os.O_RDWR, 0o666)
        free = any(_locked(handle) for _ in _pauses())
        holder = os.pread(handle, _LONGEST, 0)
        if not free:
            os.close(handle)
            raise InputError(
                f"{self._folder}: another run of the workflow is under way ({holder.decode()}); wait for it or stop it"
            )
        if holder != self._seen:
            os.close(handle)
            raise InputError(f"{self._folder}: another run of the workflow has changed the study meanwhile; run again")
        me = f"process {os.getpid()} on {platform.node()} since {time.time_ns() // 10**6}".encode()[:_LONGEST]
        os.ftruncate(handle, 0)
        os.pwrite(handle, me, 0)

    def _look(self) -> bytes | None:
        """Who took the lock last, nobody if it is empty; None while it is held."""
        try:
            handle = os.open(self._file, os.O_RDWR)
        except OSError:
            return b""
        try:
            return os.pread(handle, _LONGEST, 0) if _locked(handle) else None
        finally:
            os.close(handle)


def _pauses() -> Iterator[None]:
    """Several moments: others that only look hold the lock for an instant."""
    for number in range(10):
        time.sleep(0.1 if number else 0)
        yield


def _locked(handle: int) -> bool:
    """Lock an open file, and say whether that worked; where there are no locks, it is taken to have worked."""
    locked = try_lock(handle)
    if locked is None:
        _log.warning("this file system has no locks; run only one workflow per study at a time")
    return locked is not False


def end_orphans(study: Path) -> int:
    """End what a killed scheduler of this study left running on this machine, and mark what this process will start.

    Jobs that survive their scheduler would write to the same files as those that start now. They get SIGTERM, upon
    which a training saves its checkpoint, and later SIGKILL. To be called by the holder of the lock.

    Returns:
        How many processes were ended.
    """
    mark = os.fspath(study.resolve())
    mine = psutil.Process()
    family = {mine.pid, *(one.pid for one in (*mine.parents(), *mine.children(recursive=True)))}
    orphans = [one for one in psutil.process_iter() if one.pid not in family and _mark_of(one) == mark]
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
        found: str | None = process.environ().get(MARK)
    except (psutil.Error, OSError):  # of another user, or ended
        return None
    return found
