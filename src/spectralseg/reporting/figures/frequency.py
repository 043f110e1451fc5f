"""Frequencies of predictions.

Power of predictions relative to that of the reference by frequency, and Fourier ring correlation of the two, of the
example cases; below, the correlation in three bands over all test cases with 95 % intervals over seeds and cases.

A spectral term is meant to recover detail. The power of the predictions shows whether it does; the Fourier ring
correlation with the reference shows whether that detail is correct.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from spectralseg.data.prepared import PreparedDataset
from spectralseg.grid import Run
from spectralseg.interpretation import spectra
from spectralseg.reporting.drawing import layout, series, style
from spectralseg.reporting.example_cases import Method
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results

RUNS = {"suite": ("interpretation",)}

_COLUMNS, _METHODS = 6, 4
_HEIGHT = 1.02  # inches
_LEFT, _GAP = 0.46, 0.1
_FRC = {"low": "frc_low", "mid": "frc_mid", "high": "frc_high"}
_READING = (
    "Hard label maps of own test sets. Above: power of the prediction over that of the reference in rings of "
    "half-octaves, classes added up, of the stored example cases (geometric mean of {cases} cases per dataset and all "
    "seeds; bands: smallest and largest case); above 1 the prediction has more detail than the reference. Numbers: "
    "share of the reference's power in the low (below 8 cycles per image), middle (8 to 32) and high band, over at "
    "most 64 evenly spaced test slices. Middle: Fourier ring correlation of the same examples, mean and range. Below: "
    "the same as mean of each band over all test cases and classes, with {interval}. {counts}"
)


class Curves(NamedTuple):
    """Log of the ratio of powers and ring correlation of the example cases of one method, each (cases, bins)."""

    ratio: NDArray[np.float64]
    correlation: NDArray[np.float64]


def build(results: Results) -> Figure:
    """One column per dataset: ratio of powers, ring correlation of the examples, ring correlation of all cases."""
    records = series.read(results, list(_FRC.values()), suite={"iid"})
    if records.empty:
        return layout.no_data("No run was evaluated for interpretation.", demonstration=results.demonstration)
    compared, every = series.compared(results, records, limit=_METHODS), series.datasets(results, records)
    datasets = every[:_COLUMNS]
    prepared = {name: results.prepared(name) for name in datasets if name in results.prepared_names}
    curves = {name: [_curves(results, data, method) for method in compared.methods] for name, data in prepared.items()}
    counts = [len(curve.ratio) for by_method in curves.values() for curve in by_method if curve is not None]
    cases = " or ".join(map(str, sorted(set(counts)))) or "no"
    missing = len(datasets) * len(compared.methods) - len(counts)
    handles = [*compared.handles(), Line2D([], [], color="black", linewidth=0.6, label="same power")]
    sheet = layout.sheet(
        [layout.fitting(_COLUMNS, left=_LEFT, gap=_GAP)] * len(datasets),
        [_HEIGHT] * 3,
        [
            _READING.format(cases=cases, interval=series.INTERVAL, counts=series.counts_text(records)),
            layout.paragraph(
                f"{compared.rule} Curves without a run: {missing}.", layout.left_out("Datasets", len(every[_COLUMNS:]))
            ),
        ],
        demonstration=results.demonstration,
        left=_LEFT,
        gap=_GAP,
        taller={2: 0.34},
        below=0.32,
        legend=handles,
    )
    sheet.column_titles(0, [dataset_label(name) for name in datasets])
    for column, name in enumerate(datasets):
        upper, middle, lower = (row[column] for row in sheet.panels)
        own = records[records["dataset"] == name]
        _draw_bands(lower, own, compared)
        if name in prepared:
            _draw_curves(upper, middle, prepared[name], curves[name], compared)
        else:
            layout.empty(upper, "not prepared")
            layout.empty(middle, "not prepared")
        for panel in (upper, middle, lower):
            panel.tick_params(labelleft=column == 0)
    _same_range(sheet.panels[0][: len(datasets)])
    for row, label in zip(sheet.panels, ("power ratio", "FRC, examples", "FRC, all cases"), strict=True):
        row[0].set_ylabel(label)
    return sheet.figure


def half_octaves(side: int) -> NDArray[np.int64]:
    """First ring of each bin of at least half an octave, from ring 1 up to side / 2."""
    steps = np.unique(np.round(2 ** np.arange(0, np.log2(side / 2) + 0.01, 0.5)).astype(np.int64))
    return steps[steps < side // 2]


def _curves(results: Results, data: PreparedDataset, method: Method) -> Curves | None:
    """The curves of the examples of a method, each the mean over its seeds; None if there is no run."""
    keys = (data.name, *method.keys)
    runs = [run for run in results.runs() if (run.dataset, run.architecture, run.objective, run.lam) == keys]
    per_seed = [curves for run in runs if (curves := _of_run(results, run, data)) is not None]
    if not per_seed:
        return None
    return Curves(*(_mean(np.stack(parts), axis=0) for parts in zip(*per_seed, strict=True)))


def _of_run(results: Results, run: Run, data: PreparedDataset) -> Curves | None:
    examples = results.examples(run)
    if examples is None or data.name not in examples.dataset:
        return None
    starts = half_octaves(data.masks.shape[-1])
    curves = []
    for index in np.flatnonzero(examples.dataset == data.name):
        labels = examples.prediction[index], np.asarray(data.masks[examples.row[index]])
        predicted, reference = (spectra.one_hot(part, len(data.classes)) for part in labels)
        curves.append(_of_case(predicted, reference, starts))
    return Curves(*(np.array(parts) for parts in zip(*curves, strict=True)))


def _of_case(
    predicted: spectra.Real, reference: spectra.Real, starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cross, first, second = spectra.cross_spectra([(predicted, reference)])
    rings = [spectra.ring_sums(power.sum(0))[: power.shape[-1] // 2] for power in (first, second)]
    powers = [np.add.reduceat(ring, starts) for ring in rings]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(powers[0] / powers[1])
    curve = spectra.fourier_ring_correlation(spectra.CrossSpectra(cross, first, second))[:, :-1]
    ends = [*starts[1:], curve.shape[-1]]
    correlation = [_mean(curve[:, start:end]) for start, end in zip(starts, ends, strict=True)]
    return np.where(np.isfinite(ratio), ratio, np.nan), np.array(correlation)


def _mean(values: NDArray[np.float64], axis: int | None = None) -> NDArray[np.float64]:
    """Mean of the finite values; NaN without any."""
    defined = np.isfinite(values)
    sums, counts = np.where(defined, values, 0).sum(axis), defined.sum(axis)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)
    return means


def _draw_curves(
    upper: Axes, middle: Axes, data: PreparedDataset, curves: Sequence[Curves | None], compared: series.Compared
) -> None:
    side = data.masks.shape[-1]
    starts = half_octaves(side)
    x = np.sqrt(starts * np.array([*starts[1:], side // 2]))
    upper.axhline(1, color="black", linewidth=0.6)
    if all(curve is None for curve in curves):
        layout.empty(middle, "no run")
        layout.empty(upper, "no run")
        return
    for method, curve in zip(compared.methods, curves, strict=True):
        if curve is None:
            continue
        for panel, values in ((upper, np.exp(curve.ratio)), (middle, curve.correlation)):
            mean = np.exp(_mean(curve.ratio, axis=0)) if panel is upper else _mean(values, axis=0)
            finite = np.isfinite(mean)
            low, high = (limit(values[:, finite], axis=0) for limit in (np.nanmin, np.nanmax))
            look = compared.look(method)
            panel.plot(x[finite], mean[finite], markersize=1.8, markeredgewidth=0, **look)
            panel.fill_between(x[finite], low, high, color=look["color"], alpha=0.12, linewidth=0)
    upper.set_yscale("log")
    middle.set_ylim(-0.3, 1.02)
    middle.set_yticks([0, 0.5, 1])
    ticks = [1, 8, 32] if side > 64 else [1, 8]
    for panel in (upper, middle):
        panel.set_xscale("log", base=2)
        panel.set_xlim(1, side / 2)
        panel.set_xticks(ticks, list(map(str, ticks)))
        panel.minorticks_off()
    upper.tick_params(labelbottom=False)
    middle.set_xlabel("cycles per image", labelpad=0.5)
    upper.text(0.04, 0.97, _shares(data), transform=upper.transAxes, va="top", fontsize=style.SMALL_SIZE)


def _shares(data: PreparedDataset) -> str:
    """Share of the power in each band, of at most 64 evenly spaced test slices with foreground."""
    rows = [row for row in data.rows("test") if data.masks[row].any()]
    rows = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, 64).round().astype(int))] if rows else []
    if not rows:
        return ""
    powers = [spectra.amplitude(spectra.one_hot(np.asarray(data.masks[row]), len(data.classes))) ** 2 for row in rows]
    shares = 100 * spectra.band_shares(np.sum(powers, axis=0))
    return " | ".join(f"{share:.0f}" if share >= 10 else f"{share:.1f}" for share in shares) + " %"


def _draw_bands(panel: Axes, records: pd.DataFrame, compared: series.Compared) -> None:
    for number, method in enumerate(compared.methods):
        own = series.of_method(records, method)
        shift = 0.12 * (number - (len(compared.methods) - 1) / 2)
        intervals = [series.mean(own[own["metric"] == metric]) for metric in _FRC.values()]
        places = [place + shift for place in range(len(_FRC))]
        series.points(panel, places, intervals, compared.look(method), size=2.6)
    panel.set_xticks(range(len(_FRC)), list(_FRC))
    panel.set_xlim(-0.4, len(_FRC) - 0.6)
    panel.set_ylim(-0.3, 1.02)
    panel.set_yticks([0, 0.5, 1])
    panel.set_xlabel("band")


def _same_range(panels: Sequence[Axes]) -> None:
    """One logarithmic range for all ratios, wide enough for a factor of two either way."""
    logarithmic = [panel for panel in panels if panel.get_yscale() == "log"]
    limits = [limit for panel in logarithmic for limit in panel.get_ylim() if limit > 0]
    most = min(max([2.0, *limits, *(1 / limit for limit in limits)]), 30.0)
    ticks = [0.1, 1, 10] if most > 10 else [0.5, 1, 2]
    for panel in logarithmic:
        panel.set_ylim(1 / most, most)
        panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
