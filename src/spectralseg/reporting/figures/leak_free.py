"""Dice with and without leaked test cases.

Dice over all test cases and over decreasing subsets of them: without those that match training data, validation data,
and the test data of the training dataset; with 95 % intervals over seeds and cases and the number of cases that remain.

Where few cases remain, intervals are wide and differences may be due to chance. The table `leakage_effect` has the
numbers.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectralseg.data.audit import Audit
from spectralseg.reporting.drawing import layout, series
from spectralseg.reporting.labels import pair_label
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import rows_where

RUNS = {"suite": ("ood",)}

STAGES = {"": "all\ncases", "train": "not in\ntraining", "validation": "nor\nvalidation", "test": "nor\ntest"}
_COLUMNS, _ROWS = 3, 4
_LEFT, _GAP = 0.42, 0.36  # inches
_READING = (
    "DSC in percent, mean over foreground classes, sound protocol, over all test cases and over those without a match "
    "in the training data, nor in the validation data, nor in the test data of the training dataset (same id, bytes, "
    "appearance or patient). Below: number of remaining test cases. Bars: {interval}. {counts}"
)


def build(results: Results) -> Figure:
    """One panel per pair of datasets that differ or whose test cases match training or validation data."""
    audit = results.leakage
    if audit.pairs.empty:
        return layout.no_data("Leakage was not audited.", demonstration=results.demonstration)
    records = series.read(results, ["dsc"], suite={"iid", "ood"})
    tested = set(zip(records["dataset"], records["test_dataset"], strict=True))
    reported = audit.reported_twice[["train_dataset", "test_dataset"]].itertuples(index=False, name=None)
    pairs = [pair for pair in reported if pair in tested]
    if not pairs:
        text = "No run is tested on another dataset, or on test cases that match its training or validation data."
        return layout.no_data(text, demonstration=results.demonstration)
    records = records[pd.MultiIndex.from_frame(records[["dataset", "test_dataset"]]).isin(pairs)]
    compared = series.compared(results, records)
    left_out, pairs = layout.left_out("Pairs of datasets", len(pairs[_COLUMNS * _ROWS :])), pairs[: _COLUMNS * _ROWS]
    columns = min(len(pairs), _COLUMNS)
    rows = -(-len(pairs) // columns)
    reading = _READING.format(interval=series.INTERVAL, counts=series.counts_text(records))
    sheet = layout.sheet(
        [layout.fitting(_COLUMNS, left=_LEFT, gap=_GAP)] * columns,
        [1.25] * rows,
        [reading, compared.rule, left_out],
        demonstration=results.demonstration,
        left=_LEFT,
        gap=_GAP,
        taller=dict.fromkeys(range(1, rows), 0.3),
        below=0.48,
        legend=compared.handles(),
    )
    panels = [panel for row in sheet.panels for panel in row]
    for panel, (training, test) in zip(panels, pairs, strict=False):
        _draw(panel, rows_where(records, dataset=training, test_dataset=test), audit, compared)
        panel.set_title(pair_label(training, test), weight="bold")
    for panel in panels[len(pairs) :]:
        panel.set_visible(False)
    return sheet.figure


def left(records: pd.DataFrame, audit: Audit, part: str) -> pd.DataFrame:
    """Records of cases without a match in the parts up to ``part``; all records if ``part`` is empty."""
    if not part:
        return records
    keys = pd.MultiIndex.from_frame(records[["dataset", "test_dataset", "case"]])
    return records[~keys.isin(audit.leaked_cases(part))]


def _draw(panel: Axes, records: pd.DataFrame, audit: Audit, compared: series.Compared) -> None:
    stages = [left(records, audit, part) for part in STAGES]
    for number, method in enumerate(compared.methods):
        shift = 0.09 * (number - (len(compared.methods) - 1) / 2)
        intervals = [series.mean(series.of_method(stage, method)) for stage in stages]
        series.points(panel, [place + shift for place in range(len(stages))], intervals, compared.look(method))
    counts = [stage["case"].nunique() for stage in stages]
    names = [f"{text}\n{count}" for text, count in zip(STAGES.values(), counts, strict=True)]
    panel.set_xticks(range(len(stages)), names)
    panel.set_xlim(-0.4, len(stages) - 0.6)
    panel.set_ylabel("DSC / %")
