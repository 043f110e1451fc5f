"""Case by case: Dice of a method against that of the baseline, and the cases that lose most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spectralseg.data.prepared import PreparedDataset
from spectralseg.grid import Run
from spectralseg.metrics.records import MEAN, of_class
from spectralseg.reporting import style
from spectralseg.reporting.cases import Method
from spectralseg.reporting.figures import layout, series
from spectralseg.reporting.figures.common import shown_image
from spectralseg.reporting.results import Examples, Results

WORST = 2
_PAIRS, _ROWS = 2, 8
_SIDE = 0.96  # inches
_READING = (
    "Each point is a test case: DSC in percent, mean over its defined classes and over the seeds that both methods "
    f"have, sound protocol. Numbered: the {WORST} cases that lose most against the baseline, if any loses, shown "
    "beside by id and change in percentage points: the slice with the largest foreground, or the one whose prediction "
    "is stored, of the first seed. Share of cases above the diagonal (better) in the corner, equal ones half. {counts}"
)


def scatter(results: Results) -> Figure:
    """One row per pair of training and test dataset; per method a scatter plot and its worst cases."""
    records = series.read(results, ["dsc"], suite={"iid", "ood"})
    compared = series.compared(results, records, limit=1_000).methods if len(records) else ()
    baseline = _baseline(results)
    without = {one.architecture: one for one in compared if one.objective == baseline}
    methods = [one for one in compared if one.objective != baseline and one.architecture in without]
    if not methods:
        text = "No method and baseline share an architecture."
        return layout.nothing(text, demonstration=results.demonstration)
    others, methods = methods[_PAIRS:], methods[:_PAIRS]
    places = sorted(
        set(zip(records["dataset"], records["test_dataset"], strict=True)),
        key=lambda pair: (pair[0] != pair[1], series.dataset_order(results, pair[0]), pair[1]),
    )
    left_out, places = places[_ROWS:], places[:_ROWS]
    block = 1 + WORST
    found = {
        (place, method): per_case(records[_at(records, place)], without[method.architecture], method)
        for place in places
        for method in methods
    }
    missing = sum(cases.empty for cases in found.values())
    remarks = f"Methods: in the order of the study, one λ per objective. Plots without both runs: {missing}."
    remarks += f" Methods left out: {len(others)}." if others else ""
    remarks += f" Pairs of datasets left out as they do not fit: {len(left_out)}." if left_out else ""
    stored = {place: _stored(results, place, methods, without) for place in places}
    widths = ([_SIDE] + [0.86] * WORST) * len(methods)
    sheet = layout.sheet(
        widths,
        [_SIDE] * len(places),
        [_READING.format(counts=series.counted(records)), remarks],
        demonstration=results.demonstration,
        left=0.52,
        gap=0.06,
        top=0.42,
        wider=dict.fromkeys(range(block, block * len(methods), block), 0.5),
        taller=dict.fromkeys(range(1, len(places)), 0.2),
        below=0.62,
    )
    for number, method in enumerate(methods):
        sheet.heading(0, block * number, block * number + block - 1, f"{_name(method)} against {baseline}")
    for row, place in enumerate(places):
        for number, method in enumerate(methods):
            panels = sheet.panels[row][block * number : block * (number + 1)]
            cases = found[place, method]
            worst = cases[cases["change"] < 0].nsmallest(WORST, "change")
            _scatter(panels[0], cases, worst, last=row == len(places) - 1)
            panels[0].set_ylabel("\n".join([*style.pair_label(*place).split(" → "), "method / %"]))
            _overlays(panels[1:], results, place[1], worst, stored[place][method])
    for number in range(len(methods)):
        sheet.panels[-1][block * number].set_xlabel("baseline / %")
    sheet.legend(len(places) - 1, _HANDLES, drop=0.36)
    return sheet.figure


_HANDLES = [
    Line2D([], [], color=style.ACTUAL, label="actual"),
    Line2D([], [], color=style.SKY, linestyle=layout.DASHES["dotted"], label="baseline"),
    Line2D([], [], color=style.PREDICTED, linestyle=layout.DASHES["dashed"], label="method"),
]


def per_case(records: pd.DataFrame, baseline: Method, method: Method) -> pd.DataFrame:
    """Dice in percent of each case with both methods: ``case``, ``before``, ``after``, ``change``, sorted by case."""
    parts = [of_class(series.of_method(records, one), MEAN) for one in (baseline, method)]
    first, second = (part.groupby(["seed", "case"])["value"].mean() for part in parts)
    both = pd.concat({"before": first, "after": second}, axis=1).dropna()
    cases = 100 * both.groupby("case")[["before", "after"]].mean()
    return cases.assign(change=cases["after"] - cases["before"]).reset_index()


def _baseline(results: Results) -> str:
    named = results.comparisons["baseline"].unique()
    return str(named[0]) if len(named) else "spatial"


def _at(records: pd.DataFrame, place: tuple[str, str]) -> pd.Series:
    return (records["dataset"] == place[0]) & (records["test_dataset"] == place[1])


def _name(method: Method) -> str:
    return series.plain_label(method.architecture, method.objective, method.lam)


def _scatter(panel: Axes, cases: pd.DataFrame, worst: pd.DataFrame, *, last: bool) -> None:
    if cases.empty:
        layout.empty(panel, "no run")
        return
    panel.plot([0, 100], [0, 100], color=style.FAINT, linewidth=0.6)
    size, opacity = (2.6, 0.7) if len(cases) <= 200 else (1.6, 0.35)
    panel.plot(
        cases["before"],
        cases["after"],
        "o",
        color=style.BLUE,
        markersize=size,
        alpha=opacity,
        markeredgewidth=0,
        clip_on=False,
    )
    for number, case in enumerate(worst.to_dict("records"), 1):
        panel.plot(case["before"], case["after"], "o", markersize=4.4, markerfacecolor="none", color="black", mew=0.6)
        # Worst cases lie below the diagonal, where there is room on the right unless they are at the edge.
        inward = case["before"] > 88
        panel.annotate(
            str(number),
            (case["before"], case["after"]),
            xytext=(-3.4, -3.4) if inward else (3.4, -3.4),
            textcoords="offset points",
            ha="right" if inward else "left",
            va="center",
            fontsize=style.SMALL_SIZE,
        )
    better = 100 * float((np.sign(cases["change"]) + 1).mean() / 2)
    panel.text(0.03, 0.97, f"{better:.0f} %", transform=panel.transAxes, va="top", fontsize=style.SMALL_SIZE)
    panel.set_xlim(0, 100)
    panel.set_ylim(0, 100)
    panel.set_xticks([0, 50, 100])
    panel.set_yticks([0, 50, 100])
    panel.tick_params(labelbottom=last)


def _stored(
    results: Results, place: tuple[str, str], methods: Sequence[Method], without: dict[str, Method]
) -> dict[Method, tuple[Examples | None, Examples | None]]:
    """Example predictions of baseline and method on a training dataset, both of the lowest seed of either."""
    runs = [run for run in results.runs() if run.dataset == place[0]]
    found = {}
    for method in methods:
        pair = (without[method.architecture], method)
        keys = [(one.architecture, one.objective, one.lam) for one in pair]
        seed = min((run.seed for run in runs if (run.architecture, run.objective, run.lam) in keys), default=0)
        first, second = (results.examples(Run(place[0], *key, seed)) for key in keys)
        found[method] = (first, second)
    return found


def _overlays(
    panels: Sequence[Axes],
    results: Results,
    dataset: str,
    worst: pd.DataFrame,
    stored: tuple[Examples | None, Examples | None],
) -> None:
    for panel in panels[len(worst) :]:
        panel.set_visible(False)
    data = results.prepared(dataset) if dataset in results.prepared_names else None
    for number, (panel, case) in enumerate(zip(panels, worst.to_dict("records"), strict=False), 1):
        panel.set_title(f"{number}: {_short(case['case'])}", fontsize=style.SMALL_SIZE)
        if data is None or case["case"] not in set(data.cases["case"]):
            layout.empty(panel, "not prepared")
            continue
        predicted = _overlay(panel, data, case["case"], stored)
        lacking = "" if predicted else ", no prediction"
        layout.note(panel, f"{case['change']:+.1f}{lacking}".replace("-", "−"))


def _overlay(panel: Axes, data: PreparedDataset, case: str, stored: tuple[Examples | None, Examples | None]) -> bool:
    """Show a slice of a case with its outlines; return whether a prediction is among them."""
    rows = [
        int(row)
        for one in stored
        if one is not None
        for row in one.row[(one.dataset == data.name) & (one.case == case)]
    ]
    row = rows[0] if rows else _largest(data, case)
    layout.picture(panel, shown_image(data, row))
    layout.outline(panel, data.masks[row] > 0, style.ACTUAL)
    found = False
    for one, (colour, dashes) in zip(stored, _OUTLINES, strict=True):
        index = one.find(data.name, case, row) if one is not None else None
        if one is not None and index is not None:
            layout.outline(panel, one.prediction[index] > 0, colour, dashes=dashes)
            found = True
    return found


_OUTLINES: tuple[tuple[str, Literal["dotted", "dashed"]], ...] = (
    (style.SKY, "dotted"),
    (style.PREDICTED, "dashed"),
)


def _largest(data: PreparedDataset, case: str) -> int:
    """Row of the slice of a case with the largest foreground."""
    entry = data.cases[data.cases["case"] == case].iloc[0]
    first, count = int(entry["first"]), int(entry["slices"])
    return first + int((data.masks[first : first + count] > 0).sum((1, 2)).argmax())


def _short(case: str, length: int = 17) -> str:
    return case if len(case) <= length else f"{case[: length - 1]}…"
