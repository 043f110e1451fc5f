"""All effects of the study.

Difference between every objective and the baseline in Dice and Hausdorff distance, per dataset, architecture and λ,
with 95 % intervals over seeds and cases (paired; with one seed over cases only), the number of seeds and cases, and the
equivalence margin. Effects that do not fit on a page are left out by a stated rule and counted.

All differences are paired: same seeds, same cases. If an interval contains zero, it is undecided which of the two is
better. If an interval lies within the grey band, the difference is negligible. Some of many 95 % intervals are expected
to miss the true value: read them together with the adjusted p values in `comparisons.parquet`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import MEAN
from spectralseg.reporting.drawing import layout, series, style
from spectralseg.reporting.labels import pair_label, plain_label
from spectralseg.reporting.rendering import margins
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD
from spectralseg.statistics.verdicts import FEWEST, side

RUNS = {"compared": ("baseline",)}
NEEDS = ("comparisons.parquet",)

ONE_COLUMN, TWO_COLUMNS = 66, 160  # lines that fit on a page
_PITCH = 0.106  # inches per line
_SUITES = ("iid", "ood", "noise")
_CONDITION = ("suite", "dataset", "test_dataset", "corruption", "severity")
_UNITS = {"dsc": "percentage points", "hd95": "mm, or native pixels"}
_READING = (
    "Value of the objective minus that of the baseline '{baseline}', same seeds and cases, mean over foreground "
    "classes, {protocol} protocol. Lines: 95 % intervals over seeds and cases, paired, not adjusted for their number; "
    "dotted: one seed, interval over cases only. Filled: at least {fewest}, and zero excluded. Grey band: the margin, "
    "within which a difference is negligible. {margins} Arrows: the interval continues."
)


@dataclass(frozen=True)
class _Line:
    """A line of the plot: the heading of a group, or an effect with its values by metric."""

    text: str
    effects: dict[str, dict[str, Any]]
    corrupted: bool = False

    @property
    def heading(self) -> bool:
        return not self.effects


def build(results: Results) -> Figure:
    """One line per condition, architecture, objective and λ.

    Up to :data:`ONE_COLUMN` lines show DSC and HD95, up to :data:`TWO_COLUMNS` show DSC alone in two columns. Of more
    lines, corrupted images are left out first, then whole conditions from the end; the footer counts them.
    """
    table = results.comparisons
    table = table[(table["class"] == MEAN) & (table["protocol"] == series.PROTOCOL) & table["metric"].isin(_UNITS)]
    groups = _groups(results, table)
    if not groups:
        return layout.no_data("No objective was compared with a baseline.", demonstration=results.demonstration)
    visible = _fitting(groups)
    small = sum(map(len, visible)) <= ONE_COLUMN
    columns = [[line for group in visible for line in group]] if small else _two(visible)
    metrics = ["dsc", "hd95"] if small else ["dsc"]
    reading = _READING.format(
        baseline=table["baseline"].iloc[0],
        protocol=series.PROTOCOL,
        fewest=FEWEST,
        margins=" ".join(_margins(visible, metric) for metric in metrics),
    )
    footer = [reading, _omissions(groups, visible, small)]
    sheet = _sheet(columns, metrics, footer, results.demonstration)
    limits = {metric: _limit(visible, metric) for metric in metrics}
    panels = iter(sheet.panels[0])
    for lines in columns:
        for metric in metrics:
            _draw(next(panels), lines, metric, limits[metric], first=metric == metrics[0], numbers=small)
    return sheet.figure


_BAND = "#E3E3E3"
_HANDLES = [
    Line2D([], [], color=style.BLUE, marker="o", markersize=3.5, linewidth=1, label="better"),
    Line2D([], [], color=style.VERMILLION, marker="D", markersize=3.5, linewidth=1, label="worse"),
    Line2D(
        [], [], color=style.FAINT, marker="o", markersize=3.5, markerfacecolor="white", linewidth=1, label="undecided"
    ),
    Patch(color=_BAND, label="negligible"),
]


def _groups(results: Results, table: pd.DataFrame) -> list[list[_Line]]:
    """A heading and its effects for every condition: own test sets, then others, then corrupted images."""

    def place(condition: tuple[str, ...]) -> tuple[Any, ...]:
        suite, dataset, test, corruption, severity = condition
        return (_SUITES.index(suite), series.dataset_order(results, dataset), test, corruption, float(severity))

    conditions: dict[tuple[str, ...], dict[tuple[str, str, str], dict[str, Any]]] = {}
    for row in table.to_dict("records"):
        condition, method = (tuple(str(row[key]) for key in keys) for keys in (_CONDITION, METHOD))
        conditions.setdefault(condition, {}).setdefault(method, {})[row["metric"]] = row  # type: ignore[arg-type]
    groups = []
    for condition in sorted(conditions, key=place):
        methods = sorted(conditions[condition].items(), key=lambda item: series.order(results, *item[0]))
        effects = [_Line(plain_label(*method), by_metric) for method, by_metric in methods]
        groups.append([_Line(_heading(*condition), {}, condition[0] == "noise"), *effects])
    return groups


def _margins(groups: Sequence[list[_Line]], metric: str) -> str:
    """The margin of a metric, e.g. ``DSC: ± 0.5 percentage points.``."""
    factor = metric_of(metric).factor
    text = margins((factor * effect["margin"] for effect in _effects(groups, metric)), _UNITS[metric])
    return f"{metric_of(metric).label}: {text}."


def _effects(groups: Iterable[Sequence[_Line]], metric: str) -> list[dict[str, Any]]:
    return [line.effects[metric] for group in groups for line in group if metric in line.effects]


def _heading(suite: str, dataset: str, test: str, corruption: str, severity: str) -> str:
    name = pair_label(dataset, test)
    return name if suite != "noise" else f"{name}, {corruption.replace('_', ' ')} {severity}"


def _fitting(groups: Sequence[list[_Line]]) -> list[list[_Line]]:
    """The groups that fit into two columns: all, or those without corrupted images, or the first of these."""
    if sum(map(len, groups)) > TWO_COLUMNS:
        groups = [group for group in groups if not group[0].corrupted] or groups
    ends = np.cumsum([len(group) for group in groups])
    fitting = [group for group, end in zip(groups, ends, strict=True) if end <= TWO_COLUMNS]
    return fitting or [groups[0][:TWO_COLUMNS]]


def _two(groups: Sequence[list[_Line]]) -> list[list[_Line]]:
    """Two columns of equal length; a group that is split repeats its heading."""
    lines = [line for group in groups for line in group]
    half = -(-len(lines) // 2)
    half -= lines[half - 1].heading
    last_heading = next(line for line in reversed(lines[: half + 1]) if line.heading)
    repeated = [] if lines[half].heading else [_Line(f"{last_heading.text} (continued)", {})]
    return [lines[:half], [*repeated, *lines[half:]]]


def _omissions(groups: Sequence[list[_Line]], visible: Sequence[list[_Line]], small: bool) -> str:
    total, count = (sum(not line.heading for group in part for line in group) for part in (groups, visible))
    left_out = f"{len(groups) - len(visible)} of {len(groups)} conditions"
    undefined = int(sum(effect["undefined"] for effect in _effects(visible, "dsc")))
    return layout.paragraph(
        f"Effects: {count} of {total}.",
        "" if small else f"More than {ONE_COLUMN} lines, therefore without HD95.",
        f"Left out as they do not fit, corrupted images first: {left_out}." if total > count else "",
        f"Pairs without a defined Dice difference: {undefined}.",
    )


def _sheet(
    columns: Sequence[list[_Line]], metrics: Sequence[str], footer: Sequence[str], demonstration: bool
) -> layout.Sheet:
    labels = max(layout.text_width(line.text) for lines in columns for line in lines if not line.heading) + 0.12
    count = 0.62  # inches for seeds × cases
    numbers = 1.02 if len(metrics) > 1 else 0.0
    across = len(columns)
    room = style.PAGE_WIDTH - 0.16 - across * (labels + count + numbers) - 0.1 * (across * len(metrics) - 1)
    shares = [0.6, 0.4] if len(metrics) > 1 else [1.0]
    widths = [room / across * share for _ in columns for share in shares]
    wider = {1: numbers} if len(metrics) > 1 else {1: labels + count}
    return layout.sheet(
        widths,
        [_PITCH * max(map(len, columns))],
        footer,
        demonstration=demonstration,
        left=0.08 + labels,
        right=0.08 + count,
        top=0.24,
        gap=0.1,
        wider=wider if len(widths) > 1 else {},
        below=0.32,
        legend=_HANDLES,
    )


def _limit(groups: Sequence[list[_Line]], metric: str) -> float:
    """Half the range of the axis: all estimates, and all but the widest tenth of the intervals."""
    rows = [[effect["difference"], effect["low"], effect["high"]] for effect in _effects(groups, metric)]
    values = np.abs(metric_of(metric).factor * np.array(rows, float).reshape(-1, 3))
    values = values[np.isfinite(values).all(1)]
    if not len(values):
        return 1.0
    widest = values[:, 1:].max(1)
    return 1.06 * float(max(values[:, 0].max(), np.quantile(widest, 0.9), 0.01))


def _draw(panel: Axes, lines: Sequence[_Line], metric: str, limit: float, *, first: bool, numbers: bool) -> None:
    factor, higher = metric_of(metric).factor, metric_of(metric).higher_is_better
    across = panel.get_yaxis_transform()
    height = panel.get_position().height  # columns are as high as the longest
    longest = round(height * panel.figure.get_figheight() / _PITCH)  # type: ignore[union-attr]
    panel.set_xlim(-limit, limit)
    panel.set_ylim(longest - 0.5, -0.5)
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.tick_params(top=False)
    panel.set_title(f"Δ {metric_of(metric).label}")
    better = "better →" if higher else "← better"
    panel.set_xlabel(f"{_UNITS[metric]}, {better}")
    distinct = {factor * effect["margin"] for effect in _effects([lines], metric)}
    if len(distinct) == 1 and np.isfinite(margin := distinct.pop()):
        panel.axvspan(-margin, margin, color=_BAND, linewidth=0)
    panel.axvline(0, color="black", linewidth=0.6)
    inches = panel.get_position().width * panel.figure.get_figwidth()  # type: ignore[union-attr]
    for y, line in enumerate(lines):
        if line.heading and first:
            labels = max(layout.text_width(line.text) for line in lines if not line.heading)
            panel.text(-(labels + 0.1) / inches, y, line.text, transform=across, va="center", weight="bold")
        if line.heading:
            continue
        if first:
            panel.text(-0.05 / inches, y, line.text, transform=across, **_RIGHT)
        effect = line.effects.get(metric)
        if effect is None or not np.isfinite(effect["difference"]):
            panel.text(0.5, y, "undefined", transform=across, **{**_RIGHT, "ha": "center"}, color=style.FAINT)
            continue
        middle, low, high, margin = (factor * effect[name] for name in ("difference", "low", "high", "margin"))
        if distinct and np.isfinite(margin):  # margins differ between datasets
            panel.barh(y, 2 * margin, left=-margin, height=1, color=_BAND, linewidth=0, zorder=0)
        _effect(panel, y, (middle, low, high), limit, better=(middle > 0) == higher, effect=effect)
        if first and numbers:
            text = f"{middle:+z.2f} [{low:z.2f}, {high:z.2f}]"
            panel.text(1 + 1.06 / inches, y, text.replace("-", "−"), transform=across, **_RIGHT)
        if metric == "hd95" or not numbers:
            text = f"{effect['seeds']} × {effect['cases']}"
            panel.text(1 + 0.58 / inches, y, text, transform=across, **_RIGHT)
    if metric == "hd95" or not numbers:
        panel.text(1 + 0.65 / inches, -1, "seeds × cases", transform=across, **_RIGHT)


_RIGHT: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": style.SMALL_SIZE}


def _effect(
    panel: Axes, y: int, interval: Sequence[float], limit: float, *, better: bool, effect: Mapping[Any, Any]
) -> None:
    middle, low, high = interval
    seeds = effect["seeds"]
    decided = side(low, high, seeds, effect["groups"]) != 0
    colour = (style.BLUE if better else style.VERMILLION) if decided else style.FAINT
    inside = np.clip([low, high], -limit, limit)
    panel.plot(inside, [y, y], color=colour, linewidth=0.9, linestyle=(0, (1, 1)) if seeds == 1 else "-")
    for end, sign, marker in ((low, -1, "<"), (high, 1, ">")):
        if abs(end) > limit:
            panel.plot(sign * limit, y, marker=marker, color=colour, markersize=2.6, clip_on=False)
    shape = "D" if decided and not better else "o"
    face = colour if decided else "white"
    panel.plot(middle, y, shape, markersize=3.2, markerfacecolor=face, markeredgecolor=colour, markeredgewidth=0.7)
