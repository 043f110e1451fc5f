"""Receipts of downloaded official files: address, size, checksums and date of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectralseg.errors import InputError
from spectralseg.parsing import read_json

RECEIPTS = "sources.json"
_MAX_RECEIPTS = 2**20  # bytes


def read_receipts(folder: Path) -> list[dict[str, Any]]:
    """Receipts of the files in ``folder``, sorted by name; empty if nothing was fetched."""
    try:
        receipts = list(read_json(folder / RECEIPTS, _MAX_RECEIPTS)["files"])
    except (InputError, KeyError, TypeError):
        return []
    return [receipt for receipt in receipts if isinstance(receipt, dict) and "file" in receipt]
