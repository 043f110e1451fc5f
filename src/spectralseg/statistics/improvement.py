"""Share of cases, and probability of runs, in which one objective is better than another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.statistics.bootstrap import RESAMPLES, Interval, paired_interval


def share_improved(differences: ArrayLike, groups: ArrayLike | None = None, **options: int | float) -> Interval:
    """Share of cases with a positive difference, ties counting half, with its interval over seeds and groups.

    Arguments as for :func:`~spectralseg.statistics.bootstrap.paired_interval`. Negate differences if lower is better.

    Examples:
        >>> from spectralseg.statistics import share_improved
        >>> share = share_improved([[0.1, 0.2, -0.1, 0.0], [0.1, 0.1, -0.2, 0.3]])
        >>> share.estimate
        0.6875
    """
    estimate, low, high = paired_interval(improvements(differences), groups, outcomes=True, **options)  # type: ignore[arg-type]
    return Interval(estimate, max(low, 0.0), min(high, 1.0))


def improvements(differences: ArrayLike) -> NDArray[np.float64]:
    """1 for positive differences, 0.5 for zero, 0 for negative ones."""
    wins: NDArray[np.float64] = (np.sign(np.asarray(differences, np.float64)) + 1) / 2
    return wins


def probability_of_improvement(
    first: ArrayLike, second: ArrayLike, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Probability that a run of the first method is better than one of the second, averaged over datasets.

    From Agarwal et al. 2021 (arXiv 2108.13264): per dataset the share of pairs of runs in which the first is larger,
    ties counting half (Mann-Whitney's U). The interval resamples runs within each dataset. Few runs have few resamples:
    in simulations with normal means the coverage of the 95 % interval was 73 to 85 % with three runs on one dataset, 86
    to 93 % with three runs on three or six, and 91 to 95 % with ten.

    Args:
        first: (runs, datasets) means of each run; larger is better.
        second: the same of the other method; its number of runs may differ.
        level: coverage.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        In [0, 1]; 0.5 if neither is better.

    Raises:
        ValueError: the numbers of datasets differ, or there is no run.

    Examples:
        >>> from spectralseg.statistics import probability_of_improvement
        >>> first = [[0.80, 0.70], [0.82, 0.71], [0.81, 0.69]]  # three runs on two datasets
        >>> second = [[0.79, 0.70], [0.78, 0.72]]
        >>> round(probability_of_improvement(first, second).estimate, 4)
        0.625
    """
    a, b = (np.atleast_2d(np.asarray(values, np.float64)) for values in (first, second))
    if a.shape[1] != b.shape[1] or not a.size * b.size:
        raise ValueError(f"runs by datasets are {a.shape} and {b.shape}; give runs of the same datasets")
    rng = np.random.default_rng(seed)
    wins = improvements(a.T[:, :, None] - b.T[:, None, :])  # (datasets, runs, runs)
    drawn = [_shares(rng, resamples, wins.shape[0], runs) for runs in wins.shape[1:]]
    means = np.einsum("bdi,dij,bdj->b", drawn[0], wins, drawn[1], optimize=True) / len(wins)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(wins.mean()), float(low), float(high))


def _shares(rng: np.random.Generator, resamples: int, datasets: int, runs: int) -> NDArray[np.float64]:
    """Share of each run in each resample, (resamples, datasets, runs)."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), (resamples, datasets)) / runs
