"""Room on the disk, before and while something large is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from spectralseg.errors import InputError

RESERVE = 2**28  # bytes that stay free


def free_space(folder: Path) -> int:
    """Bytes that may be written in a folder, existing or not, so that a reserve of 256 MiB stays; negative where less
    than the reserve is left.
    """
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free - RESERVE


def require_space(folder: Path, size: int) -> None:
    """Raise an :class:`InputError` unless ``size`` bytes may be written in ``folder``; see :func:`free_space`."""
    free = free_space(folder)
    if free < size:
        raise InputError(
            f"the disk of {folder} has {_gigabytes(free + RESERVE)} free, but {_gigabytes(size + RESERVE)} are needed; "
            "make room"
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
