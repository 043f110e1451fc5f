"""Figures 2, 3 and 8: what spectra of images, masks and predictions look like, with numbers beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.data.prepared import PreparedDataset
from spectralseg.interpretation import spectra
from spectralseg.reporting import style
from spectralseg.reporting.cases import (
    METHODS,
    ExampleCase,
    Prediction,
    choose_cases,
    example_cases,
    method_runs,
    predictions,
)
from spectralseg.reporting.figures import common, layout
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results

IN_DISTRIBUTION = ("synapse", "acdc", "kvasir_seg", "isic2018", "monuseg", "btseg")
_CURVE_SLICES = 64
_MEDIAN_RULE = (
    "Case: test case with the median foreground area of those with any, of volumes the slice with the largest."
)
Mask = NDArray[np.bool_]


def figure_2(results: Results) -> Figure:
    """Spectrum of an image beside that of its mask, and the share of power below each frequency, per dataset."""
    names, left_out = common.available(results, IN_DISTRIBUTION)
    data = [results.prepared(name) for name in names]
    chosen = [(d, case) for d in data for case in choose_cases(d, 1)]
    if not chosen:
        return layout.nothing(common.left_out_footer(left_out), demonstration=results.demonstration)
    footer = [
        "Spectra: log(1 + amplitude), zero frequency in the centre, classes joined by the root of their summed power; "
        "each panel has its own scale. Curves: share of the power, without the mean, at or below a frequency, mean and "
        f"quartiles over at most {_CURVE_SLICES} evenly spaced test slices with foreground; dots mark 90 %.",
        common.case_footer([case for _, case in chosen]),
        f"{_MEDIAN_RULE} {common.left_out_footer(left_out)}",
    ]
    sheet = layout.sheet(
        [1.1] * 4 + [1.72],
        [1.1] * len(chosen),
        footer,
        demonstration=results.demonstration,
        wider={4: 0.4},
        below=0.42,
        gap=0.05,
    )
    sheet.column_titles(0, ["Image", "Mask", "Image spectrum", "Mask spectrum", "Cumulative power"])
    for row, (dataset, case) in enumerate(chosen):
        panels = sheet.panels[row]
        sheet.row_label(row, dataset_label(dataset.name))
        image, labels = common.shown_image(dataset, case.row), dataset.masks[case.row]
        layout.picture(panels[0], image)
        layout.note(panels[0], case.area_text)
        layout.picture(panels[1], common.coloured(np.zeros_like(image), labels, 1.0))
        for panel, channels in ((panels[2], _grey(image)), (panels[3], _classes(dataset, labels))):
            layout.picture(panel, spectra.log_magnitude(channels), cmap=style.SPECTRUM_MAP, vmin=0, vmax=None)
        _power_curves(panels[4], dataset, last=row == len(chosen) - 1)
    handles = [Line2D([], [], color=colour, linestyle=dash, label=name) for name, colour, dash in _CURVES]
    sheet.panels[0][4].legend(handles=handles, loc="lower right", fontsize=style.SMALL_SIZE)
    return sheet.figure


_CURVES: tuple[tuple[str, str, Literal["-", "--"]], ...] = (
    ("image", style.BLUE, "-"),
    ("mask", style.VERMILLION, "--"),
)


def _power_curves(panel: Axes, data: PreparedDataset, *, last: bool) -> None:
    rows = _foreground_rows(data)
    channels: list[Callable[[int], spectra.Real]] = [
        lambda row: _grey(common.shown_image(data, row)),
        lambda row: _classes(data, data.masks[row]),
    ]
    for (_, colour, dash), of_row in zip(_CURVES, channels, strict=True):
        curves = np.array([spectra.cumulative_power(of_row(int(row))) for row in rows])
        if not len(curves) or np.isnan(curves).all():
            continue
        frequencies = np.arange(curves.shape[1])
        low, high = np.nanquantile(curves, (0.25, 0.75), axis=0)
        mean = np.nanmean(curves, axis=0)
        panel.fill_between(frequencies[1:], low[1:], high[1:], color=colour, alpha=0.2, linewidth=0)
        panel.plot(frequencies[1:], mean[1:], color=colour, linestyle=dash)
        reached = int(np.searchsorted(mean, 0.9))
        if reached < len(mean):
            panel.plot(reached, mean[reached], "o", color=colour, markersize=2.5)
    layout.shrink(panel, 0.88)
    panel.set_xscale("log", base=2)
    side = data.masks.shape[-1]
    ticks = [2**k for k in range(int(np.log2(side // 2)) + 1)]
    panel.set_xticks(ticks, [str(tick) for tick in ticks] if last else [])
    panel.minorticks_off()
    panel.set_xlim(1, side // 2)
    panel.set_ylim(0, 1.02)
    panel.set_yticks([0, 0.5, 1])
    panel.set_ylabel("share of power")
    if last:
        panel.set_xlabel("cycles per image")


def _foreground_rows(data: PreparedDataset) -> NDArray[np.int64]:
    rows = data.rows("test")
    rows = rows[[bool(data.masks[row].any()) for row in rows]] if len(rows) else rows
    return rows[np.unique(np.linspace(0, len(rows) - 1, _CURVE_SLICES).round().astype(int))] if len(rows) else rows


@dataclass(frozen=True)
class Variation:
    """A changed mask with its relative changes: of the mask, of its complex spectrum, of its amplitude spectrum."""

    title: str
    mask: Mask
    changes: tuple[float, float, float]


def vary(mask: Mask, seed: int = 0) -> list[Variation]:
    """Shifts, scalings and deformations of a mask (S, S). Shifts are circular; an empty mask gives NaN changes."""
    side = len(mask)
    centre = ndimage.center_of_mass(mask) if mask.any() else ((side - 1) / 2, (side - 1) / 2)
    near, far = max(1, round(0.02 * side)), max(2, round(0.15 * side))
    changed = [
        (f"Shift {near} px", _shifted(mask, centre, near)),
        (f"Shift {far} px", _shifted(mask, centre, far)),
        ("Scale × 1.25", _scaled(mask, centre, 1.25)),
        ("Scale × 0.80", _scaled(mask, centre, 0.8)),
        ("Smooth warp", _warped(mask, amplitude=0.04 * side, length=0.1 * side, seed=seed)),
        ("Rough edge", _warped(mask, amplitude=0.02 * side, length=0.01 * side, seed=seed)),
    ]
    before = mask.astype(np.float64)
    return [Variation(title, after, _changes(before, after.astype(np.float64))) for title, after in changed]


def figure_3(results: Results) -> Figure:
    """How much a mask, its complex spectrum and its amplitude spectrum change when the mask is changed."""
    names, _ = common.available(results, ("kvasir_seg", "isic2018", "btseg", "acdc", "synapse", "monuseg"))
    chosen = [case for name in names[:1] for case in choose_cases(results.prepared(name), 1)]
    if not chosen:
        return layout.nothing("No dataset is prepared.", demonstration=results.demonstration)
    mask = results.prepared(names[0]).masks[chosen[0].row] > 0
    variations = vary(mask)
    footer = [
        "Solid outline: mask before the change. Spectra: log(1 + amplitude), one scale, zero frequency in the centre. "
        "Bars: ‖after − before‖ / ‖before‖. The complex spectrum changes exactly as much as the mask (Parseval's "
        "theorem); the amplitude alone changes less and does not see shifts at all.",
        f"{common.case_footer(chosen)} {_MEDIAN_RULE} All foreground classes are joined.",
    ]
    width = layout.fitting(1 + len(variations), left=0.42)
    sheet = layout.sheet(
        [width] * (1 + len(variations)),
        [width, width, 1.0],
        footer,
        demonstration=results.demonstration,
        left=0.42,
        below=0.3,
        taller={2: 0.12},
    )
    before = spectra.log_magnitude(mask[None].astype(np.float64))
    sheet.column_titles(0, ["Original", *(variation.title for variation in variations)])
    for row, text in enumerate(("Mask", "Amplitude spectrum")):
        sheet.row_label(row, text)
    for column, after in enumerate((mask, *(variation.mask for variation in variations))):
        layout.picture(sheet.panels[0][column], 0.8 * after.astype(np.float64))
        layout.outline(sheet.panels[0][column], mask, style.ACTUAL)
        magnitude = spectra.log_magnitude(after[None].astype(np.float64))
        layout.picture(sheet.panels[1][column], magnitude, cmap=style.SPECTRUM_MAP, vmin=0, vmax=before.max())
    _change_bars(sheet, variations)
    return sheet.figure


_BARS = (("mask", style.VERMILLION), ("complex spectrum", style.SKY), ("amplitude spectrum", style.BLUE))


def _change_bars(sheet: layout.Sheet, variations: Sequence[Variation]) -> None:
    sheet.panels[2][0].set_visible(False)
    top = 1.25 * np.nanmax([[0.1, *variation.changes] for variation in variations])
    for column, (panel, variation) in enumerate(zip(sheet.panels[2][1:], variations, strict=True)):
        bars = panel.bar(range(3), variation.changes, color=[colour for _, colour in _BARS], width=0.72)
        panel.bar_label(bars, fmt="%.2f", fontsize=style.SMALL_SIZE, padding=1)
        panel.set_xlim(-0.7, 2.7)
        panel.set_ylim(0, top)
        panel.set_xticks([])
        if column:
            panel.set_yticks([])
            panel.spines["left"].set_visible(False)
        else:
            panel.set_ylabel("relative change")
    sheet.legend(2, [Line2D([], [], marker="s", linestyle="", color=colour, label=name) for name, colour in _BARS])


def _changes(before: spectra.Real, after: spectra.Real) -> tuple[float, float, float]:
    complex_before, complex_after = spectra.spectrum(before), spectra.spectrum(after)
    return (
        spectra.relative_change(before, after),
        spectra.relative_change(complex_before, complex_after),
        spectra.relative_change(np.abs(complex_before), np.abs(complex_after)),
    )


def _shifted(mask: Mask, centre: tuple[float, ...], distance: int) -> Mask:
    """Shift along both axes, towards the side with more room."""
    steps = [distance if position < len(mask) / 2 else -distance for position in centre]
    return np.roll(mask, steps, axis=(0, 1))


def _scaled(mask: Mask, centre: tuple[float, ...], factor: float) -> Mask:
    offset = [position * (1 - 1 / factor) for position in centre]
    scaled: Mask = ndimage.affine_transform(mask.astype(float), [1 / factor] * 2, offset, order=1) > 0.5
    return scaled


def _warped(mask: Mask, *, amplitude: float, length: float, seed: int) -> Mask:
    """Random displacement with the given root mean square and correlation length in pixels."""
    random = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(random.standard_normal(mask.shape), length, mode="wrap") for _ in range(2)]
    grid = np.indices(mask.shape).astype(float)
    moved = [axis + amplitude * field / field.std() for axis, field in zip(grid, fields, strict=True)]
    warped: Mask = ndimage.map_coordinates(mask.astype(float), moved, order=1) > 0.5
    return warped


def figure_8(results: Results) -> Figure:
    """Log-magnitude spectra of references and predictions on Synapse and ACDC with their correlations."""
    names, left_out = common.available(results, ["synapse", "acdc"])
    data = {name: results.prepared(name) for name in names}
    runs = {name: method_runs(results, name) for name in names}
    # The outer quantiles: a small and a large foreground.
    examples = [case for name in names for case in _first_and_last(example_cases(results, name, name))]
    if not examples:
        return layout.nothing(common.left_out_footer(left_out), demonstration=results.demonstration)
    found = [predictions(results, runs[example.dataset], example) for example in examples]
    empty = sum(prediction is None for row in found for prediction in row)
    width = layout.fitting(2 + len(METHODS), left=0.42, gap=0.05)
    footer = [
        "Spectra of hard label maps: log(1 + amplitude), zero frequency in the centre, classes joined by the root of "
        "their summed power; one scale per row. Corr.: Pearson correlation with the reference spectrum. Detrended: the "
        "same after subtracting the mean of each ring of equal frequency, because the decay with frequency alone makes "
        "any two masks correlate.",
        f"{common.case_footer(examples)} Of the quantiles the outer two are shown.",
        common.run_footer([run for group in runs.values() for run in group], empty, left_out),
    ]
    sheet = layout.sheet(
        [width] * (2 + len(METHODS)),
        [width] * len(examples),
        footer,
        demonstration=results.demonstration,
        left=0.42,
        gap=0.05,
        taller=dict.fromkeys(range(1, len(examples)), 0.24),
        below=0.36,
    )
    sheet.column_titles(0, ["Reference mask", "Reference", *(method.label for method in METHODS)])
    for row, (example, predicted) in enumerate(zip(examples, found, strict=True)):
        sheet.row_label(row, f"{dataset_label(example.dataset)}\n{example.area_text}")
        _fill_spectra(sheet.panels[row], data[example.dataset], example, predicted)
    return sheet.figure


def _fill_spectra(
    panels: list[Axes], data: PreparedDataset, example: ExampleCase, predicted: Sequence[Prediction | None]
) -> None:
    labels = data.masks[example.row]
    reference = spectra.log_magnitude(_classes(data, labels))
    scale = {"cmap": style.SPECTRUM_MAP, "vmin": 0, "vmax": max(float(reference.max()), 1e-6)}
    layout.picture(panels[0], common.coloured(np.zeros((*labels.shape, 1)), labels, 1.0))
    layout.picture(panels[1], reference, **scale)
    for panel, prediction in zip(panels[2:], predicted, strict=True):
        if prediction is None:
            layout.empty(panel, "no run")
            continue
        magnitude = spectra.log_magnitude(_classes(data, prediction.labels))
        layout.picture(panel, magnitude, **scale)
        plain = spectra.correlation(reference, magnitude)
        detrended = spectra.correlation(spectra.without_radial_mean(reference), spectra.without_radial_mean(magnitude))
        panel.set_xlabel(f"Corr. {_decimal(plain)}\ndetrended {_decimal(detrended)}", fontsize=style.SMALL_SIZE + 0.4)


def _first_and_last(examples: Sequence[ExampleCase]) -> list[ExampleCase]:
    return list(dict.fromkeys([*examples[:1], *examples[-1:]]))


def _decimal(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}".replace("-", "−")


def _grey(image: NDArray[np.float64]) -> spectra.Real:
    grey: spectra.Real = image.mean(axis=-1, keepdims=True).transpose(2, 0, 1)
    return grey


def _classes(data: PreparedDataset, labels: NDArray[np.uint8]) -> spectra.Real:
    return spectra.one_hot(labels, len(data.classes))
