"""How probable it is that one objective beats another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.statistics.bootstrap import RESAMPLES, Interval, paired_interval


def share_improved(differences: ArrayLike, groups: ArrayLike | None = None, **options: int | float) -> Interval:
    """Share of cases with a positive difference, equal ones half, with its interval over seeds and groups.

    Arguments as for :func:`~spectralseg.statistics.bootstrap.paired_interval`; turn the sign where lower is better.
    """
    estimate, low, high = paired_interval(improvements(differences), groups, outcomes=True, **options)  # type: ignore[arg-type]
    return Interval(estimate, max(low, 0.0), min(high, 1.0))


def improvements(differences: ArrayLike) -> NDArray[np.float64]:
    """1 for a positive difference, 0.5 for none, 0 for a negative one."""
    found: NDArray[np.float64] = (np.sign(np.asarray(differences, np.float64)) + 1) / 2
    return found


def probability_of_improvement(
    first: ArrayLike, second: ArrayLike, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Probability that a run of the first kind beats one of the second on a dataset, averaged over datasets.

    From Agarwal et al. 2021 (arXiv 2108.13264): per dataset the share of pairs of runs in which the first is larger,
    equal ones half (Mann-Whitney's U); the interval resamples runs within each dataset. Few runs have few resamples: in
    simulations with normal means the 95 % interval held the truth in 73 to 85 % of the studies with three runs on one
    dataset, in 86 to 93 % with three runs on three or six, in 91 to 95 % with ten.

    Args:
        first: (runs, datasets) means of each run; larger is better.
        second: the same of the other kind; another number of runs is fine.
        level: coverage.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        In [0, 1]; 0.5 says that neither is better.

    Raises:
        ValueError: the datasets differ in number, or there is no run.
    """
    one, other = (np.atleast_2d(np.asarray(values, np.float64)) for values in (first, second))
    if one.shape[1] != other.shape[1] or not one.size * other.size:
        raise ValueError(f"runs by datasets are {one.shape} and {other.shape}; give runs of the same datasets")
    rng = np.random.default_rng(seed)
    # (datasets, runs, runs): whether a run of the one beats a run of the other
    wins = (np.sign(one.T[:, :, None] - other.T[:, None, :]) + 1) / 2
    drawn = [_shares(rng, resamples, wins.shape[0], runs) for runs in wins.shape[1:]]
    means = np.einsum("bdi,dij,bdj->b", drawn[0], wins, drawn[1], optimize=True) / len(wins)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(wins.mean()), float(low), float(high))


def _shares(rng: np.random.Generator, resamples: int, datasets: int, runs: int) -> NDArray[np.float64]:
    """Share of each run in each resample of the runs of each dataset."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), (resamples, datasets)) / runs
