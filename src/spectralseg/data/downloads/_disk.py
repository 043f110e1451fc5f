"""Room on the disk, before and while something large is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from spectralseg.errors import InputError

RESERVE = 2**28  # bytes that stay free


def require_space(folder: Path, size: int) -> None:
    """Raise an :class:`InputError` unless ``size`` bytes fit beside ``folder`` and a reserve of 256 MiB stays free."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size + RESERVE:
        raise InputError(
            f"the disk of {folder} has {_gigabytes(free)} free, but {_gigabytes(size + RESERVE)} are needed; make room"
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
