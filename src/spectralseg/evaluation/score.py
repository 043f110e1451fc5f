"""All metrics of a case, under both protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.data.specification import Fit
from spectralseg.evaluation.label_maps import native_labels, refit_labels, to_labels
from spectralseg.evaluation.lesions import LesionRule, score_lesions
from spectralseg.metrics import policy
from spectralseg.metrics.averaging import OVERLAP, over_units
from spectralseg.metrics.calibration import Reliability
from spectralseg.metrics.overlap import Counts, overlap_counts, slice_counts
from spectralseg.metrics.surface import (
    SurfaceDistances,
    boundary_band,
    boundary_iou,
    boundary_width,
    bounding_box,
    diagonal,
)

TOLERANCE = 2.0  # of the normalised surface Dice, in millimetres if the spacing is known, else in pixels


class Score(NamedTuple):
    """A value of a metric; see :mod:`spectralseg.metrics.records`. Label 0 is the foreground as a whole."""

    label: int
    protocol: str
    metric: str
    value: float
    flag: str


def score_segmentation(
    probabilities: NDArray[np.float32],
    masks: NDArray[np.uint8],
    native: NDArray[np.uint8],
    spacing: Sequence[float] | None,
    classes: int,
    fit: Fit = "resize",
    lesions: LesionRule | None = None,
) -> Iterator[Score]:
    """Overlap and surface distance of a case.

    ``published`` follows the TransUNet protocol: images are scored at network resolution, volumes after a
    nearest-neighbour zoom of the labels to native size (cropped volumes: after padding them). HD95 is the percentile of
    the pooled distances, in pixels.

    ``sound`` scores images and volumes in native geometry, from interpolated probabilities. HD95 is the larger of the
    two directed percentiles, in millimetres if the spacing is known. For volumes it also gives means over slices, each
    with the number of slices, so that the mean over all slices of a test set follows from its cases.

    Args:
        probabilities: (N, C, S, S), one row per slice.
        masks: reference at network resolution, (N, S, S).
        native: reference in native geometry, (H, W) or (D, H, W).
        spacing: millimetres per native axis, or None.
        classes: number of foreground classes.
        fit: how slices were brought to the network size.
        lesions: rule of the case for lesion metrics, under ``sound``; None without them.
    """
    yield from score_labels(*predictions(probabilities, native.shape, fit), masks, native, spacing, classes, lesions)


def score_labels(
    published: NDArray[np.uint8],
    sound: NDArray[np.uint8],
    masks: NDArray[np.uint8],
    native: NDArray[np.uint8],
    spacing: Sequence[float] | None,
    classes: int,
    lesions: LesionRule | None = None,
) -> Iterator[Score]:
    """As :func:`score_segmentation`, from the labels of each protocol; see :func:`predictions`."""
    reference = native if native.ndim == 3 else np.asarray(masks[0])
    yield from _score("published", published, reference, None, overlap_counts(published, reference, classes))
    plane = native.shape[-2:]
    slices = slice_counts(sound.reshape(-1, *plane), native.reshape(-1, *plane), classes)
    yield from _score("sound", sound, native, spacing, Counts(*(count.sum(0) for count in slices)))
    if native.ndim == 3:
        yield from _score_slices(slices)
    if lesions is not None:
        for score in score_lesions(sound, native, spacing, classes, lesions):
            yield Score(score.label, "sound", score.metric, score.value, score.flag)


def predictions(
    probabilities: NDArray[np.float32], shape: Sequence[int], fit: Fit = "resize"
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Labels to score under ``published`` and under ``sound``, for a case of native ``shape``."""
    labels = to_labels(probabilities)
    published = refit_labels(labels, shape, fit) if len(shape) == 3 else labels[0]
    return published, native_labels(probabilities, shape, fit)


