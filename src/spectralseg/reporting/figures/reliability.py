"""Reliability of probabilities.

Reliability diagrams per pair of datasets and method, of the whole image and near boundaries, over all seeds, with the
expected calibration error and a histogram of predicted probabilities below.

On the diagonal, predicted probabilities are calibrated; below it, the model is overconfident. Most pixels of an image
are easy background, which hides errors in the calibration error of the whole image; the diagram near boundaries shows
them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from spectralseg.metrics.calibration import BINS, LEAST_SHARE
from spectralseg.reporting.drawing import layout, series, style
from spectralseg.reporting.labels import pair_label
from spectralseg.reporting.results import Results

RUNS = {"suite": ("calibration",)}

_ACROSS, _METHODS, _BLOCK_ROWS = 8, 4, 5
_HEIGHTS = (0.72, 0.24)  # inches
_LEFT, _GAP = 0.46, 0.07  # inches
_BETWEEN = 0.42
_SIDES: tuple[Literal["left", "center", "right"], ...] = ("left", "center", "right")  # so that labels stay apart
_REGIONS = {
    "image": {"color": style.BLUE, "marker": "o", "linestyle": "-"},
    "band": {"color": style.VERMILLION, "marker": "s", "linestyle": layout.DASHES["dashed"]},
}
_READING = (
    f"Observed share of foreground against mean predicted probability in {BINS} equal bins, seeds and classes pooled; "
    f"bins with less than {100 * LEAST_SHARE:g} % of the pixels are left out. Below the diagonal a model is "
    "overconfident. ECE: expected calibration error of the image and, in brackets, within 10 pixels of a boundary, in "
    "percent; mean over classes and seeds, pooled over the test set. Below: share of the image's pixels per bin, "
    "logarithmic."
)


def build(results: Results) -> Figure:
    """One block per pair of training and test dataset, one diagram per method, its histogram below."""
    bins = results.reliability()
    if bins.empty:
        return layout.no_data("No run was evaluated for calibration.", demonstration=results.demonstration)
    compared, pairs = series.compared(results, bins, limit=_METHODS), series.places(results, bins)
    count = len(compared.methods)
    per_row = _ACROSS // count
    limit = per_row * _BLOCK_ROWS
    left_out, pairs = layout.left_out("Pairs of datasets", len(pairs[limit:])), pairs[:limit]
    rows = -(-len(pairs) // per_row)
    columns = per_row * count
    starts = dict.fromkeys(range(count, columns, count), _BETWEEN)
    width = layout.fitting(columns, left=_LEFT, gap=_GAP, extra=sum(starts.values()))
    by_pair = dict(iter(bins.groupby(["dataset", "test_dataset"])))
    methods = {pair: [series.of_method(by_pair[pair], method) for method in compared.methods] for pair in pairs}
    missing = sum(own.empty for group in methods.values() for own in group)
    seeds = ", ".join(map(str, sorted(bins["seed"].unique())))
    footer = [_READING, layout.paragraph(f"Seeds: {seeds}. {compared.rule} Panels without a run: {missing}.", left_out)]
    sheet = layout.sheet(
        [width] * columns,
        list(_HEIGHTS) * rows,
        footer,
        demonstration=results.demonstration,
        left=_LEFT,
        gap=_GAP,
        top=0.5,
        wider=starts,
        taller=dict.fromkeys(range(2, 2 * rows, 2), 0.62),
        below=0.32,
        legend=_handles(),
    )
    for block in range(rows * per_row):
        row, first = 2 * (block // per_row), count * (block % per_row)
        upper, lower = (panels[first : first + count] for panels in sheet.panels[row : row + 2])
        if block >= len(pairs):
            for panel in (*upper, *lower):
                panel.set_visible(False)
            continue
        sheet.heading(row, first, first + count - 1, pair_label(*pairs[block]), height=0.28)
        for diagram, histogram, own, method in zip(upper, lower, methods[pairs[block]], compared.methods, strict=True):
            diagram.set_title(layout.stacked(method.label), fontsize=style.SMALL_SIZE)
            _draw(diagram, histogram, own)
            for panel in (diagram, histogram):
                panel.tick_params(labelleft=panel in (upper[0], lower[0]))
        upper[0].set_ylabel("foreground / %")
        lower[0].set_ylabel("pixels")
        lower[0].set_xlabel("probability / %")
    return sheet.figure


def _handles() -> list[Line2D | Patch]:
    names = {"image": "whole image", "band": "near a boundary"}
    return [
        *(Line2D([], [], markersize=3, label=names[region], **look) for region, look in _REGIONS.items()),
        Line2D([], [], color=style.FAINT, linewidth=0.6, label="calibrated"),
        Patch(color=style.PART_COLOURS["validation"], label="pixels per bin"),
    ]


def curve(bins: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean probability and observed share of foreground of each bin with enough pixels, in percent."""
    sums = bins.groupby("bin")[["pixels", "probability", "foreground"]].sum()
    sums = sums[(sums["pixels"] > 0) & (sums["pixels"] >= LEAST_SHARE * sums["pixels"].sum())]
    pixels = sums["pixels"].to_numpy(np.float64)
    probability, observed = (100 * sums[name].to_numpy(np.float64) / pixels for name in ("probability", "foreground"))
    return probability, observed


