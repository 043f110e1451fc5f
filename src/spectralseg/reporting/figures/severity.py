"""Corrupted images by severity.

Dice against the severity of each corruption, one line per method, clean images at the left end, with 95 % intervals
over seeds and cases. The footer counts corruptions with a single severity.

A method that is better on clean images does not necessarily degrade less: compare the slopes, not only the starting
points. A single severity gives two points, which do not form a curve.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectralseg.metrics.robustness import CLEAN
from spectralseg.reporting.drawing import layout, series, style
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD

RUNS = {"suite": ("noise",)}

_COLUMNS, _ROWS = 6, 9
_HEIGHT = 0.7  # inches
_LEFT, _GAP = 0.42, 0.1  # inches


def build(results: Results) -> Figure:
    """One panel per dataset and corruption, a line per method, the clean value at the left end."""
    records = series.read(results, ["dsc"], suite={"iid", "noise"})
    noisy = records[records["suite"] == "noise"]
    if noisy.empty:
        return layout.no_data("No test images were corrupted.", demonstration=results.demonstration)
    compared = series.compared(results, noisy, limit=4)
    datasets = series.datasets(results, noisy)
    rows = [row for name in datasets for row in _rows(noisy[noisy["dataset"] == name])]
    left_out = sum(len(corruptions) for _, corruptions in rows[_ROWS:])
    rows = rows[:_ROWS]
    columns = max(3, *(len(corruptions) for _, corruptions in rows))
    sheet = layout.sheet(
        [layout.fitting(_COLUMNS, left=_LEFT, gap=_GAP)] * columns,
        [_HEIGHT] * len(rows),
        _footer(records, noisy, compared, left_out),
        demonstration=results.demonstration,
        left=_LEFT,
        gap=_GAP,
        top=0.42,
        taller={row: 0.34 + 0.2 * (rows[row][0] != rows[row - 1][0]) for row in range(1, len(rows))},
        below=0.32,
        legend=compared.handles(),
    )
    for row, (name, corruptions) in enumerate(rows):
        of_dataset = records[records["dataset"] == name]
        if row == 0 or rows[row - 1][0] != name:
            sheet.heading(row, 0, 0, dataset_label(name))
        for panel, corruption in zip(sheet.panels[row], corruptions, strict=False):
            _draw(panel, of_dataset[of_dataset["corruption"].isin([CLEAN, corruption])], corruption, compared)
        for panel in sheet.panels[row][len(corruptions) :]:
            panel.set_visible(False)
    for name in datasets:
        of_rows = zip(sheet.panels, rows, strict=True)
        _align([panels[: len(corruptions)] for panels, (dataset, corruptions) in of_rows if dataset == name])
    for panel in sheet.panels[-1][: len(rows[-1][1])]:
        panel.set_xlabel("severity")
    return sheet.figure


def _rows(noisy: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """The corruptions of a dataset, in rows of panels."""
    name, corruptions = noisy["dataset"].iloc[0], sorted(noisy["corruption"].unique())
    return [(name, corruptions[start : start + _COLUMNS]) for start in range(0, len(corruptions), _COLUMNS)]


def _footer(records: pd.DataFrame, noisy: pd.DataFrame, compared: series.Compared, left_out: int) -> list[str]:
    severities = noisy.groupby(["dataset", "corruption"])["severity"].nunique()
    of_methods = pd.concat([series.of_method(noisy, method) for method in compared.methods])
    lines = len(of_methods.groupby(["dataset", "corruption", *METHOD]))
    single = int((severities == 1).sum())
    return [
        "DSC in percent, mean over foreground classes, sound protocol; 0: clean images. Severities are as in the "
        f"configuration and not evenly spaced. Bands: {series.INTERVAL}. {series.counts_text(records)}",
        f"{compared.rule} Lines without a run: {len(severities) * len(compared.methods) - lines}.",
        f"Corruptions with a single severity: {single} of {len(severities)}; two points do not form a curve."
        if single
        else "",
        layout.left_out("Panels", left_out),
    ]


def _draw(panel: Axes, records: pd.DataFrame, corruption: str, compared: series.Compared) -> None:
    severities = sorted(records["severity"].unique(), key=float)
    for method in compared.methods:
        points = series.by(series.of_method(records, method), "severity")
        x = [place for place, severity in enumerate(severities) if severity in points]
        if len(x) > 1:  # not only clean images
            series.band(panel, x, [series.mean(points[severities[place]]) for place in x], compared.look(method))
    panel.set_title(corruption.replace("_", " "), fontsize=style.SMALL_SIZE)
    panel.set_xticks(range(len(severities)), severities)
    panel.set_xlim(-0.3, len(severities) - 0.7)


def _align(rows: Sequence[Sequence[Axes]]) -> None:
    """One range of values for the panels of a dataset, labelled at the left ends."""
    panels = [panel for row in rows for panel in row]
    low, high = (pick(panel.get_ylim()[end] for panel in panels) for end, pick in ((0, min), (1, max)))
    for panel in panels:
        panel.set_ylim(max(low, -1), min(high, 101))
        panel.tick_params(labelleft=any(panel is row[0] for row in rows))
    for row in rows:
        row[0].set_ylabel("DSC / %")
