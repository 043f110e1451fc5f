"""Spectra of references and predictions.

Log-magnitude spectra of references and predictions on Synapse and ACDC (the paper's Figure 8), with the correlation of
the two, and with the correlation after removing the decay with frequency that any two masks share.

The paper reads a higher correlation with the spectrum of the reference as better preserved frequencies. Spectra of any
two masks correlate strongly because both decay with frequency, so a second correlation is computed after that common
decay is removed. Neither is sensitive to a shift of the prediction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectralseg.data.prepared import PreparedDataset
from spectralseg.interpretation import spectra
from spectralseg.reporting.drawing import images, layout, style
from spectralseg.reporting.example_cases import METHODS, ExampleCase, Prediction
from spectralseg.reporting.figures._spectra import class_channels
from spectralseg.reporting.figures._strips import LABELS, footers, predicted, rows_of, strip_of
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results

IMAGES = True
RUNS = {
    "dataset": ("synapse", "acdc"),
    "architecture": ("unet", "transunet"),
    "objective": ("spatial_spectral",),
    "lambda": ("0.2",),
}


def build(results: Results) -> Figure:
    """Log-magnitude spectra of references and predictions on Synapse and ACDC with their correlations."""
    names, left_out = images.available(results, RUNS["dataset"])
    strips = [strip_of(results, name, name, _first_and_last) for name in names]
    rows = rows_of(strips)
    if not rows:
        return layout.no_data(images.left_out_footer(left_out), demonstration=results.demonstration)
    case_footer, run_footer = footers(strips, left_out)
    width = layout.fitting(2 + len(METHODS), left=0.42, gap=0.05)
    footer = [
        "Spectra of hard label maps: log(1 + amplitude), zero frequency in the centre, classes joined by the root of "
        "their summed power; one scale per row. Corr.: Pearson correlation with the reference spectrum. Detrended: the "
        "same after subtracting the mean of each ring of equal frequency, because the decay with frequency alone makes "
        "any two masks correlate.",
        f"{case_footer} Of the quantiles the outer two are shown.",
        run_footer,
    ]
    sheet = layout.sheet(
        [width] * (2 + len(METHODS)),
        [width] * len(rows),
        footer,
        demonstration=results.demonstration,
        left=0.42,
        gap=0.05,
        taller=dict.fromkeys(range(1, len(rows)), 0.24),
        below=0.36,
    )
    sheet.column_titles(0, ["Reference mask", "Reference", *LABELS])
    for row, (data, example, by_method) in enumerate(rows):
        sheet.row_label(row, f"{dataset_label(example.dataset)}\n{example.area_text}")
        _fill_spectra(sheet.panels[row], data, example, by_method)
    return sheet.figure


def _fill_spectra(
    panels: list[Axes], data: PreparedDataset, example: ExampleCase, by_method: Sequence[Prediction | None]
) -> None:
    labels = data.masks[example.row]
    reference = spectra.log_magnitude(class_channels(data, labels))
    scale = {"cmap": style.SPECTRUM_MAP, "vmin": 0, "vmax": max(float(reference.max()), 1e-6)}
    layout.picture(panels[0], images.coloured(np.zeros((*labels.shape, 1)), labels, 1.0))
    layout.picture(panels[1], reference, **scale)
    for panel, prediction in predicted(panels[2:], by_method):
        magnitude = spectra.log_magnitude(class_channels(data, prediction.labels))
        layout.picture(panel, magnitude, **scale)
        plain = spectra.correlation(reference, magnitude)
        detrended = spectra.correlation(spectra.without_radial_mean(reference), spectra.without_radial_mean(magnitude))
        panel.set_xlabel(f"Corr. {_decimal(plain)}\ndetrended {_decimal(detrended)}", fontsize=style.SMALL_SIZE + 0.4)


def _first_and_last(examples: Sequence[ExampleCase]) -> list[ExampleCase]:
    """The outer quantiles: a small and a large foreground."""
    return list(dict.fromkeys([*examples[:1], *examples[-1:]]))


def _decimal(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:z.3f}".replace("-", "−")
