"""Tables: one module each, see :mod:`spectralseg.outputs`, or one CSV file for a table of a paper."""

from __future__ import annotations

import importlib

from spectralseg.outputs import module_of, names
from spectralseg.reporting.results import Results
from spectralseg.reporting.table import Table


def build_table(name: str, results: Results) -> Table:
    """Fill a table from the results.

    A name without a module is that of a published table in the folder ``results.published``: published numbers are set
    beside the measured ones. Without any matching record every measured cell is empty.

    Raises:
        InputError: there is no such table, or a file that it needs is missing or damaged.
    """
    if name not in names("tables") and results.published is not None:
        from spectralseg.reporting.tables._published import build

        return build(results, name)
    table: Table = importlib.import_module(module_of("tables", name)).build(results)
    return table
