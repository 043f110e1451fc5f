"""Leases of devices: each is used by one process, or by at most ``share`` processes in parallel.

A device has ``share`` slots. A slot is a file that its holder locks (``flock``); the kernel releases the lock when the
process ends, for whatever reason, so leases cannot become stale. Waiting processes form a queue. Each holds a ticket,
another locked file, and waits for the ticket before its own; only the first in the queue looks for a free slot. The
locks are shared by all users of a machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path

from spectralseg import locks
from spectralseg.errors import InputError, explained
from spectralseg.operations.devices import Device, assigned_by_slurm, visible_devices

FOLDER = "SPECTRALSEG_LEASES"  # environment variable: folder of the locks, on a disk of this machine
_FOLDER = "/tmp/spectralseg-devices"  # not in TMPDIR, which may differ between processes
_PAUSE = 0.05  # seconds between attempts to get a slot
_log = logging.getLogger(__name__)
_TICKET = re.compile(r"[0-9]{1,12}")  # number of a ticket; other files in the folder are ignored


def gpu_slots(share: int = 1) -> int:
    """Number of processes that may use the devices of this machine in parallel; 0 without devices."""
    return share * len(visible_devices())


@contextlib.contextmanager
def device_lease(
    device_name: str = "auto", share: int = 1, environment: MutableMapping[str, str] = os.environ
) -> Iterator[Device | None]:
    """Wait for a device and bind this process to it until the block ends. Enter the block before CUDA starts.

    No device is leased, and the block gets None, if the user names a device, there is none, or SLURM has assigned one.

    Args:
        device_name: device of the user; only ``auto`` leases one.
        share: number of processes that may use a device in parallel.
        environment: environment variables that select devices, such as ``CUDA_VISIBLE_DEVICES``.

    Raises:
        InputError: the folder of the locks cannot be used.
    """
    devices = visible_devices(environment) if device_name == "auto" and not assigned_by_slurm(environment) else []
    if not devices:
        yield None
        return
    folder = _folder(environment)
    slots = {folder / f"{device.identity}.{number}": device for number in range(share) for device in devices}
    try:
        with _first_in_queue(folder, slots):
            slot, handle = _free_slot(slots)
    except OSError as error:
        path = error.filename or folder
        raise InputError(f"{path}: {explained(error)}, or name another folder in {FOLDER}") from None
    device, before = slots[slot], dict(environment)
    try:
        if device.variable:
            environment[device.variable] = device.value
        _log.info("device %s", device.identity)
        yield device
    finally:
        if device.variable in before:
            environment[device.variable] = before[device.variable]
        else:
            environment.pop(device.variable, None)
        locks.release(handle)


def _folder(environment: MutableMapping[str, str]) -> Path:
    folder = Path(environment.get(FOLDER) or _FOLDER)
    try:
        folder.mkdir(parents=True)
        folder.chmod(0o1777)  # as /tmp: all users may add files, but remove only their own
    except FileExistsError:
        pass
    except OSError as error:
        raise InputError(f"{folder}: {explained(error)}, or name another folder in {FOLDER}") from None
    return folder


def _free_slot(slots: dict[Path, Device]) -> tuple[Path, int]:
    """Wait for a free slot, and take one of the device with the most free slots."""
    logged = False
    while True:
        acquired = {slot: handle for slot in slots if (handle := _try(slot)) is not None}
        if acquired:
            free = Counter(slots[slot].identity for slot in acquired)
            best = max(acquired, key=lambda slot: free[slots[slot].identity])
            for slot, handle in acquired.items():
                if slot != best:
                    locks.release(handle)
            return best, acquired[best]
        if not logged:
            _log.info("waiting for a device")
            logged = True
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _first_in_queue(folder: Path, slots: Sequence[Path] | dict[Path, Device]) -> Iterator[None]:
    """Wait for all earlier processes that want the same slots; later ones wait until the block ends."""
    line = "line-" + hashlib.sha256("\n".join(sorted(map(str, slots))).encode()).hexdigest()[:16]
    guard = _open(folder / f"{line}.lock")
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        number = max(_tickets(folder, line), default=0) + 1
        ticket = folder / f"{line}.{number}"
        handle = _open(ticket)
        fcntl.flock(handle, fcntl.LOCK_EX)
    finally:
        locks.release(guard)
    try:
        _wait_for_others(folder, line, number)
        yield
    finally:
        ticket.unlink(missing_ok=True)
        locks.release(handle)


def _wait_for_others(folder: Path, line: str, number: int) -> None:
    """Wait until no ticket with a lower number is held."""
    current, logged = number, False
    while earlier := [ticket for ticket in _tickets(folder, line) if ticket < current]:
        if not logged:
            _log.info("waiting in the queue for a device")
            logged = True
        current = max(earlier)
        path = folder / f"{line}.{current}"
        with contextlib.suppress(FileNotFoundError, PermissionError):  # removed in the meantime; of another user
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH)  # waits until its holder has a device or has ended
                path.unlink()
            finally:
                os.close(handle)


def _tickets(folder: Path, line: str) -> list[int]:
    """Numbers of the tickets of a queue."""
    with os.scandir(folder) as entries:
        files = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    numbers = (name.removeprefix(f"{line}.") for name in files if name.startswith(f"{line}."))
    return [int(number) for number in numbers if _TICKET.fullmatch(number)]


def _try(slot: Path) -> int | None:
    """Lock a slot; None if another process holds it."""
    handle = _open(slot)
    if locks.try_lock(handle) is False:
        locks.release(handle)
        return None
    if os.fstat(handle).st_nlink == 0:  # the file was deleted: the next attempt creates a new one
        locks.release(handle)
        return None
    with contextlib.suppress(PermissionError):
        os.utime(handle)  # programs that clean /tmp keep recent files
    return handle


def _open(path: Path) -> int:
    """Open a file for locking, and create it if necessary. It may belong to another user."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe must not block
    while True:
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(path, flags)
            break
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, flags | os.O_CREAT | os.O_EXCL)
            os.fchmod(handle, 0o666)  # other users must be able to update its time stamp
            break
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{path}: is not a regular file; remove it, or name another folder in {FOLDER}")
    return locks.keep(handle)
