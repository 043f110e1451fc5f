"""Overlap metrics from pixel counts, which serve per-case, per-class and pooled means alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.metrics import _arguments

_CHUNK = 1 << 20


class Counts(NamedTuple):
    """Pixels per foreground class, each an int64 array (K,), or (n, K) for n images, slices or cases."""

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]
    tn: NDArray[np.int64]


def overlap_counts(prediction: ArrayLike, reference: ArrayLike, classes: int) -> Counts:
    """Count pixels of labels 1..``classes``, one class against all others.

    Args:
        prediction: integer labels of any shape.
        reference: integer labels of the same shape.
        classes: number of foreground classes K.

    Returns:
        Counts of shape (K,).

    Raises:
        ValueError: the shapes differ, the labels are not integers or outside 0..K, or K is not a whole number of 1 or
            more.
    """
    pairs = _pairs(prediction, reference, classes).ravel()
    starts = range(0, pairs.size, _CHUNK)
    table = sum((_table(pairs[start : start + _CHUNK], classes) for start in starts), _table(pairs[:0], classes))
    return _counts(table)


def slice_counts(prediction: ArrayLike, reference: ArrayLike, classes: int) -> Counts:
    """As :func:`overlap_counts`, per index of the first axis; counts of shape (n, K)."""
    pairs = _pairs(prediction, reference, classes)
    tables = [_table(plane, classes) for plane in pairs]
    return _counts(np.array(tables, np.int64).reshape(-1, classes + 1, classes + 1))


def dice(counts: Counts) -> NDArray[np.float64]:
    """2TP / (2TP + FP + FN) per class in [0, 1]; NaN where prediction and reference are both empty."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def iou(counts: Counts) -> NDArray[np.float64]:
    """TP / (TP + FP + FN) per class in [0, 1]; NaN where prediction and reference are both empty."""
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def sensitivity(counts: Counts) -> NDArray[np.float64]:
    """TP / (TP + FN) per class in [0, 1]; NaN where the reference is empty."""
    return _ratio(counts.tp, counts.tp + counts.fn)


def precision(counts: Counts) -> NDArray[np.float64]:
    """TP / (TP + FP) per class in [0, 1]; NaN where the prediction is empty."""
    return _ratio(counts.tp, counts.tp + counts.fp)


def specificity(counts: Counts) -> NDArray[np.float64]:
    """TN / (TN + FP) per class in [0, 1]; NaN where the reference fills the image."""
    return _ratio(counts.tn, counts.tn + counts.fp)


def accuracy(counts: Counts) -> NDArray[np.float64]:
    """(TP + TN) / all per class in [0, 1]; NaN for an image without pixels."""
    return _ratio(counts.tp + counts.tn, sum(counts))


def _pairs(prediction: ArrayLike, reference: ArrayLike, classes: int) -> NDArray[Any]:
    """Both labels of each pixel as one number, of the smallest type that holds it."""
    prediction, reference, classes = np.asarray(prediction), np.asarray(reference), _arguments.count("classes", classes)
    if prediction.shape != reference.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {reference.shape}")
    for labels in (prediction, reference):
        if labels.dtype.kind not in "biu":
            raise ValueError(f"labels are {labels.dtype}, not integers; round or threshold them")
        if labels.size and not 0 <= labels.min() <= labels.max() <= classes:
            raise ValueError(f"labels outside 0..{classes}")
    kind = np.min_scalar_type((classes + 1) ** 2 - 1)
    pairs = reference.astype(kind)
    pairs *= kind.type(classes + 1)
    pairs += prediction.astype(kind, copy=False)
    return pairs


def _table(pairs: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Confusion matrix (K + 1, K + 1), reference by prediction."""
    size = classes + 1
    table = np.bincount(pairs[pairs > 0], minlength=size * size)  # counting background on background is slow
    table[0] = pairs.size - table.sum()
    return table.reshape(size, size)


def _counts(table: NDArray[np.int64]) -> Counts:
    """Counts of confusion matrices (..., K + 1, K + 1)."""
    tp = np.diagonal(table, axis1=-2, axis2=-1)[..., 1:]
    fp, fn = table.sum(-2)[..., 1:] - tp, table.sum(-1)[..., 1:] - tp
    return Counts(tp, fp, fn, table.sum((-2, -1))[..., None] - tp - fp - fn)


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    ratio: NDArray[np.float64] = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
    return ratio
