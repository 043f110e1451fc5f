"""Case by case against the baseline.

Dice of each test case with the method against that with the baseline, and the two cases that lose most, with reference
and stored predictions. The footer gives the rule and the number of seeds and cases.

Means hide which cases gain and which lose. Each point is a case. The cases with the largest loss are numbered and
shown, with their predictions if stored. They are selected by rule alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spectralseg.data.prepared import PreparedDataset
from spectralseg.grid import Run
from spectralseg.metrics.records import WHOLE_CASE
from spectralseg.reporting.drawing import layout, series, style
from spectralseg.reporting.drawing.images import shown_image
from spectralseg.reporting.example_cases import Method
from spectralseg.reporting.labels import pair_label, plain_label
from spectralseg.reporting.results import Examples, Results
from spectralseg.reporting.rows import rows_where

IMAGES = True
RUNS = {"compared": ("baseline",)}

WORST = 2
_PAIRS, _ROWS = 2, 8
_LARGEST = 0.8  # inches, so that all rows fit on a page
_LEFT, _RIGHT, _GAP, _BETWEEN, _BEFORE_CASES = 0.48, 0.1, 0.06, 0.5, 0.08  # inches
_READING = (
    "Each point is a test case: DSC in percent, mean over the classes defined for both methods and over the seeds that "
    "both have, sound protocol. In the corner: share of cases above the diagonal, which are better; ties count half. "
    f"Numbered: the {WORST} cases with the largest loss against the baseline, if any, with id and change in percentage "
    "points. They show the slice with a stored prediction of the first seed, or else the slice with the largest "
    "foreground and the reference alone. {counts}"
)
_OUTLINES: tuple[tuple[str, str, Literal["dotted", "dashed"]], ...] = (
    ("baseline", style.SKY, "dotted"),
    ("method", style.PREDICTED, "dashed"),
)


@dataclass(frozen=True)
class _Plot:
    """A method and its baseline on a pair of training and test dataset: all cases, the worst, stored predictions."""

    place: tuple[str, str]
    cases: pd.DataFrame
    worst: pd.DataFrame
    stored: tuple[Examples | None, Examples | None]


def build(results: Results) -> Figure:
    """One row per pair of training and test dataset; per method a scatter plot and its worst cases."""
    records = series.read(results, ["dsc"], suite={"iid", "ood"})
    methods, baselines = _methods(results, records)
    if not methods:
        return layout.no_data("No method and baseline share an architecture.", demonstration=results.demonstration)
    places = series.places(results, records)
    pairs = [(baselines[method.architecture], method) for method in methods]
    rows = [[_plot(results, records, place, *pair) for pair in pairs[:_PAIRS]] for place in places[:_ROWS]]
    block, across = 1 + WORST, len(rows[0])
    extra = _BETWEEN * (_PAIRS - 1) + _BEFORE_CASES * _PAIRS
    side = min(layout.fitting(block * _PAIRS, left=_LEFT, right=_RIGHT, gap=_GAP, extra=extra), _LARGEST)
    wider = {block * number + 1: _BEFORE_CASES for number in range(across)}
    wider |= {block * number: _BETWEEN for number in range(1, across)}
    sheet = layout.sheet(
        [side] * (block * across),
        [side] * len(rows),
        _footer(records, rows, len(methods[_PAIRS:]), len(places[_ROWS:]), side),
        demonstration=results.demonstration,
        left=_LEFT,
        right=_RIGHT,
        gap=_GAP,
        top=0.42,
        wider=wider,
        taller=dict.fromkeys(range(1, len(rows)), 0.14),
        below=0.32,
        legend=_handles(),
    )
    for number, (baseline, method) in enumerate(pairs[:_PAIRS]):
        first = block * number
        sheet.heading(0, first, first + WORST, f"{plain_label(*method.keys)} against {baseline.objective}")
        sheet.panels[-1][first].set_xlabel("baseline / %")
    for panels, plots in zip(sheet.panels, rows, strict=True):
        for number, plot in enumerate(plots):
            first = block * number
            _scatter(panels[first], plot)
            heading = [pair_label(*plot.place)] if number == 0 else []
            panels[first].set_ylabel("\n".join([*heading, "method / %"]))
            _overlays(panels[first + 1 : first + block], results, plot, side)
    return sheet.figure


def per_case(records: pd.DataFrame, baseline: Method, method: Method) -> pd.DataFrame:
    """Dice in percent of each case that both methods have: ``case``, ``before``, ``after``, ``change``, by case."""
    records = records[records["class"] != WHOLE_CASE]
    parts = [series.of_method(records, side) for side in (baseline, method)]
    first, second = (part.set_index(["seed", "case", "class"])["value"] for part in parts)
    paired_dice = 100 * pd.concat({"before": first, "after": second}, axis=1).dropna()
    cases = paired_dice.groupby(["seed", "case"]).mean().groupby("case").mean()
    changes: pd.DataFrame = cases.assign(change=cases["after"] - cases["before"]).reset_index()
    return changes


def _methods(results: Results, records: pd.DataFrame) -> tuple[list[Method], dict[str, Method]]:
    """Methods that have a baseline of their architecture, and the baselines by architecture."""
    methods = series.compared(results, records, limit=len(records) + 1).methods
    baselines = {method.architecture: method for method in methods if method.objective == results.baseline}
    others = [method for method in methods if method.objective != results.baseline]
    return [method for method in others if method.architecture in baselines], baselines


def _plot(results: Results, records: pd.DataFrame, place: tuple[str, str], baseline: Method, method: Method) -> _Plot:
    cases = per_case(rows_where(records, dataset=place[0], test_dataset=place[1]), baseline, method)
    keys = baseline.keys, method.keys
    seeds = [r.seed for r in results.runs() if r.dataset == place[0] and (r.architecture, r.objective, r.lam) in keys]
    first, second = (results.examples(Run(place[0], *key, min(seeds, default=0))) for key in keys)
    return _Plot(place, cases, cases[cases["change"] < 0].nsmallest(WORST, "change"), (first, second))


def _footer(
    records: pd.DataFrame, rows: Sequence[Sequence[_Plot]], other_methods: int, other_pairs: int, side: float
) -> list[str]:
    plots = [plot for row in rows for plot in row]
    ids = dict.fromkeys(case for plot in plots for case in plot.worst["case"] if _short(case, side) != case)
    remarks = layout.paragraph(
        "Methods: in the order of the study, one λ per objective, that of the most runs.",
        f"Plots without both runs: {sum(plot.cases.empty for plot in plots)}.",
        f"Methods left out: {other_methods}." if other_methods else "",
        layout.left_out("Pairs of datasets", other_pairs),
        f"Shortened ids: {', '.join(ids)}." if ids else "",
    )
    return [_READING.format(counts=series.counts_text(records)), remarks]


def _handles() -> list[Line2D]:
    predicted = [Line2D([], [], color=c, linestyle=layout.DASHES[dashes], label=name) for name, c, dashes in _OUTLINES]
    return [Line2D([], [], color=style.ACTUAL, label="actual"), *predicted]


def _scatter(panel: Axes, plot: _Plot) -> None:
    cases = plot.cases
    if cases.empty:
        layout.empty(panel, "no run")
        return
    low = float(min(np.floor(cases[["before", "after"]].to_numpy().min() / 10) * 10, 80))
    margin = 0.03 * (100 - low)
    panel.plot([low, 100], [low, 100], color=style.FAINT, linewidth=0.6)
    size, opacity = (2.6, 0.7) if len(cases) <= 200 else (1.6, 0.35)
    panel.plot(cases["before"], cases["after"], "o", color=style.BLUE, ms=size, alpha=opacity, mew=0)
    for number, case in enumerate(plot.worst.to_dict("records"), 1):
        at = (case["before"], case["after"])
        panel.plot(*at, "o", markersize=4.4, markerfacecolor="none", color="black", markeredgewidth=0.6)
        right = case["before"] >= plot.worst["before"].max()  # keeps the numbers of neighbours apart
        drop = (4.5 if right else -4.5, -4.0)
        options = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": style.SMALL_SIZE}
        panel.annotate(str(number), at, xytext=drop, annotation_clip=False, **options)  # type: ignore[arg-type]
    better = 100 * float((np.sign(cases["change"]) + 1).mean() / 2)
    panel.text(0.04, 0.97, f"{better:.0f} %", transform=panel.transAxes, va="top", fontsize=style.SMALL_SIZE)
    ticks = [low, (low + 100) / 2, 100]
    panel.set(xlim=(low - margin, 100 + margin), ylim=(low - margin, 100 + margin))
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def _overlays(panels: Sequence[Axes], results: Results, plot: _Plot, side: float) -> None:
    for panel in panels[len(plot.worst) :]:
        panel.set_visible(False)
    name = plot.place[1]
    data = results.prepared(name) if name in results.prepared_names else None
    for number, (panel, case) in enumerate(zip(panels, plot.worst.to_dict("records"), strict=False), 1):
        panel.set_title(f"{number}: {_short(case['case'], side)}", fontsize=style.SMALL_SIZE)
        if data is None or case["case"] not in set(data.cases["case"]):
            layout.empty(panel, "not prepared")
            continue
        _overlay(panel, data, case["case"], plot.stored)
        layout.note(panel, f"{case['change']:+z.1f}".replace("-", "−"))


def _overlay(panel: Axes, data: PreparedDataset, case: str, stored: Sequence[Examples | None]) -> None:
    """A slice of a case with the outlines of the reference and of the stored predictions."""
    rows = [int(row) for e in stored if e is not None for row in e.row[(e.dataset == data.name) & (e.case == case)]]
    row = rows[0] if rows else _largest(data, case)
    layout.picture(panel, shown_image(data, row))
    layout.outline(panel, data.masks[row] > 0, style.ACTUAL)
    for examples, (_, colour, dashes) in zip(stored, _OUTLINES, strict=True):
        index = examples.find(data.name, case, row) if examples is not None else None
        if examples is not None and index is not None:
            layout.outline(panel, examples.prediction[index] > 0, colour, dashes=dashes)


def _largest(data: PreparedDataset, case: str) -> int:
    """Row of the slice of a case with the largest foreground."""
    entry = data.cases[data.cases["case"] == case].iloc[0]
    first, count = int(entry["first"]), int(entry["slices"])
    return first + int((data.masks[first : first + count] > 0).sum((1, 2)).argmax())


def _short(case: str, width: float) -> str:
    """A case id that fits above a panel of this width in inches, shortened in its middle if necessary."""
    room = width - layout.text_width("1: ")
    kept = len(case)
    while kept > 4 and layout.text_width(_cut(case, kept)) > room:
        kept -= 1
    return _cut(case, kept)


def _cut(case: str, kept: int) -> str:
    return case if kept == len(case) else f"{case[: (kept + 1) // 2]}…{case[len(case) - kept // 2 :]}"