def expected_error(bins: pd.DataFrame) -> float:
    """Expected calibration error in percent: pooled over the test set, then the mean over classes and over seeds."""
    gaps = (bins["probability"] - bins["foreground"]).abs().groupby([bins["seed"], bins["class"]]).sum()
    pixels = bins.groupby(["seed", "class"])["pixels"].sum()
    return float(100 * (gaps / pixels.where(pixels > 0)).groupby("seed").mean().mean())


def _draw(diagram: Axes, histogram: Axes, bins: pd.DataFrame) -> None:
    if bins.empty:
        layout.empty(diagram, "no run")
        histogram.set_visible(False)
        return
    diagram.plot([0, 100], [0, 100], color=style.FAINT, linewidth=0.6)
    errors, calibration_gap = {}, 0.0
    for region, look in _REGIONS.items():
        own = bins[bins["region"] == region]
        probability, observed = curve(own)
        calibration_gap += float((observed - probability).sum())
        diagram.plot(probability, observed, markersize=1.8, markeredgewidth=0, clip_on=False, **look)
        errors[region] = expected_error(own)
    text = f"ECE\n{errors['image']:.1f} ({errors['band']:.1f})"
    upper_left, lower_right = ((0.03, "left"), (0.98, "top")), ((0.98, "right"), (0.04, "bottom"))
    (x, across), (y, up) = lower_right if calibration_gap > 0 else upper_left
    diagram.text(x, y, text, transform=diagram.transAxes, ha=across, va=up, fontsize=style.SMALL_SIZE)
    counts = bins[bins["region"] == "image"].groupby("bin")["pixels"].sum()
    share = 100 * counts / counts.sum()
    edges = 100 * (share.index.to_numpy() + 0.5) / BINS
    histogram.bar(edges, share, width=0.86 * 100 / BINS, color=style.PART_COLOURS["validation"])
    histogram.set_yscale("log")
    histogram.set_ylim(0.02, 150)
    histogram.set_yticks([0.1, 10], ["0.1 %", "10 %"])
    histogram.minorticks_off()
    for panel in (diagram, histogram):
        panel.set_xlim(0, 100)
        panel.set_xticks([0, 50, 100])
        for tick, side in zip(panel.get_xticklabels(), _SIDES, strict=True):
            tick.set_horizontalalignment(side)
    diagram.set_ylim(0, 100)
    diagram.set_yticks([0, 50, 100])
    diagram.tick_params(labelbottom=False)
