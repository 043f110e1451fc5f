"""Corruptions by severity.

Test images of one dataset per kind of modality, clean and under three of its corruptions at severities 1, 3 and 5.

The parameters of the corruptions and their sources are in `docs/corruptions.md`.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from spectralseg.corruptions.apply import corrupt
from spectralseg.corruptions.severities import kind_of
from spectralseg.data.prepared import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.evaluation.examples import example_rows
from spectralseg.reporting.drawing import layout
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results

IMAGES = True
RUNS = {"suite": ("noise",)}

_CORRUPTIONS = {
    "dermoscopy": ("shot_noise", "defocus_blur", "brightness_down"),
    "endoscopy": ("specular_highlights", "motion_blur", "jpeg_compression"),
    "histology": ("saturate", "contrast_down", "pixelate"),
    "CT": ("gaussian_noise", "gaussian_blur", "gamma_down"),
    "MR": ("bias_field", "ghosting", "patient_motion"),
}
_SEVERITIES = ("1", "3", "5")
_BETWEEN = 0.06  # inches, before the panels of a corruption
_READING = (
    "The first dataset of each kind of modality, clean and under three of its corruptions at severities 1, 3 and 5. "
    "Case: test case with the median foreground area, of volumes the slice with the largest. The random "
    "draws are specific to this figure; in the evaluation they depend on the case."
)


def build(results: Results) -> Figure:
    """One row per kind of modality among the prepared datasets that have test cases."""
    datasets: dict[str, PreparedDataset] = {}
    for name in results.prepared_names:
        data = results.prepared(name)
        kind = _kind(data)
        if kind and len(data.rows("test")):
            datasets.setdefault(kind, data)
    if not datasets:
        return layout.no_data("No prepared dataset has a severity sweep.", demonstration=results.demonstration)
    count = len(_SEVERITIES)
    side = layout.fitting(1 + 3 * count, extra=3 * _BETWEEN)
    sheet = layout.sheet(
        [side] * (1 + 3 * count),
        [side] * len(datasets),
        [_READING],
        demonstration=results.demonstration,
        wider=dict.fromkeys(range(1, 1 + 3 * count, count), _BETWEEN),
        taller=dict.fromkeys(range(1, len(datasets)), 0.2),
    )
    for row, kind in enumerate(name for name in _CORRUPTIONS if name in datasets):
        data = datasets[kind]
        ((name, array_row),) = example_rows(data, 1)
        case = data.cases[data.cases["case"] == name].iloc[0]
        images = data.images[case["first"] : case["first"] + case["slices"]]
        clean = images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max)
        slice_index = array_row - case["first"]
        layout.picture(sheet.panels[row][0], clean[slice_index])
        sheet.heading(row, 0, 0, "clean", height=0.03)
        sheet.row_label(row, dataset_label(data.name))
        for place, corruption in enumerate(_CORRUPTIONS[kind]):
            first = 1 + count * place
            sheet.heading(row, first, first + count - 1, corruption.replace("_", " "), height=0.03)
            for panel, severity in zip(sheet.panels[row][first:], _SEVERITIES, strict=False):
                corrupted = corrupt(clean, corruption, severity, data.info["modality"], np.random.default_rng(0))
                layout.picture(panel, corrupted[slice_index])
    return sheet.figure


def _kind(data: PreparedDataset) -> str | None:
    try:
        return kind_of(str(data.info.get("modality")))
    except InputError:
        return None
