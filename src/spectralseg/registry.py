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
from pathlib import Path
from types import ModuleType

from spectralseg.errors import InputError

_WEIGHTS = (".pt", ".pth", ".bin", ".safetensors")


def names(package: str) -> list[str]:
    """Entries of a package, sorted."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"{package} is no package")
    return sorted(m.name for m in pkgutil.iter_modules(spec.submodule_search_locations) if not m.name.startswith("_"))


# Models that segmentation-models-pytorch builds under these names. They stand here because the library takes seconds to
# import; a test compares.
LIBRARY_MODELS = (
    "deeplabv3",
    "deeplabv3plus",
    "dpt",
    "fpn",
    "linknet",
    "manet",
    "pan",
    "pspnet",
    "segformer",
    "unet",
    "unetplusplus",
    "upernet",
)


def model_names() -> list[str]:
    """Names of all models: modules of :mod:`spectralseg.models`, and :data:`LIBRARY_MODELS`."""
    return sorted({*names("spectralseg.models"), *LIBRARY_MODELS})


def weights_file(weights: str | None) -> Path | None:
    """The file that ``encoder_weights`` names, or None for a name of published weights: files have a suffix."""
    return Path(weights) if weights is not None and Path(weights).suffix in _WEIGHTS else None


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
