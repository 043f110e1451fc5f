"""Equivalence of two objectives within a margin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spectralseg.statistics.bootstrap import RESAMPLES, Interval, informative_seeds, mean_and_draws
from spectralseg.statistics.margins import MARGIN
from spectralseg.statistics.significance import LEVEL
from spectralseg.statistics.verdicts import HOLDS, degrees_of_freedom, judge, p_values


class Equivalence(NamedTuple):
    """Result of two one-sided tests.

    Attributes:
        interval: the mean difference with its interval at 1 − 2 × level, such as 90 % for 5 %.
        p: the larger of the two one-sided p values.
        equivalent: whether the interval lies within the margin and there are enough seeds and groups.

    Examples:
        >>> from spectralseg.statistics import equivalence
        >>> result = equivalence([[0.001, -0.001, 0.002, -0.002]] * 3, margin=0.005)
        >>> result.equivalent, result.p < 0.05
        (True, True)
        >>> result.interval.low > -0.005
        True
    """

    interval: Interval
    p: float
    equivalent: bool


def equivalence(
    differences: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    margin: float = MARGIN,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    outcomes: bool = False,
) -> Equivalence:
    """Two one-sided tests (TOST, Schuirmann 1987) that a mean paired difference lies within ± ``margin``.

    Unlike the absence of a significant difference, equivalence shows that a difference is too small to matter. It needs
    at least three seeds (:data:`spectralseg.statistics.verdicts.FEWEST_SEEDS`).

    Args:
        differences: as for :func:`~spectralseg.statistics.bootstrap.paired_interval`.
        groups: likewise.
        margin: largest difference that does not matter, in units of the differences; choose it before the analysis.
        level: of each of the two tests.
        resamples: number of bootstrap samples.
        seed: of the resampling.
        outcomes: as for :func:`~spectralseg.statistics.bootstrap.paired_interval`.

    Returns:
        The result; p is NaN if no difference is defined.

    Raises:
        ValueError: the margin is not positive, the level is not between 0 and 0.5, or the number of groups is not that
            of cases.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.statistics import equivalence
        >>> rng = np.random.default_rng(0)
        >>> differences = 0.004 * rng.standard_normal((3, 80))  # seeds by cases
        >>> equivalence(differences, margin=0.005).equivalent
        True
        >>> equivalence(differences + 0.02, margin=0.005).equivalent
        False
        >>> equivalence(differences[:2], margin=0.005).equivalent  # two seeds are too few
        False
    """
    if not 0 < margin < np.inf:
        raise ValueError(f"margin {margin} must be positive and finite")
    if not 0 < level < 0.5:
        raise ValueError(f"level {level} is not between 0 and 0.5; give that of each test, such as 0.05")
    estimate, draws = mean_and_draws(differences, groups, resamples=resamples, seed=seed, outcomes=outcomes)
    if not len(draws):
        return Equivalence(Interval(estimate, float("nan"), float("nan")), float("nan"), False)
    interval = Interval(estimate, *map(float, np.quantile(draws, [level, 1 - level])))
    values = np.atleast_2d(np.asarray(differences, np.float64))
    seeds = informative_seeds(values)
    labels = np.arange(values.shape[-1]) if groups is None else np.asarray(groups)
    informative = len(np.unique(labels[np.isfinite(values).any(tuple(range(values.ndim - 1)))]))
    verdict = judge(interval, seeds, informative, direction="similar", margin=margin, narrow=interval)
    chances = p_values(draws, degrees_of_freedom(values, labels), direction="similar", margin=margin)
    return Equivalence(interval, chances.holds, verdict.verdict == HOLDS)
