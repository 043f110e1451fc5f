"""Bayesian comparison of two methods over several datasets, each with one mean difference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spectralseg.statistics.margins import MARGIN

_PRIOR = 0.6  # weight of a pseudo-observation without a difference (Benavoli et al. 2014)


class Belief(NamedTuple):
    """Probabilities that a method is worse than, practically equivalent to, or better than another.

    Examples:
        >>> from spectralseg.statistics import bayesian_signed_rank
        >>> belief = bayesian_signed_rank([0.03, 0.02, 0.04, 0.01, 0.02, 0.03])
        >>> belief.better > 0.99, round(sum(belief), 6)
        (True, 1.0)
    """

    worse: float
    equivalent: float
    better: float


def bayesian_signed_rank(
    differences: ArrayLike, *, rope: float = MARGIN, samples: int = 50_000, seed: int = 0
) -> Belief:
    """Bayesian signed-rank test with a region of practical equivalence (Benavoli et al. 2014 and 2017).

    The prior of the distribution of differences is a Dirichlet process. In each posterior sample, the outcome (worse,
    equivalent or better) is the one with the largest share of the pairwise averages of differences. Memory grows with
    the square of the number of differences: use it for datasets, not for cases.

    Args:
        differences: (datasets,) mean differences; NaN are ignored.
        rope: half-width of the region of practical equivalence.
        samples: number of posterior samples.
        seed: of the sampling.

    Returns:
        Probabilities that sum to 1; NaN if no difference is defined.

    Raises:
        ValueError: ``rope`` is negative.

    Examples:
        >>> from spectralseg.statistics import bayesian_signed_rank
        >>> belief = bayesian_signed_rank([0.001, -0.002, 0.002, 0.0, 0.001], rope=0.005)
        >>> round(belief.equivalent, 2)
        1.0
        >>> bayesian_signed_rank([float("nan")])
        Belief(worse=nan, equivalent=nan, better=nan)
    """
    if rope < 0:
        raise ValueError(f"rope {rope} must not be negative")
    values = np.asarray(differences, np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        return Belief(*[float("nan")] * 3)
    values = np.append(values, 0.0)
    strengths = np.ones(values.size)
    strengths[-1] = _PRIOR
    weights = np.random.default_rng(seed).dirichlet(strengths, samples)
    averages = (values[:, None] + values[None]) / 2
    worse, better = (((weights @ part) * weights).sum(1) for part in (averages < -rope, averages > rope))
    largest = np.argmax(np.stack([worse, 1 - worse - better, better]), 0)
    return Belief(*(float((largest == outcome).mean()) for outcome in range(3)))
