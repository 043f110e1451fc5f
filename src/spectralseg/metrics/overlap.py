"""Overlap metrics from pixel counts, which serve per-case, per-class and pooled means alike.

The metrics take :class:`Counts` of any number type. Counts of different shapes, negative or NaN, are a ``ValueError``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.metrics import _arguments

_CHUNK = 1 << 20


class Counts(NamedTuple):
    """Pixels per foreground class, each an int64 array (K,), or (n, K) for n images, slices or cases.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import Counts, overlap_counts
        >>> first = overlap_counts(np.array([[0, 1], [1, 1]]), np.array([[0, 0], [1, 1]]), classes=1)
        >>> first.tp.tolist(), first.fp.tolist(), first.fn.tolist(), first.tn.tolist()
        ([2], [1], [0], [1])
        >>> second = overlap_counts(np.zeros((2, 2), int), np.array([[0, 0], [0, 1]]), classes=1)
        >>> pooled = Counts(*(a + b for a, b in zip(first, second, strict=True)))
        >>> pooled.fn.tolist()
        [1]
    """

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

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import dice, overlap_counts
        >>> reference = np.array([[0, 0, 1], [0, 2, 1]])
        >>> prediction = np.array([[0, 0, 1], [0, 2, 2]])
        >>> counts = overlap_counts(prediction, reference, classes=3)
        >>> counts.tp.tolist(), counts.fp.tolist(), counts.fn.tolist()
        ([1, 1, 0], [0, 1, 0], [1, 0, 0])
        >>> dice(counts).round(4).tolist()  # class 3 is in neither
        [0.6667, 0.6667, nan]
    """
    pairs = _pairs(prediction, reference, classes).ravel()
    starts = range(0, pairs.size, _CHUNK)
    table = sum((_table(pairs[start : start + _CHUNK], classes) for start in starts), _table(pairs[:0], classes))
    return _counts(table)


def slice_counts(prediction: ArrayLike, reference: ArrayLike, classes: int) -> Counts:
    """As :func:`overlap_counts`, per index of the first axis; counts of shape (n, K).

    Raises:
        ValueError: as for :func:`overlap_counts`, or the labels have no axis.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import dice, slice_counts
        >>> reference = np.zeros((3, 4, 4), int)
        >>> reference[:2, 1:3, 1:3] = 1
        >>> prediction = reference.copy()
        >>> prediction[1, 1] = 0
        >>> counts = slice_counts(prediction, reference, classes=1)
        >>> counts.tp.shape
        (3, 1)
        >>> dice(counts)[:, 0].round(4).tolist()  # the last slice is empty
        [1.0, 0.6667, nan]
    """
    pairs = _pairs(prediction, reference, classes)
    if not pairs.ndim:
        raise ValueError("labels have no axis; pass slices (N, H, W)")
    tables = [_table(plane, classes) for plane in pairs]
    return _counts(np.array(tables, np.int64).reshape(-1, classes + 1, classes + 1))


def dice(counts: Counts) -> NDArray[np.float64]:
    """2TP / (2TP + FP + FN) per class in [0, 1]; NaN where prediction and reference are both empty.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import dice, overlap_counts
        >>> reference = np.array([[0, 1, 1], [0, 1, 1]])
        >>> prediction = np.array([[0, 0, 1], [0, 1, 1]])
        >>> dice(overlap_counts(prediction, reference, classes=1)).round(4).tolist()
        [0.8571]
        >>> empty = np.zeros((2, 3), int)
        >>> dice(overlap_counts(empty, reference, classes=1)).tolist()
        [0.0]
        >>> dice(overlap_counts(empty, empty, classes=1)).tolist()
        [nan]
    """
    tp, fp, fn, _ = _checked(counts)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def iou(counts: Counts) -> NDArray[np.float64]:
    """TP / (TP + FP + FN) per class in [0, 1]; NaN where prediction and reference are both empty.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import iou, overlap_counts
        >>> reference = np.array([[0, 1, 1], [0, 1, 1]])
        >>> prediction = np.array([[0, 0, 1], [0, 1, 1]])
        >>> iou(overlap_counts(prediction, reference, classes=1)).tolist()
        [0.75]
    """
    tp, fp, fn, _ = _checked(counts)
    return _ratio(tp, tp + fp + fn)


