"""Images and masks of cases in figures, label colours, and footers about cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.data.prepared import PreparedDataset
from spectralseg.grid import Run
from spectralseg.reporting.drawing import style
from spectralseg.reporting.example_cases import RULE, ExampleCase
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results

WHOLE = (slice(None), slice(None))
_CROWDED, _LARGE = 40, 192


def shown_image(data: PreparedDataset, row: int) -> NDArray[np.float64]:
    """An image of a prepared dataset scaled to [0, 1], (S, S, channels)."""
    image = data.images[row]
    return np.asarray(image, np.float64) / np.iinfo(image.dtype).max


def coloured(image: NDArray[np.float64], labels: NDArray[np.uint8], opacity: float = 0.75) -> NDArray[np.float64]:
    """An image (S, S, 1 or 3) with its labels in the colours of the classes, (S, S, 3)."""
    canvas = np.broadcast_to(image, (*labels.shape, 3)).copy()
    for label in np.unique(labels[labels > 0]):
        here = labels == label
        canvas[here] = (1 - opacity) * canvas[here] + opacity * np.array(class_colour(int(label)))
    return canvas


def class_colour(label: int) -> tuple[float, float, float]:
    """Colour of a class label, from 1 on; colours repeat after the eighth."""
    return to_rgb(style.CLASS_COLOURS[(label - 1) % len(style.CLASS_COLOURS)])


def detail(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The visible part of a slice: all of it, or its central third where outlines of many objects would merge."""
    if min(mask.shape) < _LARGE or ndimage.label(mask)[1] <= _CROWDED:
        return WHOLE
    rows, columns = (slice(side // 3, side - side // 3) for side in mask.shape)
    return rows, columns


def dice(prediction: NDArray[Any], reference: NDArray[Any]) -> float:
    """Dice coefficient of two boolean masks; NaN where both are empty."""
    total = int(prediction.sum()) + int(reference.sum())
    return 2 * int((prediction & reference).sum()) / total if total else float("nan")


def mean_dice(prediction: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Mean Dice coefficient over the classes of either label map; NaN where both are empty."""
    present = np.union1d(prediction, reference)
    values = [dice(prediction == label, reference == label) for label in present[present > 0]]
    return float(np.mean(values)) if values else float("nan")


def available(results: Results, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The datasets among ``names`` that are prepared, and those that are not."""
    names = list(names)
    prepared = [name for name in names if name in results.prepared_names]
    return prepared, [name for name in names if name not in prepared]


def case_footer(examples: Sequence[ExampleCase]) -> str:
    """The case ids by dataset."""
    cases: dict[str, list[str]] = {}
    for example in examples:
        cases.setdefault(dataset_label(example.dataset), []).append(example.case)
    return "; ".join(f"{name}: {', '.join(ids)}" for name, ids in cases.items()) + "." if cases else "No case is shown."


def run_footer(runs: Iterable[Run], empty_panels: int, left_out: Sequence[str]) -> str:
    """The rule of selection, the seeds, and the number of missing predictions."""
    seeds = sorted({run.seed for run in runs})
    seed = f"Seed {', '.join(map(str, seeds))}." if seeds else ""
    missing = f"Panels without a run: {empty_panels}." if empty_panels else "No run is missing."
    return " ".join(part for part in (RULE, seed, missing, left_out_footer(left_out)) if part)


def left_out_footer(names: Sequence[str]) -> str:
    """The datasets of the figure that are not prepared; empty if all are."""
    labels = ", ".join(dataset_label(name) for name in names)
    return f"Not prepared and therefore left out ({len(names)}): {labels}." if names else ""
