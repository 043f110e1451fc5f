"""What to believe over datasets, each with one mean difference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spectralseg.statistics.margins import MARGIN

_PRIOR = 0.6  # weight of one imagined dataset without a difference (Benavoli et al. 2014)


class Belief(NamedTuple):
    """Probabilities that the one is worse, that the two are equal for all practical purposes, that it is better."""

    worse: float
    equivalent: float
    better: float


def bayesian_signed_rank(
    differences: ArrayLike, *, rope: float = MARGIN, samples: int = 50_000, seed: int = 0
) -> Belief:
    """Bayesian signed-rank test with a region of practical equivalence (Benavoli et al. 2014 and 2017).

    The distribution of differences over datasets gets a Dirichlet process as prior; each sample of the posterior says
    which of worse, equivalent and better holds the largest share of the pairwise averages of differences. Meant for
    tens of datasets, not for cases: memory grows with their square.

    Args:
        differences: (datasets,) mean differences; NaN are left out.
        rope: differences up to ± this do not matter.
        samples: of the posterior.
        seed: of the sampling.

    Returns:
        Probabilities that add up to 1; NaN where no difference is defined.

    Raises:
        ValueError: ``rope`` is negative.
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
