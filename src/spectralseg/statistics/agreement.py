"""Agreement of two measurements of the same cases: intraclass correlation and weighted kappa."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.statistics.bootstrap import Interval

_ROUNDING = 1e-12
_FEWEST = 3  # cases of an intraclass correlation or of contributions


def intraclass_correlation(ratings: ArrayLike, *, level: float = 0.95) -> Interval:
    """ICC(A,1): two-way, absolute agreement, single measurement (McGraw and Wong 1996; ICC(2,1) of Shrout and Fleiss).

    With mean squares of cases, measurements and the residual, n cases and k measurements, it is
    (MSC - MSE) / (MSC + (k - 1) MSE + k (MSM - MSE) / n). The interval is the approximate one of McGraw and Wong 1996,
    from quantiles of F distributions; it is over cases, which it takes as independent.

    Args:
        ratings: (n, k), one row per case and one column per measurement, such as a method and the reference.
        level: coverage.

    Returns:
        Estimate and limits, at most 1, negative if measurements disagree more than cases differ. NaN with fewer than
        three cases, a value that is not finite, or ratings that are all equal.

    Raises:
        ValueError: the ratings are not (n, k) with k of 2 or more, or the level is not between 0 and 1.

    Examples:
        >>> from spectralseg.statistics import intraclass_correlation
        >>> icc = intraclass_correlation([[1.0, 1.1], [2.0, 2.1], [3.0, 2.8], [4.0, 4.2], [5.0, 4.9]])
        >>> [round(value, 3) for value in icc]
        [0.995, 0.959, 1.0]
        >>> shifted = intraclass_correlation([[1, 3], [2, 4], [3, 5], [4, 6]])  # correlated, but never equal
        >>> round(shifted.estimate, 3)
        0.455
    """
    values = np.asarray(ratings, np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(
            f"the ratings have the shape {values.shape}; pass one row per case, one column per measurement"
        )
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1; give the coverage, such as 0.95")
    n, k = values.shape
    if n < _FEWEST or not np.isfinite(values).all():
        return Interval(*[float("nan")] * 3)
    deviations = values - values.mean()
    of_cases, of_measurements = deviations.mean(1, keepdims=True), deviations.mean(0, keepdims=True)
    cases = k * float(np.sum(of_cases**2)) / (n - 1)
    measurements = n * float(np.sum(of_measurements**2)) / (k - 1)
    residual = float(np.sum((deviations - of_cases - of_measurements) ** 2)) / ((n - 1) * (k - 1))
    total = cases + (k - 1) * residual + k * (measurements - residual) / n
    if not total > 0:
        return Interval(*[float("nan")] * 3)
    return Interval((cases - residual) / total, *_limits(cases, measurements, residual, (n, k), 1 - level))


def _limits(cases: float, measurements: float, residual: float, shape: tuple[int, int], alpha: float) -> list[float]:
    """Limits of ICC(A,1) from the three mean squares."""
    from scipy.special import fdtri  # imported here as it is slow

    n, k = shape
    estimate = (cases - residual) / (cases + (k - 1) * residual + k * (measurements - residual) / n)
    if 1 - estimate < _ROUNDING:  # perfect agreement
        return [1.0, 1.0]
    a = k * estimate / (n * (1 - estimate))
    b = 1 + a * (n - 1)
    parts = a * measurements, b * residual
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (k - 1) + parts[1] ** 2 / ((n - 1) * (k - 1)))
    below, above = float(fdtri(n - 1, freedom, 1 - alpha / 2)), float(fdtri(freedom, n - 1, 1 - alpha / 2))
    rest = k * measurements + (k * n - k - n) * residual
    return [
        n * (cases - below * residual) / (below * rest + n * cases),
        n * (above * cases - residual) / (rest + n * above * cases),
    ]


def weighted_kappa(ratings: ArrayLike) -> float:
    """Cohen's kappa of two ordinal ratings with linear weights (Cohen 1968).

    It is 1 - d / e, with the mean absolute difference d of the ratings of a case, and that of all pairs of cases e.

    Args:
        ratings: (n, 2), whole numbers of ordered categories, such as those of a method and of the reference.

    Returns:
        At most 1; 0 for agreement by chance. NaN without cases, with a value that is not finite, or where all ratings
        are equal.

    Raises:
        ValueError: the ratings are not (n, 2).

    Examples:
        >>> from spectralseg.statistics import weighted_kappa
        >>> round(weighted_kappa([[1, 1], [2, 2], [3, 2], [4, 4], [5, 4]]), 4)
        0.7368
        >>> weighted_kappa([[1, 1], [1, 1]])  # a single category
        nan
    """
    values = np.asarray(ratings, np.float64)
    if values.ndim != 2 or values.shape[1] != 2:
        raise ValueError(f"the ratings have the shape {values.shape}; pass two columns, one row per case")
    if not len(values) or not np.isfinite(values).all():
        return float("nan")
    first, second = values.T
    expected = float(np.abs(first[:, None] - second).mean())
    return 1 - float(np.abs(first - second).mean()) / expected if expected > 0 else float("nan")


def contributions(statistic: Callable[[NDArray[np.float64]], float], ratings: ArrayLike) -> NDArray[np.float64]:
    """Contribution of each case to a statistic of all cases, for intervals that resample cases.

    The contribution is the statistic plus the jackknife influence of the case, (n - 1) times its change without the
    case, centred. The mean of the contributions is the statistic, and their variance over n is that of the statistic to
    first order.

    Args:
        statistic: of ratings (n, k).
        ratings: one row per case, (n, k).

    Returns:
        float64 (n,); all NaN with fewer than three cases, or if the statistic is undefined with or without some case.
    """
    values = np.asarray(ratings, np.float64)
    full = statistic(values) if len(values) >= _FEWEST else float("nan")
    if not np.isfinite(full):
        return np.full(len(values), np.nan)
    influence = (len(values) - 1) * (full - np.array([statistic(np.delete(values, i, 0)) for i in range(len(values))]))
    result: NDArray[np.float64] = full + influence - influence.mean()
    return result
