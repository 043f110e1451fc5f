"""Example predictions.

Actual and predicted outlines of the study's own methods on every test set. Cases are selected by foreground area alone;
their ids are in the footer.

The cases show typical behaviour, good or bad, as no prediction has a part in their choice. A few cases are no evidence;
the leaderboard has all of them.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from spectralseg.reporting.drawing import layout, series
from spectralseg.reporting.example_cases import COUNT, spread
from spectralseg.reporting.figures._strips import contour_figure, strip_of
from spectralseg.reporting.labels import pair_label
from spectralseg.reporting.results import Results

IMAGES = True

_METHODS = 6
_NARROW = 4  # methods with which two test sets fit side by side
_HEIGHT, _HEADING, _PANEL = 8.4, 0.52, {1: 1.22, 2: 0.7}  # inches; panels by number of test sets side by side


def build(results: Results) -> Figure:
    """One strip per pair of training and test dataset; up to six methods in the order of the study."""
    runs = series.read(results, ["dsc"], suite={"iid", "ood"})
    if runs.empty:
        return layout.no_data("There are no evaluated runs.", demonstration=results.demonstration)
    places = [pair for pair in series.places(results, runs) if pair[1] in results.prepared_names]
    compared = [series.compared(results, runs[_of(runs, *pair)], limit=_METHODS) for pair in places]
    across = 2 if len(places) > 2 and max(len(some.methods) for some in compared) <= _NARROW else 1
    rows = _rows(-(-len(places) // across), _PANEL[across])
    shown = across * int(_HEIGHT // (_HEADING + _PANEL[across]))
    strips = [
        strip_of(results, *pair, functools.partial(spread, count=rows), some.methods)
        for pair, some in zip(places[:shown], compared, strict=False)
    ]
    bands = [strips[start : start + across] for start in range(0, len(strips), across)]
    left_out = [pair_label(*pair) for pair in places[shown:]]
    if methods := max(some.left_out for some in compared):
        left_out.append(f"up to {methods} methods of a test set")
    return contour_figure(bands, left_out, results.demonstration)


def _of(runs: pd.DataFrame, trained_on: str, tested_on: str) -> pd.Series:
    return (runs["dataset"] == trained_on) & (runs["test_dataset"] == tested_on)


def _rows(bands: int, panel: float) -> int:
    """Number of examples per test set that fit on a page."""
    return int(np.clip((_HEIGHT / max(bands, 1) - _HEADING) / panel, 1, COUNT))
