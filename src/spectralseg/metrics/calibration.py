"""Calibration of foreground probabilities, pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def expected_calibration_error(probabilities: NDArray[Any], labels: NDArray[Any], bins: int = 15) -> float:
    """Mean gap between predicted probability and observed frequency over equal-width bins, weighted by pixels.

    Args:
        probabilities: foreground probabilities in [0, 1], any shape.
        labels: 0 or 1, the same shape.
        bins: number of bins over [0, 1].

    Returns:
        ECE in [0, 1] (Naeini et al. 2015); NaN without pixels.
    """
    count, gap = _gaps(probabilities, labels, np.linspace(0, 1, bins + 1))
    return float((count * gap).sum() / count.sum()) if count.sum() else float("nan")


def maximum_calibration_error(
    probabilities: NDArray[Any], labels: NDArray[Any], bins: int = 15, least_share: float = 0.001
) -> float:
    """Largest gap over equal-width bins that hold at least ``least_share`` of the pixels; in [0, 1], NaN if none."""
    count, gap = _gaps(probabilities, labels, np.linspace(0, 1, bins + 1))
    kept = (count > 0) & (count >= least_share * count.sum())
    return float(gap[kept].max()) if kept.any() else float("nan")


def adaptive_calibration_error(probabilities: NDArray[Any], labels: NDArray[Any], bins: int = 15) -> float:
    """As :func:`expected_calibration_error` with bins that hold equally many pixels (quantiles)."""
    if np.size(probabilities) == 0:
        return float("nan")
    edges = np.unique(np.quantile(np.asarray(probabilities, np.float64), np.linspace(0, 1, bins + 1)))
    count, gap = _gaps(probabilities, labels, edges)
    return float((count * gap).sum() / count.sum())


def two_class_calibration(probabilities: NDArray[Any], labels: NDArray[Any]) -> tuple[float, float]:
    """Mean and maximum over the two true classes of 1 - mean probability of that class.

    The only simple reading that gives the nearly constant ratio of the paper's MCE and ECE (1.84 to 1.96 in all
    sixteen cells of its Table 4); kept for comparison. NaN where a class is absent.
    """
    p, y = np.asarray(probabilities, np.float64).ravel(), np.asarray(labels).ravel() > 0
    if not y.any() or y.all():
        return float("nan"), float("nan")
    errors = (1 - p[y].mean(), p[~y].mean())
    return float(np.mean(errors)), float(max(errors))


def _gaps(
    probabilities: NDArray[Any], labels: NDArray[Any], edges: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pixels per bin, and |mean probability - frequency| per bin (0 in empty bins). The last bin holds its edge."""
    p, y = np.asarray(probabilities, np.float64).ravel(), np.asarray(labels, np.float64).ravel()
    index = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, max(len(edges) - 2, 0))
    size = max(len(edges) - 1, 1)
    count = np.bincount(index, minlength=size)
    difference = np.bincount(index, p - y, minlength=size)
    return count, np.abs(np.divide(difference, count, out=np.zeros(size), where=count > 0))
