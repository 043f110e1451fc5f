"""Predictions of every method on the same cases, for Figures 5 to 9."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spectralseg.data.prepared import PreparedDataset
from spectralseg.grid import Run
from spectralseg.reporting.drawing import images, layout, style
from spectralseg.reporting.example_cases import (
    METHODS,
    ExampleCase,
    Method,
    Prediction,
    example_cases,
    method_runs,
    predictions,
)
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results

LABELS = [method.label for method in METHODS]
_CONTOURS = (
    "Solid: actual; dashed: predicted. DSC of the whole slice at prepared resolution. Slices of at least 192 pixels "
    "with more than 40 objects show their central third, marked ×3."
)
_LARGEST = 1.2  # inches


@dataclass(frozen=True)
class Strip:
    """Examples of one test dataset with the predictions of every method."""

    methods: Sequence[Method]
    data: PreparedDataset
    runs: list[Run]
    examples: list[ExampleCase]
    predictions: list[list[Prediction | None]]

    @property
    def empty_panels(self) -> int:
        """Number of missing predictions."""
        return sum(prediction is None for row in self.predictions for prediction in row)


def strip_of(
    results: Results,
    trained_on: str,
    tested_on: str,
    select: Callable[[list[ExampleCase]], list[ExampleCase]] = list,
    methods: Sequence[Method] = METHODS,
) -> Strip:
    """Selected examples of a test dataset with the predictions of the methods trained on a dataset."""
    runs = method_runs(results, trained_on, methods)
    examples = select(example_cases(results, trained_on, tested_on, methods))
    by_example = [predictions(results, runs, example) for example in examples]
    return Strip(methods, results.prepared(tested_on), runs, examples, by_example)


def rows_of(strips: Sequence[Strip]) -> list[tuple[PreparedDataset, ExampleCase, list[Prediction | None]]]:
    """Dataset, example and predictions for each example of the strips."""
    return [
        (strip.data, example, by_method)
        for strip in strips
        for example, by_method in zip(strip.examples, strip.predictions, strict=True)
    ]


def predicted(panels: Sequence[Axes], by_method: Sequence[Prediction | None]) -> Iterator[tuple[Axes, Prediction]]:
    """Panels with their predictions; panels without a run are marked as empty."""
    for panel, prediction in zip(panels, by_method, strict=True):
        if prediction is None:
            layout.empty(panel, "no run")
        else:
            yield panel, prediction


def contour_figure(bands: Sequence[Sequence[Strip]], left_out: list[str], demonstration: bool) -> Figure:
    """Bands from top to bottom, strips of a band side by side, one case per row."""
    strips = [strip for band in bands for strip in band]
    rows = [max(len(strip.examples) for strip in band) for band in bands]
    if not sum(rows):
        return layout.no_data(images.left_out_footer(left_out), demonstration=demonstration)
    across, columns = max(len(band) for band in bands), 1 + max(len(strip.methods) for strip in strips)
    starts, between = offsets(rows), 0.14
    panel = min(layout.fitting(columns * across, left=0.08, extra=between * (across - 1)), _LARGEST)
    sheet = layout.sheet(
        [panel] * (columns * across),
        [panel] * sum(rows),
        [_CONTOURS, *footers(strips, left_out)],
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
            _fill_contours(sheet, strip, range(start, start + height), range(index * columns, (index + 1) * columns))
    handles = [
        Line2D([], [], color=style.ACTUAL, label="actual"),
        Line2D([], [], color=style.PREDICTED, linestyle=layout.DASHES["dashed"], label="predicted"),
    ]
    sheet.legend(sum(rows) - 1, handles)
    return sheet.figure


def _fill_contours(sheet: layout.Sheet, strip: Strip | None, rows: range, columns: range) -> None:
    used = len(strip.examples) if strip else 0
    last = columns.start + (len(strip.methods) if strip else 0)
    for row in rows:
        for column in columns:
            if row >= rows.start + used or column > last:
                sheet.panels[row][column].set_visible(False)
    if strip is None or not strip.examples:
        return
    first = columns.start
    sheet.heading(rows.start, first, last, heading_of(strip), height=0.29)
    sheet.column_titles(rows.start, ["Image", *(layout.stacked(method.label) for method in strip.methods)], first)
    for panels, (_, example, by_method) in zip(sheet.panels[rows.start :], rows_of([strip]), strict=False):
        image, actual = images.shown_image(strip.data, example.row), strip.data.masks[example.row] > 0
        window = images.detail(actual)
        layout.picture(panels[first], image[window])
        layout.note(panels[first], example.area_text + (", ×3" if window != images.WHOLE else ""))
        for panel, prediction in predicted(panels[first + 1 : last + 1], by_method):
            layout.picture(panel, image[window])
            layout.outline(panel, actual[window], style.ACTUAL)
            layout.outline(panel, prediction.labels[window] > 0, style.PREDICTED, dashes="dashed")
            note_dice(panel, images.dice(prediction.labels > 0, actual))


def note_dice(panel: Axes, value: float) -> None:
    """Write a Dice coefficient, in percent, into a panel."""
    layout.note(panel, "both empty" if np.isnan(value) else f"DSC {100 * value:.1f}")


def heading_of(strip: Strip) -> str:
    """The test dataset, preceded by the training dataset if they differ."""
    trained, tested = strip.runs[0].dataset, strip.data.name
    label = dataset_label(tested)
    return label if trained == tested else f"{dataset_label(trained)} → {label} (out of distribution)"


def footers(strips: Sequence[Strip], left_out: Sequence[str]) -> list[str]:
    """Two paragraphs: case ids; the rule of selection and the number of missing predictions."""
    examples = [example for strip in strips for example in strip.examples]
    runs = [run for strip in strips for run in strip.runs]
    empty = sum(strip.empty_panels for strip in strips)
    return [images.case_footer(examples), images.run_footer(runs, empty, left_out)]


def offsets(counts: Sequence[int]) -> list[int]:
    """Sum of the preceding counts, for each count."""
    return [sum(counts[:index]) for index in range(len(counts))]
