"""Spectra of images and of their masks.

Spectrum of an image beside the spectrum of its mask, per dataset, and the share of power below each frequency over many
test slices (the paper's Figure 2). Dots mark 90 % of the power.

The paper argues that the spectrum of a mask is concentrated at low frequencies and therefore holds more information
about the object than the spectrum of the image. The curves show the share of power below each frequency over many test
slices, for images and for masks. Where the two curves coincide, the example pictures alone would mislead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from spectralseg.data.prepared import PreparedDataset
from spectralseg.interpretation import spectra
from spectralseg.reporting.drawing import images, layout, style
from spectralseg.reporting.example_cases import choose_cases
from spectralseg.reporting.figures._spectra import MEDIAN_RULE, class_channels, grey_channel
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results

IMAGES = True
RUNS = {"dataset": ("synapse", "acdc", "kvasir_seg", "isic2018", "monuseg", "btseg"), "auxiliary": ("spectral",)}

_CURVE_SLICES = 64


def build(results: Results) -> Figure:
    """Spectrum of an image beside that of its mask, and the share of power below each frequency, per dataset."""
    names, left_out = images.available(results, RUNS["dataset"])
    data = [results.prepared(name) for name in names]
    cases = [(d, case) for d in data for case in choose_cases(d, 1)]
    if not cases:
        return layout.no_data(images.left_out_footer(left_out), demonstration=results.demonstration)
    footer = [
        "Spectra: log(1 + amplitude), zero frequency in the centre, classes joined by the root of their summed power; "
        "each panel has its own scale. Curves: share of the power, without the mean, at or below a frequency, mean and "
        f"quartiles over at most {_CURVE_SLICES} evenly spaced test slices with foreground; dots mark 90 %.",
        images.case_footer([case for _, case in cases]),
        f"{MEDIAN_RULE} {images.left_out_footer(left_out)}",
    ]
    sheet = layout.sheet(
        [1.1] * 4 + [1.72],
        [1.1] * len(cases),
        footer,
        demonstration=results.demonstration,
        wider={4: 0.4},
        below=0.42,
        gap=0.05,
    )
    sheet.column_titles(0, ["Image", "Mask", "Image spectrum", "Mask spectrum", "Cumulative power"])
    for row, (dataset, case) in enumerate(cases):
        panels = sheet.panels[row]
        sheet.row_label(row, dataset_label(dataset.name))
        image, labels = images.shown_image(dataset, case.row), dataset.masks[case.row]
        layout.picture(panels[0], image)
        layout.note(panels[0], case.area_text)
        layout.picture(panels[1], images.coloured(np.zeros_like(image), labels, 1.0))
        for panel, channels in ((panels[2], grey_channel(image)), (panels[3], class_channels(dataset, labels))):
            layout.picture(panel, spectra.log_magnitude(channels), cmap=style.SPECTRUM_MAP, vmin=0, vmax=None)
        _power_curves(panels[4], dataset, last=row == len(cases) - 1)
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
        lambda row: grey_channel(images.shown_image(data, row)),
        lambda row: class_channels(data, data.masks[row]),
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
