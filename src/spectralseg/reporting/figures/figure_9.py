"""Class activation maps.

Class activation maps of every method (the paper's Figure 9), one colour scale per row. Percentages: share of the
activation inside the actual region.

The paper reads from such maps that the spectral term directs attention to the relevant structures and their context.
One colour scale per row makes methods comparable, at the price that weakly activated maps look dark. The share of
activation inside the actual region tends to rise with Dice and is not independent evidence.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spectralseg.data.prepared import PreparedDataset
from spectralseg.interpretation.localisation import energy_share
from spectralseg.reporting.drawing import images, layout, style
from spectralseg.reporting.example_cases import METHODS, ExampleCase, Prediction
from spectralseg.reporting.figures._strips import LABELS, footers, predicted, rows_of, strip_of
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results

IMAGES = True
RUNS = {
    "dataset": ("synapse", "acdc", "kvasir_seg", "isic2018", "monuseg", "btseg"),
    "architecture": ("unet", "transunet"),
    "objective": ("spatial_spectral",),
    "lambda": ("0.2",),
}


def build(results: Results) -> Figure:
    """Class activation maps on the median case of each dataset, on one colour scale per row."""
    names, left_out = images.available(results, RUNS["dataset"])
    strips = [strip_of(results, name, name, _middle) for name in names]
    rows = rows_of(strips)
    if not rows:
        return layout.no_data(images.left_out_footer(left_out), demonstration=results.demonstration)
    case_footer, run_footer = footers(strips, left_out)
    footer = [
        "White outline: actual region. One colour scale per row, from zero to the largest activation of any method "
        "in that row, so that brightness compares within a row. Inside: share of the activation within the actual "
        "region; max: largest activation of the panel.",
        f"{case_footer} Of the quantiles the middle one is shown.",
        run_footer,
    ]
    sheet = layout.sheet(
        [1.22] * (1 + len(METHODS)) + [0.07],
        [1.22] * len(rows),
        footer,
        demonstration=results.demonstration,
        right=0.42,
    )
    sheet.column_titles(0, ["Image", *LABELS])
    for row, (data, example, by_method) in enumerate(rows):
        sheet.row_label(row, dataset_label(example.dataset))
        _fill(sheet, row, data, example, by_method)
    return sheet.figure


def overlay(image: NDArray[np.float64], activation: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    """Activation (S, S) in colour over the grey image (S, S, channels); the image shows where activation is low."""
    grey = np.repeat(image.mean(axis=-1)[..., None], 3, axis=-1)
    level = np.clip(activation / largest, 0, 1) if largest > 0 else np.zeros_like(activation)
    colour = matplotlib.colormaps[style.ACTIVATION_MAP](level)[..., :3]
    opacity = 0.8 * np.sqrt(level)[..., None]
    blended: NDArray[np.float64] = (1 - opacity) * 0.8 * grey + opacity * colour
    return blended


def _fill(
    sheet: layout.Sheet, row: int, data: PreparedDataset, example: ExampleCase, by_method: Sequence[Prediction | None]
) -> None:
    panels = sheet.panels[row]
    image, region = images.shown_image(data, example.row), data.masks[example.row] > 0
    maxima = [float(prediction.cam.max()) for prediction in by_method if prediction and _is_finite(prediction)]
    largest = max(maxima, default=0.0)
    layout.picture(panels[0], image)
    layout.outline(panels[0], region, "white", width=0.6)
    layout.note(panels[0], example.area_text)
    for panel, prediction in predicted(panels[1:-1], by_method):
        if not _is_finite(prediction):
            layout.empty(panel, "not finite")
            continue
        cam = prediction.cam.astype(np.float64)
        layout.picture(panel, overlay(image, cam, largest))
        layout.outline(panel, region, "white", width=0.6)
        inside = energy_share(cam, region)
        layout.note(panel, "no activation" if np.isnan(inside) else f"{100 * inside:.0f} % inside, max {cam.max():.3g}")
    if largest > 0:
        scale = ScalarMappable(Normalize(0, largest), style.ACTIVATION_MAP)
        bar = sheet.figure.colorbar(scale, cax=panels[-1], ticks=[0, largest / 2, largest], format=_tick)
        bar.outline.set_visible(False)
        layout.shrink(panels[-1], 0.86)
    else:
        panels[-1].set_visible(False)


def _is_finite(prediction: Prediction) -> bool:
    return bool(np.isfinite(prediction.cam).all())


def _tick(value: float, _: int) -> str:
    """A short number beside the scale, in scientific notation below 0.01."""
    return f"{value:.2g}" if value == 0 or value >= 0.01 else f"{value:.1e}".replace("e-0", "e-").replace("-", "−")


def _middle(examples: Sequence[ExampleCase]) -> list[ExampleCase]:
    return list(examples[len(examples) // 2 :][:1])
