"""DSC with and without leaked test cases.

Dice out of distribution over all test cases and over decreasing subsets of them: without those that match training
data, validation data, and the test data of the training dataset.

The number of cases is below each column. Where few cases remain, differences may be due to chance.
"""

from __future__ import annotations

from spectralseg.outputs import title_of
from spectralseg.published.tables import PublishedTable
from spectralseg.reporting.results import Results
from spectralseg.reporting.table import Table
from spectralseg.reporting.tables._cells import all_runs, fill, pairs_of, reported_twice, step_by_step

RUNS = {"suite": ("ood",)}

_READING = (
    "Columns from left to right: all test cases; without those that match training data; nor validation data; nor the "
    "test data of the training dataset, so that no case is shared with its own test set."
)
_NO_RUN = "No run is tested on another dataset, or on test cases that match its training or validation data."


def build(results: Results) -> Table:
    """Every run that is tested on another dataset, or on leaked test cases.

    Raises:
        InputError: there was no audit.
    """
    cells = all_runs(results, ("dsc",)).assign(column="DSC, all")
    cells = cells[pairs_of(cells).isin(reported_twice(results.require_audit()))]
    notes = (_NO_RUN if cells.empty else _READING,)
    return fill(results, PublishedTable("leakage_effect", title_of(__doc__), "Method", notes, cells), step_by_step)
