"""Metrics of this suite as metric objects of torchmetrics and MONAI, for training loops that expect those.

Values where a structure is missing follow the protocol ``sound`` of ``docs/metrics-policy.md``, as in the tables.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from spectralseg.extras import explaining_missing_packages

if TYPE_CHECKING:
    from spectralseg.adapters._monai import MonaiMetric
    from spectralseg.adapters._torchmetrics import TorchMetric

__all__ = ["MonaiMetric", "TorchMetric"]

_MODULES = {"MonaiMetric": "_monai", "TorchMetric": "_torchmetrics"}


def __getattr__(name: str) -> Any:
    """Import on demand, so that each class needs its own library only."""
    if name in _MODULES:
        with explaining_missing_packages(f"{__name__}.{name}"):
            from spectralseg._torchvision import ensure_operators

            ensure_operators()  # for torchmetrics, which imports torchvision
            return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
