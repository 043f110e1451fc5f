"""From raw archives to the prepared dataset: fetch, read, split, prepare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectralseg.data.prepared import PreparedDataset, open_prepared, verify_prepared

__all__ = ["PreparedDataset", "open_prepared", "verify_prepared"]


def __getattr__(name: str) -> Any:
    """Import on demand: what reads a specification only does not wait for numpy."""
    if name in __all__:
        from spectralseg.data import prepared

        return getattr(prepared, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
