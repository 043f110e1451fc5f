"""Random-effects meta-analysis: the mean of several laboratories, and how much they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.statistics.bootstrap import influence, paired_interval

if TYPE_CHECKING:  # it imports pandas
    from spectralseg.statistics.pairing import Paired

FEW = 5  # laboratories; with fewer, tau² and intervals are hardly informative
_SMALLEST = 1e-12  # variance, relative to the spread of the estimates and to the largest variance


class RandomEffects(NamedTuple):
    """Result of a random-effects meta-analysis; NaN where it is undefined.

    Attributes:
        estimate: mean over the distribution of laboratories.
        low: lower limit of its interval.
        high: upper limit.
        prediction_low: lower limit of the prediction interval for the true effect in another laboratory.
        prediction_high: upper limit.
        tau2: variance of the true effects between laboratories.
        i2: share of the variation between the estimates that is not due to their own errors, in [0, 1].
        q: Cochran's Q, which has a chi-squared distribution with ``laboratories`` - 1 degrees of freedom if all true
            effects are equal.
        laboratories: number of estimates.

    Examples:
        >>> from spectralseg.statistics import random_effects
        >>> result = random_effects([0.02, 0.03], [0.0001, 0.0001])
        >>> round(result.estimate, 3), result.laboratories
        (0.025, 2)
        >>> result.prediction_low  # two laboratories are too few
        nan
    """

    estimate: float
    low: float
    high: float
    prediction_low: float
    prediction_high: float
    tau2: float
    i2: float
    q: float
    laboratories: int


def random_effects(
    estimates: ArrayLike, variances: ArrayLike, *, shared: float = 0.0, level: float = 0.95
) -> RandomEffects:
    """Mean of the estimates of several laboratories, with an interval that generalises to other laboratories.

    ``tau2`` is the estimate of Paule and Mandel (1982). The interval is that of Hartung and Knapp (2001) and Sidik and
    Jonkman (2002): Student's t with k - 1 degrees of freedom, and a standard error from the observed differences
    between the k laboratories, at least that of the weights (Röver, Knapp and Friede 2015), as otherwise
    laboratories that agree by chance would give too narrow an interval. The prediction interval has k - 2 degrees of
    freedom (Higgins, Thompson and Spiegelhalter 2009). A shared error does not contribute to the differences between
    laboratories and does not decrease with their number; the squares of the half-widths of its interval and of that of
    the laboratories are added (Zou and Donner 2008).

    Args:
        estimates: (k,) one per laboratory; those that are NaN are left out.
        variances: (k,) squared standard error of each, without the shared error. If one is NaN, all are unknown and
            count as zero: ``tau2`` then includes them, and ``i2`` and ``q`` are NaN.
        shared: half-width of the interval, with the same level, of the error that all estimates have in common, as of
            test patients that all laboratories share.
        level: coverage of the intervals.

    Returns:
        In units of the estimates. With one laboratory the estimate without limits, with two no prediction interval,
        without any NaN.

    Raises:
        ValueError: there is not one variance per estimate, a variance is negative, or the level is not in (0, 1).

    Examples:
        >>> from spectralseg.statistics import random_effects
        >>> result = random_effects([0.02, 0.03, 0.01, 0.04], [0.0001] * 4)
        >>> [round(value, 4) for value in (result.estimate, result.low, result.high)]
        [0.025, 0.0045, 0.0455]
        >>> round(result.tau2, 6), round(result.i2, 4)
        (6.7e-05, 0.4)
        >>> random_effects([0.02], [0.0001]).low  # one laboratory has no limits
        nan
    """
    from scipy import special  # imported here as it is slow

    values, errors = np.asarray(estimates, np.float64).ravel(), np.asarray(variances, np.float64).ravel()
    if values.shape != errors.shape:
        raise ValueError(f"there are {values.size} estimates and {errors.size} variances; give one per laboratory")
    if (errors < 0).any() or shared < 0:
        raise ValueError("a variance is negative, or the shared half-width is; give values of zero or more")
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1; give the coverage, such as 0.95")
    values, errors = values[np.isfinite(values)], errors[np.isfinite(values)]
    count, nan = len(values), math.nan
    if count < 2:
        return RandomEffects(float(values[0]) if count else nan, nan, nan, nan, nan, nan, nan, nan, count)
    measured = bool(np.isfinite(errors).all())
    errors = errors if measured else np.zeros(count)
    errors = np.maximum(errors, _SMALLEST * max(float(np.var(values)), float(errors.max())))
    tau2 = _paule_mandel(values, errors)
    mean, variance = _weighted(values, errors + tau2)

    def half_width(of_laboratories: float, degrees: int) -> float:
        return math.hypot(special.stdtrit(degrees, (1 + level) / 2) * math.sqrt(of_laboratories), shared)

    half, further = half_width(variance, count - 1), half_width(variance + tau2, count - 2) if count > 2 else nan
    q = _spread(values, errors) if measured else nan
    i2 = max(0.0, 1 - (count - 1) / q) if q > 0 else q  # zero if all estimates are equal
    limits = (mean - half, mean + half, mean - further, mean + further)
    return RandomEffects(mean, *limits, tau2, i2, q, count)


def _weighted(values: NDArray[np.float64], variances: NDArray[np.float64]) -> tuple[float, float]:
    """Mean with inverse variances as weights, and its variance; zero variance if all values are equal and exact."""
    if not variances.any():
        return float(values.mean()), 0.0
    weights = 1 / variances
    mean = float((weights * values).sum() / weights.sum())
    ratio = float((weights * (values - mean) ** 2).sum()) / (len(values) - 1)
    return mean, max(ratio, 1.0) / float(weights.sum())


def _spread(values: NDArray[np.float64], variances: NDArray[np.float64]) -> float:
    """Weighted sum of squared deviations from the weighted mean, Cochran's Q."""
    if not variances.any():  # all values are equal
        return 0.0
    weights = 1 / variances
    mean = (weights * values).sum() / weights.sum()
    return float((weights * (values - mean) ** 2).sum())


