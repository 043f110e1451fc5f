"""Paired two-way bootstrap over seeds and patients."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Interval(NamedTuple):
    """A mean with the limits of its interval."""

    estimate: float
    low: float
    high: float


def paired_interval(
    differences: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean difference with a percentile interval that resamples seeds and, independently, groups.

    Seeds and cases are crossed, so neither many cases nor many seeds alone make the interval narrow (the "pigeonhole"
    bootstrap of Owen 2007). All cases of a group are drawn together.

    With few seeds the interval is too narrow: in simulated studies with 60 groups and normal differences, the nominal
    95 % interval holds the truth about 81 % of the time with three seeds, 89 % with five, and 93 % with ten or thirty.
    With one seed it says nothing about seeds at all.

    Args:
        differences: (seeds, cases) paired differences; NaN where undefined.
        groups: (cases,) group of each case; None makes every case its own.
        level: coverage.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        NaN for all three where no difference is defined.
    """
    values = np.atleast_2d(np.asarray(differences, np.float64))
    members = np.arange(values.shape[1]) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    defined = np.isfinite(values)
    if not defined.any():
        return Interval(*[float("nan")] * 3)
    sums = _by_group(np.where(defined, values, 0), members)
    counts = _by_group(defined.astype(np.float64), members)
    seed_weights, group_weights = _weights(resamples, *sums.shape, seed)
    top = ((seed_weights @ sums) * group_weights).sum(1)
    bottom = ((seed_weights @ counts) * group_weights).sum(1)
    means = top[bottom > 0] / bottom[bottom > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))


def _by_group(values: NDArray[np.float64], members: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.stack([np.bincount(members, row) for row in values])


@lru_cache(maxsize=32)
def _weights(resamples: int, seeds: int, groups: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often each seed and each group is drawn in each resample; shared by all intervals of one shape."""
    rng = np.random.default_rng(seed)
    draws = (rng.multinomial(size, np.full(size, 1 / size), resamples).astype(np.float64) for size in (seeds, groups))
    by_seed, by_group = draws
    return by_seed, by_group