def _score(
    protocol: str,
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    spacing: Sequence[float] | None,
    counts: Counts,
) -> Iterator[Score]:
    overlaps = {name: function(counts) for name, function in OVERLAP.items()}
    worst, width = diagonal(reference.shape, spacing), boundary_width(reference.shape, spacing)
    crop = bounding_box(prediction | reference)
    prediction, reference = prediction[crop], reference[crop]
    boxes = zip(*(ndimage.find_objects(labels, len(counts.tp)) for labels in (prediction, reference)), strict=True)
    for class_index, pair in enumerate(boxes):
        label, box = class_index + 1, _joint_box(*pair, dimensions=reference.ndim)
        for name, count in counts._asdict().items():
            yield Score(label, protocol, name, float(count[class_index]), "")
        case = policy.situation(
            int(counts.tp[class_index] + counts.fp[class_index]), int(counts.tp[class_index] + counts.fn[class_index])
        )
        masks = prediction[box] == label, reference[box] == label
        distances = SurfaceDistances.between(*masks, spacing)
        values = {name: float(value[class_index]) for name, value in overlaps.items()}
        if protocol == "published":
            values |= {"hd95": distances.hausdorff95("pooled")}
        else:
            values |= {
                "hd95": distances.hausdorff95("max"),
                "assd": distances.average(),
                "nsd": distances.normalized_dice(TOLERANCE),
                "boundary_iou": boundary_iou(*masks, spacing, width),
            }
        for name, value in values.items():
            yield Score(label, protocol, name, *policy.apply(protocol, name, case, value, worst))
        if protocol == "sound" and case in ("spurious", "absent"):
            yield Score(label, protocol, policy.FALSE_STRUCTURE, float(case == "spurious"), "")


def _joint_box(*boxes: tuple[slice, ...] | None, dimensions: int) -> tuple[slice, ...]:
    """The smallest box around all boxes; an empty one if there are none."""
    present = [box for box in boxes if box]
    if not present:
        return (slice(0, 0),) * dimensions
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*present, strict=True))


def _score_slices(counts: Counts) -> Iterator[Score]:
    """Means of the overlap metrics over slices, and the number of slices.

    Slices without a value, or empty in both prediction and reference, are excluded.
    """
    for metric in OVERLAP:
        mean = over_units(counts, metric, empty=False)
        for k, (value, slices) in enumerate(zip(mean.value, mean.units, strict=True)):
            flag = "" if slices else " ".join(mean.undefined[k])
            yield Score(k + 1, "sound", f"slice_{metric}", float(value), flag)
            yield Score(k + 1, "sound", f"slices_{metric}", float(slices), "")


def reliabilities(
    probabilities: NDArray[np.float32], masks: NDArray[np.uint8], classes: int
) -> dict[tuple[int, str], Reliability]:
    """Sums for the calibration of a case, by label and region. The sums of several cases can be added.

    The region ``image`` holds all pixels, ``band`` those within 10 pixels of the boundary of the class in prediction or
    reference.

    Args:
        probabilities: (N, C, S, S), one row per slice.
        masks: reference at network resolution, (N, S, S).
        classes: number of foreground classes, each against the rest.
    """
    labels, offset = to_labels(probabilities), 0 if probabilities.shape[1] == 1 else 1
    sums = {}
    for label in range(1, classes + 1):
        p, y = probabilities[:, label - 1 + offset], masks == label
        band = boundary_band(labels == label, y)
        sums[label, "image"] = Reliability.of(p, y)
        sums[label, "band"] = Reliability.of(p[band], y[band])
    return sums


def score_reliabilities(reliability: Mapping[tuple[int, str], Reliability]) -> Iterator[Score]:
    """Calibration errors of a case, or of several cases whose sums were added.

    ``sound`` gives the errors of :mod:`spectralseg.metrics.calibration`, with 15 equal-width bins, over the image and,
    with the prefix ``band_``, near the boundary. ``published`` gives mean and maximum over the two true classes.
    """
    for (label, region), sums in reliability.items():
        prefix = "" if region == "image" else f"{region}_"
        values = {
            "ece": sums.expected_error(),
            "mce": sums.maximum_error(),
            "ace": sums.adaptive_error(),
            "brier": sums.brier(),
            "nll": sums.negative_log_likelihood(),
        }
        for metric, value in values.items():
            yield Score(label, "sound", prefix + metric, value, "no boundary" if np.isnan(value) else "")
        if region == "image":
            for metric, value in zip(("ece", "mce"), sums.two_class(), strict=True):
                yield Score(label, "published", metric, value, "one class" if np.isnan(value) else "")