def _paule_mandel(values: NDArray[np.float64], variances: NDArray[np.float64]) -> float:
    """The variance between laboratories with which the weighted sum of squares equals its expectation, k - 1."""
    from scipy import optimize

    degrees = len(values) - 1
    if _spread(values, variances) <= degrees:
        return 0.0
    highest = float(((values - values.mean()) ** 2).sum()) / degrees  # the solution without errors of the estimates
    excess = optimize.brentq(
        lambda tau2: _spread(values, variances + tau2) - degrees, 0.0, 2 * highest, xtol=1e-12 * highest, rtol=1e-12
    )
    return float(excess)


def across_laboratories(samples: Sequence[Paired], *, level: float = 0.95) -> RandomEffects:
    """Mean of paired differences over laboratories, which may share their test cases.

    The error of each laboratory is that of its seeds. Their variance is pooled over laboratories, as two or three
    seeds of one laboratory hardly determine it; with one seed each, it is unknown and part of ``tau2``. If two
    laboratories have a case in common, the error of the patients (or other groups) is shared: more laboratories do not
    reduce it. Otherwise, it is part of the error of each laboratory.

    Args:
        samples: differences of the same two methods under the same condition, one entry per laboratory; see
            :func:`spectralseg.statistics.pairing.pair`.
        level: coverage of the intervals.

    Returns:
        As :func:`random_effects`, in units of the differences.
    """
    parts = [influence(sample.values, sample.members) for sample in samples]
    by_seed = [pulls.mean(1) if pulls.size else np.zeros(1) for _, pulls in parts]
    degrees = sum(len(seeds) - 1 for seeds in by_seed)
    pooled = sum(float((seeds**2).sum()) for seeds in by_seed) / degrees if degrees else math.nan
    errors = np.array([pooled / len(seeds) for seeds in by_seed])
    shared = 0.0
    if _have_common_cases(samples):
        outcomes = any(sample.outcomes for sample in samples)
        _, low, high = paired_interval(*_joined(samples), level=level, outcomes=outcomes)
        shared = 0.0 if math.isnan(low) else (high - low) / 2
    else:
        errors = errors + [
            _variance_of_groups(pulls, sample.outcomes) for (_, pulls), sample in zip(parts, samples, strict=True)
        ]
    return random_effects([estimate for estimate, _ in parts], errors, shared=shared, level=level)


def _have_common_cases(samples: Sequence[Paired]) -> bool:
    names = [set(sample.cases.tolist()) for sample in samples]
    return len(set().union(*names)) < sum(map(len, names))


def _variance_of_groups(pulls: NDArray[np.float64], outcomes: bool) -> float:
    """Squared standard error of a mean over groups from the influence (seeds, groups); zero with one group."""
    groups = pulls.shape[1] if pulls.size else 1
    if groups < 2:
        return 0.0
    least = 1 / (groups + 2) if outcomes else 0.0  # as of :func:`~spectralseg.statistics.bootstrap.paired_interval`
    return max(float((pulls.mean(0) ** 2).sum()) / (groups - 1) / groups, least**2)


def _joined(samples: Sequence[Paired]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Means over seeds, then over laboratories, (classes, 1, cases), and the group of each case."""
    from spectralseg.statistics.pairing import mean

    classes, cases = (np.unique(np.concatenate([getattr(s, axis) for s in samples])) for axis in ("classes", "cases"))
    joined = np.full((len(classes), len(samples), len(cases)), np.nan)
    groups = np.empty(len(cases), object)
    for place, sample in enumerate(samples):
        rows, columns = np.searchsorted(classes, sample.classes), np.searchsorted(cases, sample.cases)
        joined[np.ix_(rows, np.array([place]), columns)] = mean(sample.values, 1)[:, None]
        groups[columns] = sample.groups
    return mean(joined, 1)[:, None], np.unique(groups.astype(str), return_inverse=True)[1]
