"""Stability of rankings of methods over seeds and patients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.statistics.bootstrap import Interval


class Stability(NamedTuple):
    """Stability of a ranking of M methods.

    Attributes:
        ranks: rank of each method from all data, (M,); 1 is best, ties have their mean rank.
        low: lower limit of each rank over resamples, (M,).
        high: upper limit, (M,).
        wins: share of resamples in which each method ranks first, (M,); ties are divided.
        tau: Kendall's τ between the rankings of a resample and of all data: mean and limits over resamples, except
            those in which all methods are equal; NaN without any.

    Examples:
        >>> from spectralseg.statistics import ranking_stability
        >>> scores = [[[0.9, 0.8, 0.7]] * 3, [[0.8, 0.7, 0.6]] * 3]  # two methods, three seeds, three cases
        >>> stability = ranking_stability(scores)
        >>> stability.ranks.tolist(), stability.wins.tolist()
        ([1.0, 2.0], [1.0, 0.0])
        >>> stability.tau.estimate
        1.0
    """

    ranks: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    wins: NDArray[np.float64]
    tau: Interval


def ranking_stability(
    scores: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    higher_is_better: bool = True,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Stability:
    """Rank methods by their mean score in resamples of seeds and groups (Wiesenfarth et al. 2021 resample cases).

    All methods have the same resampled seeds and groups. With few seeds the limits are too narrow, as in bootstraps.

    Args:
        scores: (methods, seeds, cases), NaN where undefined.
        groups: (cases,) group of each case; None makes every case its own group.
        higher_is_better: whether the largest mean has rank 1.
        level: coverage of the limits.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Raises:
        ValueError: there are fewer than two methods, or one has no defined score.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.statistics import ranking_stability
        >>> rng = np.random.default_rng(0)
        >>> scores = np.array([0.80, 0.81, 0.60])[:, None, None] + 0.05 * rng.standard_normal((3, 3, 40))
        >>> stability = ranking_stability(scores)
        >>> stability.ranks.tolist()
        [1.0, 2.0, 3.0]
        >>> stability.low.tolist(), stability.high.tolist()  # the first two may change places
        ([1.0, 1.0, 3.0], [2.0, 2.0, 3.0])
    """
    values = np.asarray(scores, np.float64)
    defined = np.isfinite(values)
    if values.ndim != 3 or len(values) < 2 or not defined.any((1, 2)).all():
        raise ValueError(f"scores of shape {values.shape} do not rank; give some of at least two methods")
    labels = np.arange(values.shape[2]) if groups is None else np.asarray(groups)
    members = np.equal.outer(np.unique(labels), labels).astype(np.float64)  # (groups, cases)
    sums, counts = (part @ members.T for part in (np.where(defined, values, 0), defined.astype(np.float64)))
    rng = np.random.default_rng(seed)
    by_seed, by_group = (rng.multinomial(n, np.full(n, 1 / n), resamples) for n in sums.shape[1:])
    tops, bottoms = (np.einsum("bs,msg,bg->bm", by_seed, part, by_group, optimize=True) for part in (sums, counts))
    usable = (bottoms > 0).all(1)
    from scipy import stats  # imported here as it is slow

    sign = -1 if higher_is_better else 1
    ranks = stats.rankdata(sign * sums.sum((1, 2)) / counts.sum((1, 2)))
    resampled = stats.rankdata(sign * tops[usable] / bottoms[usable], axis=1)
    leads = resampled == resampled.min(1, keepdims=True)
    limits = [(1 - level) / 2, (1 + level) / 2]
    taus = [tau for row in resampled if np.isfinite(tau := float(stats.kendalltau(ranks, row).statistic))] or [np.nan]
    low, high = np.quantile(resampled, limits, axis=0)
    return Stability(
        ranks,
        low,
        high,
        (leads / leads.sum(1, keepdims=True)).mean(0),
        Interval(float(np.mean(taus)), *map(float, np.quantile(taus, limits))),
    )
