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
from spectralseg.reporting.examples import METHODS, ExampleCase, Prediction, example_cases, method_runs, predictions
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results

DATASETS = ("synapse", "acdc", "kvasir_seg", "isic2018", "monuseg", "btseg")


def build(results: Results) -> Figure:
    """Class activation maps on the median case of each dataset, on one colour scale per row."""
    names, left_out = images.available(results, DATASETS)
    runs = {name: method_runs(results, name) for name in names}
    examples = [case for name in names for case in _middle(example_cases(results, name, name))]
    if not examples:
        return layout.nothing(images.left_out_footer(left_out), demonstration=results.demonstration)
    found = [predictions(results, runs[example.dataset], example) for example in examples]
    empty = sum(prediction is None for row in found for prediction in row)
    footer = [
        "White outline: actual region. One colour scale per row, from zero to the largest activation of any method "
        "in that row, so that brightness compares within a row. Inside: share of the activation within the actual "
        "region; max: largest activation of the panel.",
        f"{images.case_footer(examples)} Of the quantiles the middle one is shown.",
        images.run_footer([run for group in runs.values() for run in group], empty, left_out),
    ]
    sheet = layout.sheet(
        [1.22] * (1 + len(METHODS)) + [0.07],
        [1.22] * len(examples),
        footer,
        demonstration=results.demonstration,
        right=0.42,
    )
    sheet.column_titles(0, ["Image", *(method.label for method in METHODS)])
    for row, (example, predicted) in enumerate(zip(examples, found, strict=True)):
        sheet.row_label(row, dataset_label(example.dataset))
        _fill(sheet, row, results.prepared(example.dataset), example, predicted)
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
    sheet: layout.Sheet, row: int, data: PreparedDataset, example: ExampleCase, found: Sequence[Prediction | None]
) -> None:
    panels = sheet.panels[row]
    image, region = images.shown_image(data, example.row), data.masks[example.row] > 0
    maps = [np.asarray(p.cam, np.float64) if p is not None else None for p in found]
    largest = max((float(cam.max()) for cam in maps if cam is not None and np.isfinite(cam).all()), default=0.0)
    layout.picture(panels[0], image)
    layout.outline(panels[0], region, "white", width=0.6)
    layout.note(panels[0], example.area_text)
    for panel, cam in zip(panels[1:-1], maps, strict=True):
        if cam is None:
            layout.empty(panel, "no run")
            continue
        if not np.isfinite(cam).all():
            layout.empty(panel, "not finite")
            continue
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


def _tick(value: float, _: int) -> str:
    """A number that fits beside the scale, however small."""
    return f"{value:.2g}" if value == 0 or value >= 0.01 else f"{value:.1e}".replace("e-0", "e-").replace("-", "−")


def _middle(examples: Sequence[ExampleCase]) -> list[ExampleCase]:
    return [examples[len(examples) // 2]] if examples else []