def sensitivity(counts: Counts) -> NDArray[np.float64]:
    """TP / (TP + FN) per class in [0, 1]; NaN where the reference is empty.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import overlap_counts, sensitivity
        >>> reference = np.array([[0, 1, 1], [0, 1, 1]])
        >>> prediction = np.array([[1, 1, 1], [0, 1, 0]])
        >>> sensitivity(overlap_counts(prediction, reference, classes=1)).tolist()
        [0.75]
        >>> sensitivity(overlap_counts(prediction, np.zeros((2, 3), int), classes=1)).tolist()
        [nan]
    """
    tp, _, fn, _ = _checked(counts)
    return _ratio(tp, tp + fn)


def precision(counts: Counts) -> NDArray[np.float64]:
    """TP / (TP + FP) per class in [0, 1]; NaN where the prediction is empty.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import overlap_counts, precision
        >>> reference = np.array([[0, 1, 1], [0, 1, 1]])
        >>> prediction = np.array([[1, 1, 1], [0, 1, 0]])
        >>> precision(overlap_counts(prediction, reference, classes=1)).tolist()
        [0.75]
        >>> precision(overlap_counts(np.zeros((2, 3), int), reference, classes=1)).tolist()
        [nan]
    """
    tp, fp, _, _ = _checked(counts)
    return _ratio(tp, tp + fp)


def specificity(counts: Counts) -> NDArray[np.float64]:
    """TN / (TN + FP) per class in [0, 1]; NaN where the reference fills the image.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import overlap_counts, specificity
        >>> reference = np.array([[0, 1, 1], [0, 1, 1]])
        >>> prediction = np.array([[1, 1, 1], [0, 1, 0]])
        >>> specificity(overlap_counts(prediction, reference, classes=1)).tolist()
        [0.5]
    """
    _, fp, _, tn = _checked(counts)
    return _ratio(tn, tn + fp)


def accuracy(counts: Counts) -> NDArray[np.float64]:
    """(TP + TN) / all per class in [0, 1]; NaN for an image without pixels.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import accuracy, overlap_counts
        >>> reference = np.zeros((100, 100), int)
        >>> reference[:5, :2] = 1
        >>> missed = np.zeros((100, 100), int)
        >>> accuracy(overlap_counts(missed, reference, classes=1)).tolist()  # high, as the background is large
        [0.999]
    """
    tp, fp, fn, tn = _checked(counts)
    return _ratio(tp + tn, tp + fp + fn + tn)


def _pairs(prediction: ArrayLike, reference: ArrayLike, classes: int) -> NDArray[Any]:
    """Both labels of each pixel as one number, of the smallest type that holds it."""
    classes = _arguments.count("classes", classes)
    prediction, reference = _arguments.as_array("prediction", prediction), _arguments.as_array("reference", reference)
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


def _checked(counts: Counts) -> tuple[NDArray[np.float64], ...]:
    """TP, FP, FN and TN in double precision: sums of small integers would overflow.

    Raises:
        ValueError: they are not four arrays of one shape, or a count is negative or NaN.
    """
    parts = tuple(np.asarray(part, np.float64) for part in counts)
    shapes = sorted({part.shape for part in parts})
    if len(parts) != len(Counts._fields) or len(shapes) != 1:
        raise ValueError(f"counts have the shapes {', '.join(map(str, shapes))}; pass Counts of four equal shapes")
    if not all((part >= 0).all() for part in parts):
        raise ValueError("a count of pixels is negative or NaN; pass the counts of overlap_counts or sums of them")
    return parts


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    undefined = np.full(numerator.shape, np.nan)
    ratio: NDArray[np.float64] = np.divide(numerator, denominator, out=undefined, where=denominator > 0)
    return ratio
