"""Ranking of pixels by a score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from spectralseg.metrics import _arguments


def auroc(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    """Area under the receiver operating characteristic: the probability that a foreground pixel has the larger score.

    Equal scores count half. Compare with 0.5, the value of a score without information.

    Args:
        scores: numbers of any shape.
        labels: foreground, booleans or 0 and 1 of the same shape.

    Returns:
        In [0, 1]; NaN without foreground or without background.

    Raises:
        ValueError: the shapes differ, a score is NaN or not a number, or a label is neither 0 nor 1.
    """
    scores, labels = _arguments.as_array("scores", scores), _arguments.as_array("labels", labels)
    if scores.shape != labels.shape:
        raise ValueError(f"shapes differ: {scores.shape} and {labels.shape}")
    if scores.dtype.kind not in "biuf" or np.isnan(scores).any():
        raise ValueError("scores are not numbers, or some are NaN; pass one number for each pixel")
    labels = _arguments.binary_labels(labels)
    foreground = int(labels.sum())
    background = labels.size - foreground
    if not foreground or not background:
        return float("nan")
    ranks = rankdata(scores.ravel())[labels.ravel()]
    return float((ranks.sum() - foreground * (foreground + 1) / 2) / (foreground * background))
