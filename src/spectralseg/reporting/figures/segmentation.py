"""Figures 5, 6 and 7: segmentation maps of every method on the same cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.data.prepared import PreparedDataset
from spectralseg.grid import Run
from spectralseg.reporting import style
from spectralseg.reporting.cases import METHODS, ExampleCase, Prediction, example_cases, method_runs, predictions
from spectralseg.reporting.figures import common, layout
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results

_LABELS = [method.label for method in METHODS]
_CONTOURS = (
    "Solid: actual; dashed: predicted. DSC of the whole slice at prepared resolution. Slices of at least 192 pixels "
    "with more than 40 objects show their central third, marked ×3."
)
_CROWDED, _LARGE = 40, 192
_LARGEST = 1.2  # inches


@dataclass(frozen=True)
class _Strip:
    """Examples of one test dataset with the predictions of every method."""

    data: PreparedDataset
    runs: list[Run]
    examples: list[ExampleCase]
    predictions: list[list[Prediction | None]]

    @property
    def empty_panels(self) -> int:
        return sum(prediction is None for row in self.predictions for prediction in row)


def figure_5(results: Results) -> Figure:
    """Contours in distribution and out of distribution: Kvasir-SEG, PolypGen, ISIC-18, ISIC-17."""
    pairs = [("kvasir_seg", "polypgen"), ("isic2018", "isic2017")]
    names, left_out = common.available(results, [name for pair in pairs for name in pair])
    bands = [[_strip(results, pair[0], name) for name in pair if name in names] for pair in pairs]
    return _contour_figure([band for band in bands if band], left_out, results.demonstration)


def figure_6(results: Results) -> Figure:
    """Contours on MoNuSeg and BTSeg."""
    names, left_out = common.available(results, ["monuseg", "btseg"])
    bands = [[_strip(results, name, name)] for name in names]
    return _contour_figure(bands, left_out, results.demonstration)


def figure_7(results: Results) -> Figure:
    """Colour-coded label maps on ACDC and Synapse; a white box bounds the largest connected error region."""
    names, left_out = common.available(results, ["acdc", "synapse"])
    strips = [_strip(results, name, name) for name in names]
    rows = [len(strip.examples) for strip in strips]
    if not sum(rows):
        return _nothing(left_out, results.demonstration)
    footer = _footers(strips, left_out)
    footer.insert(0, "White box: largest connected region of wrong labels. Mean DSC over the classes of the slice.")
    starts = _offsets(rows)
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
    """Rows and columns of the largest 8-connected region of wrong labels, or None where every label is right."""
    regions, count = ndimage.label(prediction != reference, structure=np.ones((3, 3)))
    if count == 0:
        return None
    sizes = np.bincount(regions.ravel())[1:]
    rows, columns = ndimage.find_objects(regions)[int(sizes.argmax())]
    return rows, columns


_WHOLE = (slice(None), slice(None))


def detail(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The part of a slice to show: all of it, or its central third where outlines of many objects would merge."""
    if min(mask.shape) < _LARGE or ndimage.label(mask)[1] <= _CROWDED:
        return _WHOLE
    rows, columns = (slice(side // 3, side - side // 3) for side in mask.shape)
    return rows, columns


def _strip(results: Results, trained_on: str, tested_on: str) -> _Strip:
    runs, examples = method_runs(results, trained_on), example_cases(results, trained_on, tested_on)
    found = [predictions(results, runs, example) for example in examples]
    return _Strip(results.prepared(tested_on), runs, examples, found)


def _contour_figure(bands: Sequence[Sequence[_Strip]], left_out: list[str], demonstration: bool) -> Figure:
    """Bands from top to bottom, strips of a band side by side, one case per row."""
    strips = [strip for band in bands for strip in band]
    rows = [max(len(strip.examples) for strip in band) for band in bands]
    if not sum(rows):
        return _nothing(left_out, demonstration)
    across, columns = max(len(band) for band in bands), 1 + len(METHODS)
    starts, between = _offsets(rows), 0.14
    panel = min(layout.fitting(columns * across, left=0.08, extra=between * (across - 1)), _LARGEST)
    sheet = layout.sheet(
        [panel] * (columns * across),
        [panel] * sum(rows),
        [_CONTOURS, *_footers(strips, left_out)],
        demonstration=demonstration,
        left=0.08,
        top=0.5,
        wider=dict.fromkeys(range(columns, columns * across, columns), between),
        taller=dict.fromkeys(starts[1:], 0.5),
        below=0.26,
    )
    for band, start, height in zip(bands, starts, rows, strict=True):
        for index in range(across):
            strip = band[index] if index < len(band) else None
            _fill_contours(sheet, strip, start, height, index * columns)
    handles = [
        Line2D([], [], color=style.ACTUAL, label="actual"),
        Line2D([], [], color=style.PREDICTED, linestyle=layout.DASHES["dashed"], label="predicted"),
    ]
    sheet.legend(sum(rows) - 1, handles)
    return sheet.figure


def _fill_contours(sheet: layout.Sheet, strip: _Strip | None, start: int, height: int, first: int) -> None:
    columns = 1 + len(METHODS)
    used = len(strip.examples) if strip else 0
    for row in range(start + used, start + height):
        for panel in sheet.panels[row][first : first + columns]:
            panel.set_visible(False)
    if strip is None or not strip.examples:
        return
    sheet.heading(start, first, first + columns - 1, _heading(strip), height=0.29)
    sheet.column_titles(start, ["Image", *map(layout.stacked, _LABELS)], first)
    for row, (example, found) in enumerate(zip(strip.examples, strip.predictions, strict=True), start):
        image, actual = common.shown_image(strip.data, example.row), strip.data.masks[example.row] > 0
        window = detail(actual)
        layout.picture(sheet.panels[row][first], image[window])
        layout.note(sheet.panels[row][first], example.area_text + (", ×3" if window != _WHOLE else ""))
        for panel, prediction in zip(sheet.panels[row][first + 1 : first + columns], found, strict=True):
            if prediction is None:
                layout.empty(panel, "no run")
                continue
            layout.picture(panel, image[window])
            layout.outline(panel, actual[window], style.ACTUAL)
            layout.outline(panel, prediction.labels[window] > 0, style.PREDICTED, dashes="dashed")
            _note_dice(panel, common.dice(prediction.labels > 0, actual))


def _fill_label_maps(sheet: layout.Sheet, strip: _Strip, start: int) -> None:
    if not strip.examples:
        return
    sheet.heading(start, 0, len(sheet.panels[start]) - 1, _heading(strip))
    sheet.column_titles(start, ["Image", "Reference", *_LABELS])
    for row, (example, found) in enumerate(zip(strip.examples, strip.predictions, strict=True), start):
        panels = sheet.panels[row]
        image, reference = common.shown_image(strip.data, example.row), strip.data.masks[example.row]
        layout.picture(panels[0], image)
        layout.note(panels[0], example.area_text)
        layout.picture(panels[1], common.coloured(image, reference))
        for panel, prediction in zip(panels[2:], found, strict=True):
            if prediction is None:
                layout.empty(panel, "no run")
                continue
            layout.picture(panel, common.coloured(image, prediction.labels))
            _box(panel, largest_error(prediction.labels, reference))
            _note_dice(panel, common.mean_dice(prediction.labels, reference))
    colours = [common.class_colour(label) for label in range(1, len(strip.data.classes) + 1)]
    handles = [Patch(color=colour, label=name) for colour, name in zip(colours, strip.data.classes, strict=True)]
    sheet.legend(start + len(strip.examples) - 1, handles)


def _box(panel: Axes, region: tuple[slice, slice] | None, margin: int = 2) -> None:
    if region is None:
        return
    rows, columns = region
    corner = (columns.start - margin - 0.5, rows.start - margin - 0.5)
    size = (columns.stop - columns.start + 2 * margin, rows.stop - rows.start + 2 * margin)
    panel.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=0.8))


def _note_dice(panel: Axes, value: float) -> None:
    layout.note(panel, "both empty" if np.isnan(value) else f"DSC {100 * value:.1f}")


def _heading(strip: _Strip) -> str:
    trained, tested = strip.runs[0].dataset, strip.data.name
    label = dataset_label(tested)
    return label if trained == tested else f"{dataset_label(trained)} → {label} (out of distribution)"


def _footers(strips: Sequence[_Strip], left_out: Sequence[str]) -> list[str]:
    examples = [example for strip in strips for example in strip.examples]
    runs = [run for strip in strips for run in strip.runs]
    empty = sum(strip.empty_panels for strip in strips)
    return [common.case_footer(examples), common.run_footer(runs, empty, left_out)]


def _offsets(counts: Sequence[int]) -> list[int]:
    return [sum(counts[:index]) for index in range(len(counts))]


def _nothing(left_out: Sequence[str], demonstration: bool) -> Figure:
    return layout.nothing(common.left_out_footer(left_out), demonstration=demonstration)
