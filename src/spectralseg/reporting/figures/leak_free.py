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

STAGES = {"": "all\ncases", "train": "not in\ntraining", "validation": "nor\nvalidation", "test": "nor\ntest"}
_COLUMNS, _ROWS = 3, 4
_LEFT, _GAP = 0.42, 0.36  # inches
_READING = (
    "DSC in percent, mean over foreground classes, sound protocol, over all test cases and over those without a match "
    "in the training data, nor in the validation data, nor in the test data of the training dataset (same id, bytes, "
    "looks or patient). Below: test cases that are left. Bars: {interval}. {counts}"
)


def build(results: Results) -> Figure:
    """One panel per pair of datasets that differ or whose test cases match training or validation data."""
    audit = results.leakage
    if audit.pairs.empty:
        return layout.nothing("Leakage was not audited.", demonstration=results.demonstration)
    records = series.read(results, ["dsc"], suite={"iid", "ood"})
    chosen = audit.reported_twice
    tested = set(zip(records["dataset"], records["test_dataset"], strict=True))
    pairs = [pair for pair in zip(chosen["train_dataset"], chosen["test_dataset"], strict=True) if pair in tested]
    if not pairs:
        text = "No run is tested on another dataset, or on test cases that match its training or validation data."
        return layout.nothing(text, demonstration=results.demonstration)
    records = records[pd.MultiIndex.from_frame(records[["dataset", "test_dataset"]]).isin(pairs)]
    shown = series.compared(results, records)
    left_out = len(pairs[_COLUMNS * _ROWS :])
    pairs = pairs[: _COLUMNS * _ROWS]
    columns = min(len(pairs), _COLUMNS)
    rows = -(-len(pairs) // columns)
    footer = [_READING.format(interval=series.INTERVAL, counts=series.counted(records)), shown.rule]
    footer += [f"Pairs of datasets left out as they do not fit: {left_out}."] if left_out else []
    sheet = layout.sheet(
        [layout.fitting(_COLUMNS, left=_LEFT, gap=_GAP)] * columns,
        [1.25] * rows,
        footer,
        demonstration=results.demonstration,
        left=_LEFT,
        gap=_GAP,
        taller=dict.fromkeys(range(1, rows), 0.3),
        below=0.48,
        legend=shown.handles(),
    )
    panels = [panel for row in sheet.panels for panel in row]
    for panel, (training, test) in zip(panels, pairs, strict=False):
        own = records[(records["dataset"] == training) & (records["test_dataset"] == test)]
        _draw(panel, own, audit, shown)
        panel.set_title(pair_label(training, test), weight="bold")
    for panel in panels[len(pairs) :]:
        panel.set_visible(False)
    return sheet.figure


def left(records: pd.DataFrame, audit: Audit, part: str) -> pd.DataFrame:
    """Records of cases without a match in the parts up to ``part``; all where that is empty."""
    if not part:
        return records
    keys = pd.MultiIndex.from_frame(records[["dataset", "test_dataset", "case"]])
    return records[~keys.isin(audit.leaked_cases(part))]


def _draw(panel: Axes, records: pd.DataFrame, audit: Audit, shown: series.Compared) -> None:
    stages = [left(records, audit, part) for part in STAGES]
    for number, method in enumerate(shown.methods):
        look = shown.look(method)
        shift = 0.09 * (number - (len(shown.methods) - 1) / 2)
        found = [series.mean(series.of_method(stage, method)) for stage in stages]
        places = [place + shift for place in range(len(stages))]
        panel.plot(places, [one.estimate for one in found], markersize=3, markeredgewidth=0, **look)
        for x, one in zip(places, found, strict=True):
            series.bar(panel, x, one, look)
    counts = [stage["case"].nunique() for stage in stages]
    names = [f"{text}\n{count}" for text, count in zip(STAGES.values(), counts, strict=True)]
    panel.set_xticks(range(len(stages)), names)
    panel.set_xlim(-0.4, len(stages) - 0.6)
    panel.set_ylabel("DSC / %")
