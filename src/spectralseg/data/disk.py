"""Free disk space, checked before and while large files are written."""

from __future__ import annotations

import shutil
from pathlib import Path

from spectralseg.errors import InputError

RESERVE = 2**28  # bytes that stay free


def free_space(folder: Path) -> int:
    """Bytes that may be written to a folder, which need not exist, with a reserve of 256 MiB; negative if the free
    space is below the reserve.
    """
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free - RESERVE


def require_space(folder: Path, size: int) -> None:
    """Raise an :class:`InputError` unless ``size`` bytes may be written to ``folder``; see :func:`free_space`."""
    free = free_space(folder)
    if free < size:
        raise InputError(
            f"the disk of {folder} has {_gigabytes(free + RESERVE)} free, but {_gigabytes(size + RESERVE)} are needed; "
            "free some space"
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
