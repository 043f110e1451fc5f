"""All metrics of one case under both protocols."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spectralseg import metrics
from spectralseg.data.resize import resize_labels
from spectralseg.evaluation.predict import native_labels, to_labels
from spectralseg.metrics import policy
from spectralseg.metrics.surface import diagonal


class Score(NamedTuple):
    """One value; see :mod:`spectralseg.metrics.records`."""

    label: int
    protocol: str
    metric: str
    value: float
    flag: str


_OVERLAP = {
    "dsc": metrics.dice,
    "iou": metrics.iou,
    "sensitivity": metrics.sensitivity,
    "specificity": metrics.specificity,
    "accuracy": metrics.accuracy,
}


def score_segmentation(
    probabilities: NDArray[np.float32],
    masks: NDArray[np.uint8],
    native: NDArray[np.uint8],
    spacing: Sequence[float] | None,
    classes: int,
) -> Iterator[Score]:
    """Overlap and surface distance of a case.

    ``published`` repeats the TransUNet protocol: images are scored at network resolution, volumes after a
    nearest-neighbour zoom of the labels to native size; distances are in pixels, pooled. ``sound`` scores both in
    native geometry from interpolated probabilities; distances are in millimetres where the spacing is known, the
    larger of the two directed percentiles.

    Args:
        probabilities: (N, C, S, S), one row per slice.
        masks: reference at network resolution, (N, S, S).
        native: reference in native geometry, (H, W) or (D, H, W).
        spacing: millimetres per native axis, or None.
        classes: number of foreground classes.
    """
    labels = to_labels(probabilities)
    if native.ndim == 3:
        size = (native.shape[1], native.shape[2])
        published = np.stack([resize_labels(plane, size) for plane in labels]), native
    else:
        published = labels[0], np.asarray(masks[0])
    sound = native_labels(probabilities, native.shape), native
    yield from _score("published", *published, None, "pooled", classes)
    yield from _score("sound", *sound, spacing, "max", classes)


def _score(
    protocol: str,
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    spacing: Sequence[float] | None,
    definition: Any,
    classes: int,
) -> Iterator[Score]:
    counts = metrics.overlap_counts(prediction, reference, classes)
    worst = diagonal(reference.shape, spacing)
    overlaps = {name: function(counts) for name, function in _OVERLAP.items()}
    for k in range(classes):
        label = k + 1
        for name, count in counts._asdict().items():
            yield _explained(label, protocol, name, float(count[k]))
        predicted, present = counts.tp[k] + counts.fp[k], counts.tp[k] + counts.fn[k]
        case = policy.situation(int(predicted), int(present))
        distance = metrics.hausdorff95(prediction == label, reference == label, spacing, definition)
        for name, value in [*((name, values[k]) for name, values in overlaps.items()), ("hd95", distance)]:
            yield _explained(label, protocol, name, *policy.apply(protocol, name, case, float(value), worst))


def score_calibration(probabilities: NDArray[np.float32], masks: NDArray[np.uint8], classes: int) -> Iterator[Score]:
    """Calibration of a case at network resolution, each foreground class against the rest.

    ``sound``: 15 equal-width bins; ``published``: mean and maximum over the two true classes.
    """
    offset = 0 if probabilities.shape[1] == 1 else 1
    for k in range(classes):
        p, y = probabilities[:, k + offset], masks == k + 1
        yield _explained(k + 1, "sound", "ece", metrics.expected_calibration_error(p, y))
        yield _explained(k + 1, "sound", "mce", metrics.maximum_calibration_error(p, y))
        mean, largest = metrics.two_class_calibration(p, y)
        flag = "one class" if np.isnan(mean) else ""
        yield _explained(k + 1, "published", "ece", mean, flag)
        yield _explained(k + 1, "published", "mce", largest, flag)


def _explained(label: int, protocol: str, metric: str, value: float, flag: str = "") -> Score:
    """A score that has a flag wherever its value is NaN."""
    return Score(label, protocol, metric, value, flag or ("not defined" if np.isnan(value) else ""))
