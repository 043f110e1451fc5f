"""Ranking of pixels by a score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def auroc(scores: NDArray[Any], labels: NDArray[np.bool_]) -> float:
    """Area under the receiver operating characteristic: the probability that a foreground pixel has the larger score.

    Equal scores count half. Compare with 0.5, the value of a score without information.

    Args:
        scores: of any shape.
        labels: foreground, of the same shape.

    Returns:
        In [0, 1]; NaN without foreground or without background.
    """
    foreground = int(labels.sum())
    background = labels.size - foreground
    if not foreground or not background:
        return float("nan")
    ranks = rankdata(scores.ravel())[labels.ravel()]
    return float((ranks.sum() - foreground * (foreground + 1) / 2) / (foreground * background))
