"""Learning curves of all runs.

Validation Dice against the iteration for every run of the study: thin lines for single seeds, a bold line for their
mean, a marker where training chose the weights that were evaluated. Diverged runs end in a cross and are counted.

The validation part selects the weights, so its Dice is optimistic; the test results are in the tables. A curve that
still rises at its end asks for more iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from spectralseg.metrics.records import RUN_KEYS
from spectralseg.reporting.drawing import layout, series, style
from spectralseg.reporting.example_cases import Method
from spectralseg.reporting.labels import architecture_label, dataset_label, objective_label
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD, rows_where
from spectralseg.run_folder import DESCRIPTION

_COLUMNS, _ROWS = 5, 6  # of panels, at most
_HEIGHT, _ALL = 1.4, 8.8  # inches: of a panel, and of all panels with what lies between them, at most
_LEFT, _RIGHT, _GAP, _BETWEEN, _BELOW, _TITLE = 0.42, 0.08, 0.34, 0.36, 0.3, 0.2  # inches
_READING = (
    "Dice of the validation part in percent, mean over foreground classes. Thin lines: single seeds. Bold lines: their "
    "mean, at the iterations that all have reached. Markers: the chosen iteration of each run."
)

Group = tuple[Method, ...]


def build(results: Results) -> Figure:
    """One panel per dataset; studies with more methods than looks have rows of panels for each group of methods."""
    curves = _curves(results)
    if curves.empty:
        return layout.no_data("No run was trained.", demonstration=results.demonstration)
    every, groups = series.datasets(results, curves), _groups(results, curves)
    lines = min(-(-len(every) // _COLUMNS), _ROWS)  # rows of panels per group
    columns = min(-(-len(every) // lines), _COLUMNS)
    datasets, drawn = every[: lines * columns], groups[: _ROWS // lines]
    width = layout.fitting(max(columns, 2), left=_LEFT, right=_RIGHT, gap=_GAP)
    legends = [layout.legend_height(_LEFT + columns * (width + _GAP) - _GAP + _RIGHT, _handles(g)) for g in drawn]
    headed = _TITLE if len(drawn) > 1 else 0.0
    rows = lines * len(drawn)
    more = [0.0 if row % lines else legends[row // lines - 1] + headed for row in range(rows)]  # above each row
    more[0] = headed
    sheet = layout.sheet(
        [width] * columns,
        [min(_HEIGHT, (_ALL - sum(more)) / rows - _BETWEEN)] * rows,
        [_READING, _counts(curves), _left_out(every[len(datasets) :], groups[len(drawn) :])],
        demonstration=results.demonstration,
        left=_LEFT,
        right=_RIGHT,
        gap=_GAP,
        top=0.25 + headed,
        taller={row: _BETWEEN - _GAP + more[row] for row in range(1, rows)},
        below=_BELOW + legends[-1],
    )
    for number, group in enumerate(drawn):
        first = number * lines
        panels = [panel for row in sheet.panels[first : first + lines] for panel in row]
        for panel, name in zip(panels, datasets, strict=False):
            _draw(panel, rows_where(curves, dataset=name), group)
            panel.set_title(dataset_label(name))
        for panel in panels[len(datasets) :]:
            panel.set_visible(False)
        for panel in panels[max(0, len(datasets) - columns) : len(datasets)]:
            panel.set_xlabel("iteration")
        for panel in panels[::columns]:
            panel.set_ylabel("validation Dice / %")
        sheet.legend(first + lines - 1, _handles(group), drop=_BELOW)
        if headed:
            again = " (continued)" if number and _shared(group) == _shared(drawn[number - 1]) else ""
            sheet.heading(first, 0, columns - 1, _shared(group) + again)
    return sheet.figure


def _curves(results: Results) -> pd.DataFrame:
    """One row per run that was trained: its keys, whether it ``diverged``, its ``chosen`` iteration and ``values``.

    ``values`` is a series of the validation Dice in percent by iteration; empty if the run diverged before its first
    validation.
    """
    rows = []
    for run in (run for run in results.study.runs_with(DESCRIPTION) if not run.external):
        description = results.description(run)
        values = {
            line["iteration"]: 100 * line["validation_dice"]
            for line in results.training_log(run)
            if line.get("validation_dice") is not None
        }
        diverged = bool(description.get("diverged"))
        chosen = None if diverged else description.get("best_iteration")
        rows.append({**run.keys, "diverged": diverged, "chosen": chosen, "values": pd.Series(values, dtype=float)})
    return pd.DataFrame(rows, columns=[*RUN_KEYS, "diverged", "chosen", "values"])


def _groups(results: Results, curves: pd.DataFrame) -> list[Group]:
    """All methods in one group; if they are more than looks, groups with one architecture or with one objective.

    Of these two, the one with fewer groups. A group with more methods than looks is divided evenly.
    """
    keys = curves[METHOD].drop_duplicates().itertuples(index=False, name=None)
    methods = [Method(series.label(*key), *key) for key in sorted(keys, key=lambda key: series.order(results, *key))]
    if len(methods) <= series.LIMIT:
        return [tuple(methods)]
    return min(_divided(methods, _architecture), _divided(methods, _objective), key=len)


def _divided(methods: Sequence[Method], key: Callable[[Method], Any]) -> list[Group]:
    groups = []
    for value in dict.fromkeys(map(key, methods)):
        own = [method for method in methods if key(method) == value]
        size = -(-len(own) // -(-len(own) // series.LIMIT))
        groups += [tuple(own[start : start + size]) for start in range(0, len(own), size)]
    return groups


def _architecture(method: Method) -> str:
    return architecture_label(method.architecture)


def _objective(method: Method) -> str:
    return objective_label(method.objective, method.lam)


def _shared(group: Group) -> str:
    """What the methods of a group have in common, for its heading."""
    return _architecture(group[0]) if len({method.architecture for method in group}) == 1 else _objective(group[0])


def _draw(panel: Axes, curves: pd.DataFrame, group: Group) -> None:
    """The curves of a dataset."""
    own = {method: series.of_method(curves, method) for method in group}
    if all(runs.empty for runs in own.values()):
        layout.empty(panel, "no run")
        return
    for method, look in zip(group, style.LOOKS, strict=False):
        runs = own[method]
        thin: dict[str, Any] = {"color": look["color"], "linewidth": 0.4, "alpha": 0.6}
        for values in runs["values"]:
            panel.plot(values.index, values, **thin)
        _mark(panel, runs, look)
        if finished := list(runs.loc[~runs["diverged"], "values"]):
            mean = pd.concat(finished, axis=1, join="inner").mean(axis=1)
            panel.plot(mean.index, mean, color=look["color"], linestyle=look["linestyle"], linewidth=1.3)
    panel.set_xlim(0, None)
    panel.locator_params(axis="x", nbins=3)
    panel.locator_params(axis="y", nbins=4)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))


def _mark(panel: Axes, runs: pd.DataFrame, look: dict[str, Any]) -> None:
    """Markers at the chosen iterations, and crosses where diverged runs end."""
    for run in runs.to_dict("records"):
        values = run["values"]
        if run["diverged"] and len(values):
            panel.plot(values.index[-1], values.iloc[-1], "x", color=look["color"], markersize=4, markeredgewidth=1)
        elif run["chosen"] in values.index:
            panel.plot(
                run["chosen"],
                values[run["chosen"]],
                look["marker"],
                color=look["color"],
                markersize=3,
                markeredgewidth=0.3,
                markeredgecolor="white",
            )


def _counts(curves: pd.DataFrame) -> str:
    diverged = curves[curves["diverged"]]
    early = int((diverged["values"].map(len) == 0).sum())
    seeds = series.range_text(curves.groupby(["dataset", *METHOD])["seed"].nunique(), "seed")
    return layout.paragraph(
        f"Runs: {len(curves)}, {seeds} per method and dataset. Diverged: {len(diverged)}.",
        "Their curves end in a cross and are in no mean." if len(diverged) else "",
        f"Diverged before the first validation, without a curve: {early}." if early else "",
    )


def _left_out(datasets: Sequence[str], groups: Sequence[Group]) -> str:
    return layout.paragraph(
        layout.left_out("Datasets", len(datasets)), layout.left_out("Methods", sum(len(group) for group in groups))
    )


def _handles(group: Group) -> list[Line2D]:
    return [
        Line2D([], [], label=method.label, markersize=3, markeredgewidth=0, **look)
        for method, look in zip(group, style.LOOKS, strict=False)
    ]
