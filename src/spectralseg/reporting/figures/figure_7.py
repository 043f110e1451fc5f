"""Label maps of the heart and of abdominal organs.

Label maps on ACDC and Synapse (the paper's Figure 7). A white box bounds the largest connected region of wrong labels.
Cases are selected by foreground area alone; their ids are in the footer.

The paper argues from these maps that the spectral term helps to separate neighbouring structures. The white boxes are
computed, not placed by eye. A large box with few wrong pixels indicates a thin error along the boundary.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.reporting.drawing import images, layout
from spectralseg.reporting.example_cases import METHODS
from spectralseg.reporting.figures import _strips
from spectralseg.reporting.figures._strips import Strip
from spectralseg.reporting.results import Results

IMAGES = True
RUNS = {
    "dataset": ("acdc", "synapse"),
    "architecture": ("unet", "transunet"),
    "objective": ("spatial_spectral",),
    "lambda": ("0.2",),
}


def build(results: Results) -> Figure:
    """Colour-coded label maps on ACDC and Synapse; a white box bounds the largest connected error region."""
    names, left_out = images.available(results, RUNS["dataset"])
    strips = [_strips.strip_of(results, name, name) for name in names]
    rows = [len(strip.examples) for strip in strips]
    if not sum(rows):
        return layout.no_data(images.left_out_footer(left_out), demonstration=results.demonstration)
    footer = [
        "White box: largest connected region of wrong labels. Mean DSC over the classes of the slice.",
        *_strips.footers(strips, left_out),
    ]
    starts = _strips.offsets(rows)
    sheet = layout.sheet(
        [1.12] * (2 + len(METHODS)),
        [1.12] * sum(rows),
        footer,
        demonstration=results.demonstration,
        left=0.08,
        top=0.42,
        taller=dict.fromkeys(starts[1:], 0.62),
        below=0.34,
    )
    for strip, start in zip(strips, starts, strict=True):
        _fill_label_maps(sheet, strip, start)
    return sheet.figure


def largest_error(prediction: NDArray[np.uint8], reference: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """Rows and columns of the largest 8-connected region of wrong labels, or None if all labels are correct."""
    regions, count = ndimage.label(prediction != reference, structure=np.ones((3, 3)))
    if count == 0:
        return None
    sizes = np.bincount(regions.ravel())[1:]
    rows, columns = ndimage.find_objects(regions)[int(sizes.argmax())]
    return rows, columns


def _fill_label_maps(sheet: layout.Sheet, strip: Strip, start: int) -> None:
    if not strip.examples:
        return
    sheet.heading(start, 0, len(sheet.panels[start]) - 1, _strips.heading_of(strip))
    sheet.column_titles(start, ["Image", "Reference", *_strips.LABELS])
    for panels, (_, example, by_method) in zip(sheet.panels[start:], _strips.rows_of([strip]), strict=False):
        image, reference = images.shown_image(strip.data, example.row), strip.data.masks[example.row]
        layout.picture(panels[0], image)
        layout.note(panels[0], example.area_text)
        layout.picture(panels[1], images.coloured(image, reference))
        for panel, prediction in _strips.predicted(panels[2:], by_method):
            layout.picture(panel, images.coloured(image, prediction.labels))
            _box(panel, largest_error(prediction.labels, reference))
            _strips.note_dice(panel, images.mean_dice(prediction.labels, reference))
    colours = [images.class_colour(label) for label in range(1, len(strip.data.classes) + 1)]
    handles = [Patch(color=colour, label=name) for colour, name in zip(colours, strip.data.classes, strict=True)]
    sheet.legend(start + len(strip.examples) - 1, handles)


def _box(panel: Axes, region: tuple[slice, slice] | None, margin: int = 2) -> None:
    if region is None:
        return
    rows, columns = region
    corner = (columns.start - margin - 0.5, rows.start - margin - 0.5)
    size = (columns.stop - columns.start + 2 * margin, rows.stop - rows.start + 2 * margin)
    panel.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=0.8))
