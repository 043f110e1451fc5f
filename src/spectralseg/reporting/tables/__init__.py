"""Tables: one module each, see :mod:`spectralseg.outputs`, or one CSV file for a table of a paper."""

from __future__ import annotations

import importlib

from spectralseg.outputs import module_of, names
from spectralseg.published.tables import read_published_table
from spectralseg.reporting.results import Results
from spectralseg.reporting.table import Table
from spectralseg.reporting.tables._cells import fill, leak_free


def build_table(name: str, results: Results) -> Table:
    """Fill a table from the results.

    A name without a module is that of a published table of a paper in ``results.published``, whose numbers are shown
    beside the measured ones. Without matching records all measured cells are empty.

    Raises:
        InputError: there is no such table, or a file that it needs is missing or damaged.
    """
    if name not in names("tables") and results.published is not None:
        return fill(results, read_published_table(results.published, name), leak_free)
    table: Table = importlib.import_module(module_of("tables", name)).build(results)
    return table
