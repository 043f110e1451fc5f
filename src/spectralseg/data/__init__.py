"""From raw archives to the prepared dataset: fetch, read, split, prepare."""

from spectralseg.data.prepared import PreparedDataset, open_prepared, verify_prepared

__all__ = ["PreparedDataset", "open_prepared", "verify_prepared"]
