"""Registries without registration: the modules of a package are its entries, and a new file is a new entry.

Modules whose names start with an underscore are helpers. Listing imports nothing, so that the workflow can check
names without loading torch.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from spectralseg.errors import InputError


def names(package: str) -> list[str]:
    """Entries of a package, sorted."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"{package} is no package")
    return sorted(m.name for m in pkgutil.iter_modules(spec.submodule_search_locations) if not m.name.startswith("_"))


def load(package: str, name: str, kind: str) -> ModuleType:
    """Import one entry.

    Raises:
        InputError: there is no such entry; the message names the nearest one.
    """
    if name not in names(package):
        raise InputError(f"{kind} '{name}' is unknown; {suggest(name, names(package))}")
    return importlib.import_module(f"{package}.{name}")


def suggest(name: str, valid: Iterable[str]) -> str:
    """The nearest valid name, and all of them."""
    valid = list(valid)
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return (f"did you mean '{near[0]}'? " if near else "") + f"valid: {', '.join(valid)}"
