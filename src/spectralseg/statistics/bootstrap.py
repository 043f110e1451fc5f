"""Intervals for mean paired differences over seeds and patients."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000


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
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean difference with a two-way interval: for other seeds and, at the same time, for other groups.

    Seeds and cases are crossed, so neither many cases nor many seeds alone make the interval narrow. Groups are
    resampled with replacement, all cases of a group together. Seeds are not: of three there are ten different
    resamples, none of them wide enough, and a percentile interval that draws both (the "pigeonhole" bootstrap of Owen
    2007) holds the truth 76 to 86 % of the time instead of 95 where seeds matter. Their part of the variance is
    estimated from the two-way layout instead, and drawn from a t distribution with as many degrees of freedom as there
    are seeds less one. See benchmarks/README.md for the coverage in simulations.

    With one seed the interval is about groups only, with one group about seeds only.

    Args:
        differences: (seeds, cases) paired differences, NaN where undefined. All are weighted alike, so that a group
            counts as much as it has defined cases. With classes in front, (classes, seeds, cases), the mean over
            classes of their means; a class without any defined difference does not count.
        groups: (cases,) group of each case; None makes every case its own.
        level: coverage.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        In units of the differences. NaN for all three where no difference is defined; NaN for the limits where only one
        seed and one group are.

    Raises:
        ValueError: there are not as many groups as cases.
    """
    estimate, draws = mean_and_draws(differences, groups, resamples=resamples, seed=seed)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]) if len(draws) else (float("nan"),) * 2
    return Interval(estimate, float(low), float(high))


def mean_and_draws(
    differences: ArrayLike, groups: ArrayLike | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, NDArray[np.float64]]:
    """The mean difference and a sample of its confidence distribution, whose quantiles are the limits of intervals.

    Arguments and errors as for :func:`paired_interval`.

    Returns:
        NaN and no draw where no difference is defined; no draw where one seed and one group are.
    """
    values = np.atleast_2d(np.asarray(differences, np.float64))
    labels = np.arange(values.shape[-1]) if groups is None else np.asarray(groups)
    if labels.shape != values.shape[-1:]:
        raise ValueError(f"there are {values.shape[-1]} cases and {labels.size} groups; give one group per case")
    values = values if values.ndim > 2 else values[None]
    defined = np.isfinite(values)
    if not defined.any():
        return float("nan"), np.empty(0)
    # A seed, group or class without any defined difference says nothing; counted in, it would say that it agrees.
    shown = [np.asarray(defined.any(tuple({0, 1, 2} - {kept}))) for kept in range(3)]
    classes = list(values[np.ix_(*shown)])
    members = np.unique(labels[shown[2]], return_inverse=True)[1]
    parts = [_by_group(one, members) for one in classes]
    estimates = [sums.sum() / counts.sum() for sums, counts in parts]
    # How much each seed and group pulls the mean of its class; these add up to 0.
    pulls = [(sums - mean * counts) / counts.mean() for mean, (sums, counts) in zip(estimates, parts, strict=True)]
    if pulls[0].size == 1:  # one seed and one group: nothing varies, so nothing is known of others
        return float(np.mean(estimates)), np.empty(0)
    drawn, widths, of_seeds = _randomness(resamples, *pulls[0].shape, seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # where a resample has no defined cell
        of_groups = sum(
            drawn @ pull.mean(0) / (drawn @ (counts.mean(0) / counts.mean()))
            for pull, (_, counts) in zip(pulls, parts, strict=True)
        ) / len(parts)
    draws = np.mean(estimates) + widths * of_groups + np.sqrt(_variance_of_seeds(np.mean(pulls, 0))) * of_seeds
    return float(np.mean(estimates)), draws[np.isfinite(draws)]


def informative_seeds(differences: NDArray[np.float64]) -> int:
    """Number of seeds, on the last axis but one, with any defined difference: what an interval knows of other seeds."""
    by_seed = np.moveaxis(np.isfinite(np.atleast_2d(differences)), -2, 0)
    return sum(bool(seed.any()) for seed in by_seed)


def _variance_of_seeds(pulls: NDArray[np.float64]) -> float:
    """What seeds add to the variance of the mean, beyond that of the mean over seeds of each group.

    In the two-way layout without replicates the mean squares of seeds and of what is left estimate N σ²(seed) + σ² and
    σ²; the variation between groups of their means over seeds holds σ² already.
    """
    seeds, groups = pulls.shape
    if seeds == 1:
        return 0.0
    of_seeds, of_groups = pulls.mean(1, keepdims=True), pulls.mean(0, keepdims=True)
    between = groups * float(np.sum(of_seeds**2)) / (seeds - 1)
    rest = float(np.sum((pulls - of_seeds - of_groups) ** 2)) / max((seeds - 1) * (groups - 1), 1)
    return float(max(0.0, between - rest) / (seeds * groups))


def _by_group(values: NDArray[np.float64], members: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Sum and number of the defined values of each seed and group."""
    defined = np.isfinite(values)
    parts = np.where(defined, values, 0), defined.astype(np.float64)
    return tuple(np.stack([np.bincount(members, row) for row in part]) for part in parts)


@lru_cache(maxsize=4)
def _randomness(
    resamples: int, seeds: int, groups: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Per resample: how often each group is drawn, by how much its deviation is widened, and a draw for the seeds.

    Shared by all intervals of one shape. Deviations of a resampled mean are too small by (1 - 1/N), and their size is
    itself uncertain: with the square root of N / χ²(N - 1) those of a normal sample are those of Student's t.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(groups, np.full(groups, 1 / groups), resamples).astype(np.float64)
    widths = np.sqrt(groups / rng.chisquare(groups - 1, resamples)) if groups > 1 else np.zeros(resamples)
    of_seeds = rng.standard_t(seeds - 1, resamples) if seeds > 1 else np.zeros(resamples)
    return drawn, widths, of_seeds
