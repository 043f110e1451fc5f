"""Overlap metrics from counts, so that per-case, pooled and per-class means all come from the same stored numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Counts(NamedTuple):
    """Pixels per foreground class, each an int64 array (K,)."""

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]
    tn: NDArray[np.int64]


def overlap_counts(prediction: NDArray[Any], reference: NDArray[Any], classes: int) -> Counts:
    """Count pixels of labels 1..``classes``, one class against all others.

    Args:
        prediction: integer labels of any shape.
        reference: integer labels of the same shape.
        classes: number of foreground classes K.

    Raises:
        ValueError: the shapes differ or a label is outside 0..K.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {reference.shape}")
    size = classes + 1
    pair = reference.astype(np.int64).ravel() * size + prediction.astype(np.int64).ravel()
    if pair.size and (min(prediction.min(), reference.min()) < 0 or max(prediction.max(), reference.max()) > classes):
        raise ValueError(f"labels outside 0..{classes}")
    table = np.bincount(pair, minlength=size * size).reshape(size, size)
    tp = np.diag(table)[1:]
    fp, fn = table.sum(0)[1:] - tp, table.sum(1)[1:] - tp
    return Counts(tp, fp, fn, pair.size - tp - fp - fn)


def dice(counts: Counts) -> NDArray[np.float64]:
    """2TP / (2TP + FP + FN) per class in [0, 1]; NaN where prediction and reference are both empty."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def iou(counts: Counts) -> NDArray[np.float64]:
    """TP / (TP + FP + FN) per class in [0, 1]; NaN where prediction and reference are both empty."""
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def sensitivity(counts: Counts) -> NDArray[np.float64]:
    """TP / (TP + FN) per class in [0, 1]; NaN where the reference is empty."""
    return _ratio(counts.tp, counts.tp + counts.fn)


def specificity(counts: Counts) -> NDArray[np.float64]:
    """TN / (TN + FP) per class in [0, 1]; NaN where the reference fills the image."""
    return _ratio(counts.tn, counts.tn + counts.fp)


def accuracy(counts: Counts) -> NDArray[np.float64]:
    """(TP + TN) / all per class in [0, 1]; NaN for an image without pixels."""
    return _ratio(counts.tp + counts.tn, sum(counts))


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    ratio: NDArray[np.float64] = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
    return ratio
