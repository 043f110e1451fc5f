"""What a shifted, scaled or deformed mask does to its spectrum.

Relative change of a mask, of its complex spectrum and of its amplitude spectrum when the mask is shifted, scaled or
deformed (the paper's Figure 3). The complex spectrum changes exactly as much as the mask.

The paper states that large spatial variations are small spectral ones and vice versa. One mask is shifted, scaled and
deformed, and the relative change is measured in three representations. The complex spectrum always changes exactly as
much as the mask. Only amplitudes are blind to shifts, and the paper's objective uses complex spectra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.interpretation import spectra
from spectralseg.reporting.drawing import images, layout, style
from spectralseg.reporting.example_cases import choose_cases
from spectralseg.reporting.figures._spectra import MEDIAN_RULE
from spectralseg.reporting.results import Results

IMAGES = True
RUNS = {"dataset": ("kvasir_seg", "isic2018", "btseg", "acdc", "synapse", "monuseg"), "auxiliary": ("spectral",)}

Mask = NDArray[np.bool_]


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


def build(results: Results) -> Figure:
    """How much a mask, its complex spectrum and its amplitude spectrum change when the mask is changed."""
    names, _ = images.available(results, RUNS["dataset"])
    cases = [case for name in names[:1] for case in choose_cases(results.prepared(name), 1)]
    if not cases:
        return layout.no_data("No dataset is prepared.", demonstration=results.demonstration)
    mask = results.prepared(names[0]).masks[cases[0].row] > 0
    variations = vary(mask)
    footer = [
        "Solid outline: mask before the change. Spectra: log(1 + amplitude), one scale, zero frequency in the centre. "
        "Bars: ‖after − before‖ / ‖before‖. The complex spectrum changes exactly as much as the mask (Parseval's "
        "theorem); the amplitude alone changes less and is invariant to shifts.",
        f"{images.case_footer(cases)} {MEDIAN_RULE} All foreground classes are joined.",
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
