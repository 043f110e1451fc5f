"""Charts of a dataset card as inline SVG with text elements. Parts differ in lightness and marker, not in hue."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from spectralseg.reporting.cards.measures import Values
from spectralseg.reporting.drawing import style
from spectralseg.reporting.drawing.images import class_colour

_WIDE, _HALF, _QUARTER = 1040, 500, 248  # CSS pixels, 96 per inch
_INK, _AXIS, _GRID = "#222222", "#767676", "#E4E4E4"
_DARKEST = style.PART_COLOURS["train"]
_MARKERS = {"train": "o", "validation": "D", "test": "s"}
_CHANNELS = {1: [("grey", _INK)], 3: [("red", style.VERMILLION), ("green", style.GREEN), ("blue", style.BLUE)]}
_SPREAD = 20  # an axis is logarithmic above this ratio of largest to smallest value
_MOST_BINS = 30
_LONGEST_LABEL = 26
_SPACE = "\N{NO-BREAK SPACE}"

_SCREEN: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _AXIS,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.labelpad": 5.0,
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.7,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.wspace": 0.05,
    "font.size": 9.0,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "legend.fontsize": 9.0,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    **{f"{axis}tick.color": _AXIS for axis in "xy"},
    **{f"{axis}tick.labelcolor": _INK for axis in "xy"},
    **{f"{axis}tick.labelsize": 9.0 for axis in "xy"},
    **{f"{axis}tick.major.pad": 3.0 for axis in "xy"},
    **{f"{axis}tick.major.width": 0.7 for axis in "xy"},
}


@contextmanager
def applied() -> Iterator[None]:
    """Use the style of the figures, in sizes for a screen, within the block."""
    with style.applied():
        matplotlib.rcParams.update(_SCREEN)
        yield


def percent(share: float) -> str:
    """A share in percent with three digits; NaN is a dash."""
    if np.isnan(share):
        return "–"
    value = float(f"{100 * share:.3g}")
    return f"<{_SPACE}0.001{_SPACE}%" if 0 < value < 0.001 else f"{value:g}{_SPACE}%"


def counted(number: int, unit: str) -> str:
    """A number with its unit; ``unit`` is a plural."""
    return f"{number:,} {unit[:-1] if number == 1 else unit}"


def channels(count: int) -> list[tuple[str, str]]:
    """Names and colours of the channels of an image."""
    return _CHANNELS.get(count, [(f"channel {n}", _INK) for n in range(1, count + 1)])


def class_balance(balance: pd.DataFrame, parts: Sequence[str], unit: str) -> str:
    """Share of pixels, presence and size of every class (lines) in every part (markers).

    Args:
        balance: see :attr:`Measures.balance`.
        parts: parts in order.
        unit: name of a row of the arrays, in plural.
    """
    names = list(dict.fromkeys(balance["class"]))
    lines = np.arange(len(names))
    figure = _figure(_WIDE, 84 + (18 + 16 * len(parts)) * len(names))
    pixels, presence, size = panels = figure.subplots(1, 3, sharey=True)
    for number, part in enumerate(parts):
        here = balance[balance["part"] == part]
        y = lines + 0.24 * (number - (len(parts) - 1) / 2)
        size.hlines(y, 100 * here["low"], 100 * here["high"], color=style.PART_COLOURS[part], linewidth=2.4, zorder=2)
        for panel, column in zip(panels, ("pixels", "slices", "median"), strict=True):
            _mark(panel, 100 * here[column], y, part)
    _share_axis(pixels, balance["pixels"])
    _share_axis(size, pd.concat([balance["low"], balance["high"]]))
    presence.set_xlim(0, 100)
    _in_percent(presence, "x")
    pixels.set_xlabel("share of all pixels")
    presence.set_xlabel(f"share of {unit} with the class")
    size.set_xlabel(f"size where present, share of the {unit[:-1]}\n(mark: median, line: 5 to 95 % quantile)")
    pixels.set_yticks(lines, [_short(name) for name in names])
    pixels.set_ylim(len(names) - 0.5, -0.5)
    pixels.tick_params(axis="y", pad=18)
    for panel in panels:
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
        panel.hlines(lines[1:] - 0.5, 0, 1, transform=panel.get_yaxis_transform(), color=_GRID, linewidth=0.7)
    before_the_axis = pixels.get_yaxis_transform() + ScaledTranslation(-10 / 72, 0, figure.dpi_scale_trans)
    colours = [class_colour(label) for label in range(1, len(names) + 1)]
    swatches = pixels.scatter(0 * lines, lines, s=52, marker="s", color=colours, transform=before_the_axis)
    swatches.set(edgecolor=_AXIS, linewidth=0.5, clip_on=False)
    phrases = (
        f"{row['class']}, {row['part']}: {percent(row['pixels'])} of the pixels, in {percent(row['slices'])} of the "
        f"{unit}, median size {percent(row['median'])}"
        for _, row in balance.iterrows()
    )
    return _inline(figure, f"Class balance. {'; '.join(phrases)}.")


def size_ridges(sizes: Mapping[str, Values], unit: str) -> str:
    """Distribution of foreground size in each part, one above the other, each scaled to its own peak.

    Args:
        sizes: share of foreground in each row of a part; rows without foreground are counted beside the ridge.
        unit: name of a row of the arrays, in plural.
    """
    figure = _figure(_WIDE, 76 + 74 * len(sizes))
    panels = np.atleast_1d(figure.subplots(len(sizes), 1, sharex=True))
    all_sizes = np.concatenate(list(sizes.values()))
    edges = _share_bins(all_sizes)
    phrases = []
    for panel, (part, values) in zip(panels, sizes.items(), strict=True):
        positive = values[values > 0]
        _ridge(panel, 100 * positive, edges, part)
        empty = f", {len(values) - len(positive):,} empty" if len(positive) < len(values) else ""
        median = f"median {percent(float(np.median(positive)))}" if len(positive) else "no foreground"
        lines = [part, counted(len(values), unit) + empty, median]
        panel.set_ylabel("\n".join(lines), rotation=0, ha="right", va="center")
        phrases.append(", ".join(lines))
    _share_axis(panels[-1], pd.Series(all_sizes))
    panels[-1].set_xlim(edges[0], edges[-1])
    panels[-1].set_xlabel(f"foreground, share of the {unit[:-1]}")
    return _inline(figure, f"Distribution of foreground size. {'; '.join(phrases)}.")


def native_sizes(widths: Values, heights: Values, parts: NDArray[Any]) -> str:
    """Native widths and heights in pixels; the area of a mark grows with its number of cases.

    Sizes that differ by less than a twentieth of the range share a mark.
    """
    sizes = pd.DataFrame({"width": _stepped(widths), "height": _stepped(heights), "part": parts})
    sizes = sizes.value_counts().reset_index()
    figure = _figure(_QUARTER, 240)
    panel = figure.subplots()
    for part, marker in _MARKERS.items():
        here = sizes[sizes["part"] == part]
        area = 22 + 160 * (here["count"] - 1) / sizes["count"].max()
        marks = panel.scatter(here["width"], here["height"], s=area, c=style.PART_COLOURS[part], marker=marker)
        marks.set(edgecolor=_DARKEST, linewidth=0.7, alpha=0.85)
    panel.margins(0.12)
    panel.set_xlabel("width in pixels")
    panel.set_ylabel("height in pixels")
    different = len(np.unique([widths, heights], axis=1).T)
    ranges = f"widths {widths.min():.0f} to {widths.max():.0f}, heights {heights.min():.0f} to {heights.max():.0f}"
    return _inline(figure, f"{different} different native sizes: {ranges} pixels.")


def histogram(values: Values, parts: NDArray[Any], title: str, unit: str) -> str:
    """Number of cases by value, parts stacked; NaN is left out."""
    defined = ~np.isnan(values)
    stacks = [values[defined & (parts == part)] for part in style.PART_COLOURS]
    figure = _figure(_QUARTER, 240)
    panel = figure.subplots()
    colours = list(style.PART_COLOURS.values())
    bins = _bins(values[defined]).tolist()
    panel.hist(stacks, bins=bins, stacked=True, color=colours, edgecolor="white", linewidth=0.5)
    panel.grid(axis="x", visible=False)
    panel.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.set_xlabel(unit)
    panel.set_ylabel("cases")
    low, median, high = np.quantile(values[defined], [0, 0.5, 1])
    return _inline(figure, f"{title} of the cases, in {unit}: {low:.4g} to {high:.4g}, median {median:.4g}.")


def intensity(shares: Values, mean: Sequence[float], std: Sequence[float]) -> str:
    """Histogram of intensities, (channels, bins) shares of pixels, on a logarithmic axis."""
    figure = _figure(_HALF, 270)
    panel = figure.subplots()
    edges = np.linspace(0, 1, shares.shape[1] + 1)
    names = channels(len(shares))
    for (name, colour), heights in zip(names, np.where(shares > 0, 100 * shares, np.nan), strict=True):
        panel.stairs(heights, edges, color=colour, linewidth=1.4, label=name, baseline=None)
    panel.set_yscale("log")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_ylim(10 ** np.floor(np.log10(100 * shares[shares > 0].min())), 100)
    panel.set_xlim(0, 1)
    panel.set_xlabel("intensity, scaled to 0 to 1")
    panel.set_ylabel("share of pixels per bin")
    _in_percent(panel, "y")
    if len(names) > 1:
        panel.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2, handlelength=1.2, ncols=len(names))
    phrases = (
        f"{name}: mean {m:.3f}, standard deviation {s:.3f}" for (name, _), m, s in zip(names, mean, std, strict=True)
    )
    return _inline(figure, f"Histogram of intensities. {'; '.join(phrases)}.")


def _figure(width: int, height: int) -> Figure:
    return Figure(figsize=(width / 96, height / 96))


def _mark(panel: Axes, x: pd.Series, y: NDArray[Any], part: str) -> None:
    marks = panel.scatter(x, y, s=36, c=style.PART_COLOURS[part], marker=_MARKERS[part], zorder=3)
    marks.set(edgecolor=_DARKEST, linewidth=1, clip_on=False)


def _stepped(values: Values) -> Values:
    """Integers rounded to steps of a twentieth of their range, which limits the number of different values."""
    step = max(1.0, float(np.ptp(values)) / 20)
    rounded: Values = values.min() + np.round(step * np.round((values - values.min()) / step))
    return rounded


def _ridge(panel: Axes, values: Values, edges: Values, part: str) -> None:
    heights, _ = np.histogram(values, edges)
    panel.stairs(heights, edges, fill=True, color=style.PART_COLOURS[part], zorder=2)
    panel.stairs(heights, edges, color=_DARKEST, linewidth=0.8, zorder=3)
    if len(values):
        panel.axvline(float(np.median(values)), color=style.VERMILLION, linewidth=1.6, zorder=4)
    panel.set_ylim(0, 1.1 * max(1, heights.max()))
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="x", which="both", length=0)


def _share_bins(shares: Values) -> Values:
    """Bins in percent: of equal width, or of equal ratio if the positive shares spread widely."""
    values = 100 * shares[shares > 0]
    low, high = min(values, default=0), max(values, default=100)
    if _logarithmic(values):
        return np.geomspace(0.8 * low, min(1.25 * high, 100), _MOST_BINS + 1)
    return np.linspace(0, min(1.1 * high, 100), _MOST_BINS + 1)


def _share_axis(panel: Axes, shares: pd.Series) -> None:
    """A horizontal axis in percent, logarithmic if the positive shares spread widely."""
    values = 100 * shares[shares > 0].to_numpy()
    if _logarithmic(values):
        panel.set_xscale("log")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlim(values.min() / 1.6, min(100, values.max() * 1.6))
    else:
        panel.set_xlim(0, min(100, 1.15 * max(values, default=1)))
        panel.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    _in_percent(panel, "x")


def _logarithmic(values: Values) -> bool:
    return len(values) > 0 and bool(values.max() > _SPREAD * values.min())


def _bins(values: Values) -> Values:
    """Bins of equal width; integers get one bin each if their range is small."""
    low, high = float(values.min()), float(values.max())
    if (values == values.round()).all() and high - low < _MOST_BINS:
        return np.arange(low, high + 2) - 0.5
    return np.linspace(low, high, 1 + min(_MOST_BINS, max(8, round(2 * len(values) ** 0.5))))


def _in_percent(panel: Axes, axis: str) -> None:
    getattr(panel, f"{axis}axis").set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}{_SPACE}%"))


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…"


def _inline(figure: Figure, description: str) -> str:
    """A figure as an SVG element: deterministic, with ids that are unique on the page."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": description}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser uses its own fonts
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = stream.getvalue()
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg[svg.index("<svg") :])
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1)
