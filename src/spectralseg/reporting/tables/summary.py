"""All runs of this study.

All runs of this study on their own test sets and on their out-of-distribution partners, mean over foreground classes.

One section per metric protocol. This table has no counterpart in the paper; it shows every dataset, architecture and
objective of the study, including your own.
"""

from __future__ import annotations

from spectralseg.outputs import title_of
from spectralseg.published.tables import PublishedTable
from spectralseg.reporting.results import Results
from spectralseg.reporting.table import Table
from spectralseg.reporting.tables._cells import FALSE_STRUCTURES, all_runs, fill, leak_free

METRICS = ("dsc", "iou", "hd95", "false_structure", "ece")


def build(results: Results) -> Table:
    """All runs of a study on their own test sets and partners, without published numbers beside them.

    Raises:
        InputError: there are no metric records.
    """
    notes = ("Mean over foreground classes. HD95 in millimetres or pixels, see the protocol.", FALSE_STRUCTURES)
    cells = all_runs(results, METRICS)
    return fill(results, PublishedTable("summary", title_of(__doc__), "Method", notes, cells), leak_free)
