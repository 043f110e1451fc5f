"""Plots of extracted numbers, as SVG without any picture of a case."""

from __future__ import annotations

import math
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spectralseg.files import replacing
from spectralseg.reporting.drawing import style
from spectralseg.reporting.labels import architecture_label, dataset_label, objective_label
from spectralseg.statistics.verdicts import FEWEST_SEEDS

if TYPE_CHECKING:
    from spectralseg.reporting.findings.numbers import Numbers

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_LINE = 0.17  # inches
_FEW = "0.6"  # grey, for intervals over too few seeds


def draw(numbers: Numbers, folder: Path) -> None:
    """Write ``forest.svg``, ``curves.svg`` and ``sweep.svg``, the same bytes for the same numbers.

    A plot without data is removed.
    """
    plots = {
        "forest": (_forest, numbers.main(numbers.dice)),
        "curves": (_curves, numbers.ordered(numbers.main(numbers.curves("curves")))),
        "sweep": (_sweep, numbers.sweep),
    }
    for name, (plot, rows) in plots.items():
        file = folder / f"{name}.svg"
        if rows.empty:
            file.unlink(missing_ok=True)
            continue
        with replacing(file) as partial, mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
            plot(rows).savefig(partial, format="svg", metadata={"Date": None, "Creator": None})


def _forest(rows: pd.DataFrame) -> Figure:
    """Differences to the baseline in DSC: a panel per dataset, a line per architecture and objective."""
    datasets = list(dict.fromkeys(rows["dataset"]))
    methods = list(dict.fromkeys(zip(rows["architecture"], rows["objective"], rows["lambda"], strict=True)))
    with style.applied():
        figure = Figure(figsize=(9.5, 1.1 + _LINE * 1.6 * len(methods)), layout="constrained")
        panels = figure.subplots(1, len(datasets), sharex=True, sharey=True, squeeze=False)[0]
        for panel, dataset in zip(panels, datasets, strict=True):
            _intervals(panel, rows[rows["dataset"] == dataset].to_dict("records"), methods)
            panel.set_title(dataset_label(dataset))
            panel.set_xlabel("difference in DSC, percentage points")
        labels = [f"{architecture_label(a)}, {objective_label(o, w)}" for a, o, w in methods]
        panels[0].set_yticks(range(len(methods)), labels)
        panels[0].set_ylim(len(methods) - 0.5, -0.5)
    return figure


def _intervals(panel: Axes, rows: list[dict[Hashable, Any]], methods: list[tuple[str, str, str]]) -> None:
    if margins := [row["margin"] for row in rows if row["margin"] == row["margin"]]:
        panel.axvspan(-margins[0], margins[0], color="0.9", zorder=0, linewidth=0)
    panel.axvline(0, color="0.4", linewidth=0.8, zorder=1)
    for row in rows:
        place = methods.index((row["architecture"], row["objective"], row["lambda"]))
        colour = _COLOURS[0] if row["architecture"] == methods[0][0] else _COLOURS[1]
        if row["seeds"] < FEWEST_SEEDS:
            colour = _FEW
        face = colour if row["verdict"] in ("better", "worse") else "white"
        panel.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.4)
        panel.plot([row["difference"]], [place], "o", color=colour, markerfacecolor=face, markersize=4.5)


def _curves(curves: pd.DataFrame) -> Figure:
    """Validation Dice against iterations: a panel per dataset and architecture, a line per objective."""
    cells = list(dict.fromkeys(zip(curves["dataset"], curves["architecture"], strict=True)))
    objectives = list(dict.fromkeys(curves["objective"]))
    with style.applied():
        height, width = math.ceil(len(cells) / 3), min(3, len(cells))  # in panels
        figure = Figure(figsize=(9.5, 2.4 * height + 0.5), layout="constrained")
        panels = figure.subplots(height, width, squeeze=False).ravel()
        for panel, (dataset, architecture) in zip(panels, cells, strict=False):
            part = curves[(curves["dataset"] == dataset) & (curves["architecture"] == architecture)]
            for colour, name in zip(_COLOURS * 3, objectives, strict=False):
                line = part[part["objective"] == name]
                panel.plot(line["iteration"], 100 * line["validation_dice"], color=colour, linewidth=1.1)
            panel.set_title(f"{dataset_label(dataset)}, {architecture_label(architecture)}")
            panel.set_xlabel("iteration")
        for panel in panels[len(cells) :]:
            panel.set_axis_off()
        panels[0].set_ylabel("validation Dice, %")
        handles = [Line2D([], [], color=c, label=n) for c, n in zip(_COLOURS * 3, objectives, strict=False)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    return figure


def _sweep(rows: pd.DataFrame) -> Figure:
    """Difference in DSC to the baseline against λ, with 95 % intervals: a panel per dataset and architecture."""
    rows = rows.assign(weight=rows["lambda"].astype(float))
    cells = list(dict.fromkeys(zip(rows["dataset"], rows["architecture"], strict=True)))
    objectives = list(dict.fromkeys(rows["objective"]))
    with style.applied():
        figure = Figure(figsize=(1.0 + 4.5 * len(cells), 3.4), layout="constrained")
        panels = figure.subplots(1, len(cells), squeeze=False, sharey=True)[0]
        for panel, (dataset, architecture) in zip(panels, cells, strict=True):
            here = rows[(rows["dataset"] == dataset) & (rows["architecture"] == architecture)]
            for place, name in enumerate(objectives):
                part, colour = here[here["objective"] == name], _COLOURS[place % len(_COLOURS)]
                bars = (part["difference"] - part["low"], part["high"] - part["difference"])
                beside = part["weight"] + 0.012 * (place - (len(objectives) - 1) / 2)
                panel.errorbar(beside, part["difference"], bars, color=colour, marker="o", markersize=4)
            panel.axhline(0, color="0.4", linewidth=0.8)
            panel.set_title(f"{dataset_label(dataset)}, {architecture_label(architecture)}")
            panel.set_xlabel("λ")
        panels[0].set_ylabel("difference to the baseline in DSC,\npercentage points")
        handles = [Line2D([], [], color=c, marker="o", label=n) for c, n in zip(_COLOURS * 3, objectives, strict=False)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    return figure
