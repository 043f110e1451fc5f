"""Labels of datasets, architectures, objectives and methods on pages and in figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DATASETS = {
    "synapse": "Synapse",
    "acdc": "ACDC",
    "kvasir_seg": "Kvasir-SEG",
    "polypgen": "PolypGen",
    "isic2018": "ISIC-18",
    "isic2017": "ISIC-17",
    "monuseg": "MoNuSeg",
    "btseg": "BTSeg",
    "atlas": "ATLAS",
}
_ARCHITECTURES = {"unet": "UNet", "transunet": "TransUNet"}


def dataset_label(name: str) -> str:
    """Name of a dataset as in the paper; other names are unchanged."""
    return _DATASETS.get(name, name)


def pair_label(training: str, test: str) -> str:
    """``ISIC-18 → ISIC-17``, or one name if both are the same."""
    return " → ".join(dict.fromkeys((dataset_label(training), dataset_label(test))))


def tested_on(cell: Mapping[Any, Any]) -> str:
    """:func:`pair_label` of the columns ``dataset`` and ``test_dataset``."""
    return pair_label(cell["dataset"], cell["test_dataset"])


def architecture_label(name: str) -> str:
    """Name of an architecture as in the paper; other names are unchanged."""
    return _ARCHITECTURES.get(name, name)


def objective_label(objective: str, lam: str) -> str:
    """Name of an objective with the weight of its auxiliary term, if any: ``spatial_spectral, λ = 0.2``."""
    return objective if lam == "0" else f"{objective}, λ = {lam}"


def method_label(cell: Mapping[Any, Any]) -> str:
    """A method by its names in the configuration: ``unet spatial_spectral, λ = 0.2``."""
    return f"{cell['architecture']} {objective_label(cell['objective'], cell['lambda'])}"


def plain_label(architecture: str, objective: str, lam: str) -> str:
    """:func:`method_label` with the label of the architecture: ``UNet spatial_spectral, λ = 0.2``."""
    return f"{architecture_label(architecture)} {objective_label(objective, lam)}"
