"""Tables of a paper: published numbers beside measured ones."""

from __future__ import annotations

from spectralseg.published.tables import read_published
from spectralseg.reporting.results import Results
from spectralseg.reporting.table import Table
from spectralseg.reporting.tables._cells import fill, leak_free


def build(results: Results, name: str) -> Table:
    """A table of the folder ``results.published``, by its name."""
    assert results.published is not None  # build_table
    return fill(results, read_published(results.published / f"{name}.csv"), leak_free)
