"""Datasets: fetch raw files, read, split and prepare them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectralseg.data.prepared import PreparedDataset, open_prepared, verify_prepared

__all__ = ["PreparedDataset", "open_prepared", "verify_prepared"]


def __getattr__(name: str) -> Any:
    """Import on demand, so that reading a specification does not import numpy."""
    if name in __all__:
        from spectralseg.data import prepared

        return getattr(prepared, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
