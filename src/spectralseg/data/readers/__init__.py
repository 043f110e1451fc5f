"""Readers: native layout in, cases out. One module per layout, each with one public function::

    read(root: Path, **options) -> list[Case]

``root`` is a folder that holds the unpacked official archives; ``options`` come from the dataset's specification.
Listing must be cheap: arrays are read only by ``Case.load``.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from spectralseg.data.cases import Case
from spectralseg.errors import InputError


def available() -> list[str]:
    """Names of the readers; a new module here is a new reader."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def read_cases(reader: str, root: Path, options: dict[str, Any]) -> list[Case]:
    """List the cases below ``root``, sorted by id.

    Raises:
        InputError: the reader is unknown, finds no case, or finds two cases of one id.
    """
    if reader not in available():
        raise InputError(f"reader '{reader}' is unknown; available: {', '.join(available())}")
    module = importlib.import_module(f"{__name__}.{reader}")
    cases: list[Case] = sorted(module.read(root, **options), key=lambda case: case.id)
    if not cases:
        raise InputError(f"{root}: reader '{reader}' finds no case; give the dataset in its official layout")
    for first, second in zip(cases, cases[1:], strict=False):
        if first.id == second.id:
            raise InputError(f"{root}: case '{first.id}' is there twice; remove one copy")
    return cases
