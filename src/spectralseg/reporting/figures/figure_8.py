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
from spectralseg.reporting.examples import METHODS, ExampleCase, Prediction, example_cases, method_runs, predictions
from spectralseg.reporting.figures._spectra import class_channels
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results


def build(results: Results) -> Figure:
    """Log-magnitude spectra of references and predictions on Synapse and ACDC with their correlations."""
    names, left_out = images.available(results, ["synapse", "acdc"])
    data = {name: results.prepared(name) for name in names}
    runs = {name: method_runs(results, name) for name in names}
    # The outer quantiles: a small and a large foreground.
    examples = [case for name in names for case in _first_and_last(example_cases(results, name, name))]
    if not examples:
        return layout.nothing(images.left_out_footer(left_out), demonstration=results.demonstration)
    found = [predictions(results, runs[example.dataset], example) for example in examples]
    empty = sum(prediction is None for row in found for prediction in row)
    width = layout.fitting(2 + len(METHODS), left=0.42, gap=0.05)
    footer = [
        "Spectra of hard label maps: log(1 + amplitude), zero frequency in the centre, classes joined by the root of "
        "their summed power; one scale per row. Corr.: Pearson correlation with the reference spectrum. Detrended: the "
        "same after subtracting the mean of each ring of equal frequency, because the decay with frequency alone makes "
        "any two masks correlate.",
        f"{images.case_footer(examples)} Of the quantiles the outer two are shown.",
        images.run_footer([run for group in runs.values() for run in group], empty, left_out),
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
    reference = spectra.log_magnitude(class_channels(data, labels))
    scale = {"cmap": style.SPECTRUM_MAP, "vmin": 0, "vmax": max(float(reference.max()), 1e-6)}
    layout.picture(panels[0], images.coloured(np.zeros((*labels.shape, 1)), labels, 1.0))
    layout.picture(panels[1], reference, **scale)
    for panel, prediction in zip(panels[2:], predicted, strict=True):
        if prediction is None:
            layout.empty(panel, "no run")
            continue
        magnitude = spectra.log_magnitude(class_channels(data, prediction.labels))
        layout.picture(panel, magnitude, **scale)
        plain = spectra.correlation(reference, magnitude)
        detrended = spectra.correlation(spectra.without_radial_mean(reference), spectra.without_radial_mean(magnitude))
        panel.set_xlabel(f"Corr. {_decimal(plain)}\ndetrended {_decimal(detrended)}", fontsize=style.SMALL_SIZE + 0.4)


def _first_and_last(examples: Sequence[ExampleCase]) -> list[ExampleCase]:
    return list(dict.fromkeys([*examples[:1], *examples[-1:]]))


def _decimal(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}".replace("-", "−")
