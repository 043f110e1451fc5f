"""A device for this process alone, or for at most ``share`` processes at once.

A device has as many slots as processes may use it. A slot is a file that its user has locked (``flock``): the kernel
lets go of the lock when the process ends, however it ends, so no slot stays taken. Those who wait stand in line, each
with a ticket, another locked file, and wait for the ticket before theirs: nobody is overtaken, and only the first in
line looks for a free slot. Locks belong to this machine and are shared by its users.
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
_FOLDER = "/tmp/spectralseg-devices"  # not TMPDIR, which may differ between processes that must meet here
_PAUSE = 0.05  # seconds between the looks of the first in line
_PATIENCE = 1.0  # seconds until a wait is told
_log = logging.getLogger(__name__)
_TICKET = re.compile(r"[0-9]{1,12}")  # number of a ticket; what else lies in the folder is not ours


def gpu_slots(share: int = 1) -> int:
    """How many processes may use the devices of this machine at once; 0 where there are none."""
    return share * len(visible_devices())


@contextlib.contextmanager
def device_lease(
    device_name: str = "auto", share: int = 1, environment: MutableMapping[str, str] = os.environ
) -> Iterator[Device | None]:
    """Wait for a device and bind this process to it until the block ends; to be entered before CUDA starts.

    Nothing is leased, and None given, where there is nothing to choose: a device is named, there is none, or SLURM has
    assigned one.

    Args:
        device_name: what the user named; only ``auto`` leaves a choice.
        share: how many processes may use one device at a time.
        environment: where devices are chosen, e.g. by ``CUDA_VISIBLE_DEVICES``.

    Raises:
        InputError: the folder of the locks cannot be used.
    """
    devices = visible_devices(environment) if device_name == "auto" and not assigned_by_slurm(environment) else []
    if not devices:
        yield None
        return
    folder = _folder(environment)
    slots = {folder / f"{one.identity}.{number}": one for number in range(share) for one in devices}
    try:
        with _first_in_line(folder, slots):
            slot, handle = _free_slot(slots)
    except OSError as error:
        blamed = error.filename or folder
        raise InputError(f"{blamed}: {explained(error)}, or name another folder in {FOLDER}") from None
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
        folder.chmod(0o1777)  # as /tmp: everybody may add files, and remove only their own
    except FileExistsError:
        pass
    except OSError as error:
        raise InputError(f"{folder}: {explained(error)}, or name another folder in {FOLDER}") from None
    return folder


def _free_slot(slots: dict[Path, Device]) -> tuple[Path, int]:
    """Wait until a slot is free, and take one of the device that most are free of."""
    told = False
    while True:
        taken = {slot: handle for slot in slots if (handle := _try(slot)) is not None}
        if taken:
            free = Counter(slots[slot].identity for slot in taken)
            best = max(taken, key=lambda slot: free[slots[slot].identity])
            for slot, handle in taken.items():
                if slot != best:
                    locks.release(handle)
            return best, taken[best]
        if not told:
            _log.info("waiting for a device")
            told = True
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _first_in_line(folder: Path, slots: Sequence[Path] | dict[Path, Device]) -> Iterator[None]:
    """Wait behind all who came before and want the same slots; who comes later waits until the block ends."""
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
    past, told = number, False
    while earlier := [one for one in _tickets(folder, line) if one < past]:
        if not told:
            _log.info("waiting in line for a device")
            told = True
        past = max(earlier)
        ticket = folder / f"{line}.{past}"
        with contextlib.suppress(FileNotFoundError, PermissionError):  # gone meanwhile; of another user
            handle = os.open(ticket, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH)  # until its holder has a device, or is dead
                ticket.unlink()
            finally:
                os.close(handle)


def _tickets(folder: Path, line: str) -> list[int]:
    """Numbers of the tickets of a line."""
    with os.scandir(folder) as entries:
        files = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    numbers = (name.removeprefix(f"{line}.") for name in files if name.startswith(f"{line}."))
    return [int(number) for number in numbers if _TICKET.fullmatch(number)]


def _try(slot: Path) -> int | None:
    """Lock a slot; None if somebody has it."""
    handle = _open(slot)
    if locks.try_lock(handle) is False:
        locks.release(handle)
        return None
    if os.fstat(handle).st_nlink == 0:  # somebody cleared the folder: the next look makes a new file
        locks.release(handle)
        return None
    with contextlib.suppress(PermissionError):
        os.utime(handle)  # cleaners of /tmp spare what is young
    return handle


def _open(path: Path) -> int:
    """Open a file for locking, and make it if need be; it may belong to another user, who may lock it just the same."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # what is no regular file would be waited for
    while True:
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(path, flags)
            break
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, flags | os.O_CREAT | os.O_EXCL)
            os.fchmod(handle, 0o666)  # for its time stamp, see _try
            break
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{path}: is not a regular file; remove it, or name another folder in {FOLDER}")
    return locks.keep(handle)
