"""Confidence intervals of mean paired differences over seeds and patients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000
# Weight of the variance of the sample in that of each resample.
SHRINKAGE = 0.1
# With fewer than ENOUGH_GROUPS groups, a failure of one group in twenty is absent from the test set with a probability
# above 5 % (0.95 ** 59 = 0.0485). No interval computed from the other groups can reveal it.
FAILURE_RATE = 0.05
_ROUNDING = 1e-12
ENOUGH_GROUPS = 59


class Interval(NamedTuple):
    """A mean and the limits of its interval.

    Examples:
        >>> from spectralseg.statistics import Interval, paired_interval
        >>> Interval(0.02, -0.01, 0.05).low
        -0.01
        >>> estimate, low, high = paired_interval([[0.1, 0.2, 0.3]] * 3)
        >>> round(estimate, 4)
        0.2
    """

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
    outcomes: bool = False,
) -> Interval:
    """Mean difference with a two-way confidence interval over seeds and groups.

    Seeds and cases are crossed, so that neither many cases nor many seeds alone give a narrow interval. Its half-width
    combines two parts, each with its own uncertainty:

    - **Groups** are resampled with replacement, all cases of a group together. The limits are those of the symmetric
      bootstrap-t (Hall 1988), never narrower than Student's t. The variances of the resamples are shrunk by a tenth
      towards that of the sample (:data:`SHRINKAGE`), because they approach zero where few groups differ.
    - **Seeds** are too few to resample: three have ten different resamples, and a percentile interval that resamples
      both (the "pigeonhole" bootstrap of Owen 2007) covers 76 to 86 % instead of 95 % where seeds matter. Their
      variance is a generalized pivotal quantity of the two-way layout (Weerahandi 1993): in every draw, the mean
      squares of seeds and of the residual are divided by chi-squared variables, then subtracted, then truncated at
      zero. Truncating the estimate itself would too often suggest that seeds do not matter.

    In simulations with at least 3 seeds and 60 groups, the coverage is 93 % or more; docs/statistics.md and
    benchmarks/README.md have it by design. With fewer than :data:`ENOUGH_GROUPS` groups no interval accounts for rare
    but large failures.

    With one seed the interval is over groups only, with one group over seeds only.

    Args:
        differences: (seeds, cases) paired differences, NaN where undefined. All have equal weight, so that the weight
            of a group is its number of defined cases. With classes, (classes, seeds, cases), the estimate is the mean
            of the means of all classes with a defined difference.
        groups: (cases,) group of each case; None makes every case its own group.
        level: coverage.
        resamples: number of bootstrap samples.
        seed: of the resampling.
        outcomes: the differences are those of a binary outcome, such as a false structure: 1, 0 or -1. The standard
            error over groups is then at least 1 / (groups + 2), as of a difference of proportions with the added counts
            of Agresti and Min (2005), because an outcome that none of N patients has may still occur. Limits are
            clipped to -1 and 1.

    Returns:
        In units of the differences. All NaN if no difference is defined; NaN limits with one seed and one group.

    Raises:
        ValueError: the number of groups is not that of cases, a group has no name, or the level is not between 0 and 1.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.statistics import paired_interval
        >>> rng = np.random.default_rng(0)
        >>> differences = 0.02 + 0.03 * rng.standard_normal((3, 80))  # seeds by cases, method minus baseline
        >>> interval = paired_interval(differences, groups=np.arange(80) // 2)  # two cases of each patient
        >>> [round(value, 3) for value in interval]
        [0.019, 0.01, 0.029]
        >>> paired_interval([[0.02]])  # one seed and one case have no limits
        Interval(estimate=0.02, low=nan, high=nan)
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1; give the coverage, such as 0.95")
    estimate, draws = mean_and_draws(differences, groups, resamples=resamples, seed=seed, outcomes=outcomes)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]) if len(draws) else (float("nan"),) * 2
    return Interval(estimate, float(low), float(high))


def mean_and_draws(
    differences: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    outcomes: bool = False,
) -> tuple[float, NDArray[np.float64]]:
    """The mean difference and draws from its confidence distribution, whose quantiles are the interval limits.

    Arguments and errors as for :func:`paired_interval`.

    Returns:
        NaN and no draws if no difference is defined; no draws with one seed and one group.
    """
    sample = _Sample.of(differences, groups, outcomes)
    key = sample.key(resamples, seed)
    if key not in _drawn:
        _draw([sample], resamples, seed)
    _drawn.move_to_end(key)
    return _drawn[key]


def draw_together(
    samples: Iterable[tuple[ArrayLike, ArrayLike | None, bool]], *, resamples: int = RESAMPLES, seed: int = 0
) -> None:
    """Fill the cache of :func:`mean_and_draws` for several samples ``(differences, groups, outcomes)``.

    With many groups, drawing for several samples takes hardly longer than for one, as memory bandwidth dominates. The
    cache keeps the last :data:`KEPT` distributions.
    """
    by_key = {sample.key(resamples, seed): sample for sample in (_Sample.of(*arguments) for arguments in samples)}
    _draw([sample for key, sample in by_key.items() if key not in _drawn], resamples, seed)


def influence(differences: ArrayLike, groups: ArrayLike | None = None) -> tuple[float, NDArray[np.float64]]:
    """The mean difference, and the influence of each seed and group on it, (seeds, groups), which sums to 0.

    Arguments and errors as for :func:`paired_interval`. The influence is empty with one seed and one group.
    """
    return _influence(_Sample.of(differences, groups, False))


class _Sample(NamedTuple):
    """Differences, with everything else that their confidence distribution depends on.

    Attributes:
        values: (classes, seeds, cases), NaN where undefined.
        groups: index of the group of each case, (cases,).
        outcomes: as for :func:`paired_interval`.
    """

    values: NDArray[np.float64]
    groups: NDArray[np.int64]
    outcomes: bool

    def key(self, resamples: int, seed: int) -> tuple[object, ...]:
        """Equal for equal distributions."""
        return self.values.shape, self.values.tobytes(), self.groups.tobytes(), self.outcomes, resamples, seed

    @classmethod
    def of(cls, differences: ArrayLike, groups: ArrayLike | None, outcomes: bool) -> _Sample:
        """Arguments and errors as for :func:`paired_interval`."""
        values = np.atleast_2d(np.asarray(differences, np.float64))
        labels = np.arange(values.shape[-1]) if groups is None else numbered(groups)
        if labels.shape != values.shape[-1:]:
            raise ValueError(f"there are {values.shape[-1]} cases and {labels.size} groups; give one group per case")
        return cls(values if values.ndim > 2 else values[None], labels, outcomes)


KEPT = 512  # distributions, of 80 kB each
_BLOCK = 8  # samples in one product
_MANY = 64  # groups; below this, one product per sample is fast; a batched product may round differently
_drawn: OrderedDict[tuple[object, ...], tuple[float, NDArray[np.float64]]] = OrderedDict()


def _draw(samples: Sequence[_Sample], resamples: int, seed: int) -> None:
    """Add the means and draws of samples to the cache."""
    shapes: dict[tuple[int, ...], list[tuple[_Sample, float, NDArray[np.float64]]]] = {}
    for sample in samples:
        estimate, influence = _influence(sample)
        shapes.setdefault(influence.shape, []).append((sample, estimate, influence))
    for (seeds, groups), members in shapes.items():
        if not seeds * groups:
            _drawn.update({sample.key(resamples, seed): (estimate, np.empty(0)) for sample, estimate, _ in members})
            continue
        random = _randomness(resamples, seeds, groups, seed)
        size = _BLOCK if groups >= _MANY else 1
        for start in range(0, len(members), size):
            block = members[start : start + size]
            block_moments = _moments([influence for *_, influence in block], random)
            for (sample, estimate, influence), moments in zip(block, block_moments, strict=True):
                least = 1 / (groups + 2) if sample.outcomes else 0.0
                draws = estimate + _of_groups(influence, random, least, moments)
                draws = draws + _of_seeds(influence, random)
                draws = np.clip(draws, -1, 1) if sample.outcomes else draws
                draws.flags.writeable = False
                _drawn[sample.key(resamples, seed)] = estimate, draws
    while len(_drawn) > KEPT:
        _drawn.popitem(last=False)


def _influence(sample: _Sample) -> tuple[float, NDArray[np.float64]]:
    """As :func:`influence`; NaN and empty if no difference is defined."""
    values = sample.values
    defined = np.isfinite(values)
    if not defined.any():
        return float("nan"), np.empty((0, 0))
    # Drop seeds, groups and classes without any defined difference; as zeros, they would count as agreement.
    informative = [np.asarray(defined.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    classes = list(values[np.ix_(*informative)])
    members = np.unique(sample.groups[informative[2]], return_inverse=True)[1]
    parts = [_by_group(class_values, members) for class_values in classes]
    estimates = [sums.sum() / counts.sum() for sums, counts in parts]
    # Influence of each seed and group on the mean of its class; sums to 0.
    pulls = [(sums - mean * counts) / counts.mean() for mean, (sums, counts) in zip(estimates, parts, strict=True)]
    if pulls[0].size == 1:  # one seed and one group
        return float(np.mean(estimates)), np.empty((0, 0))
    influence = np.mean(pulls, 0)
    influence[np.abs(influence) < _ROUNDING * np.abs(values[defined]).max()] = 0  # rounding errors of equal differences
    return float(np.mean(estimates)), influence


def numbered(groups: ArrayLike) -> NDArray[np.int64]:
    """Group indices in the order of the group names, (cases,); integer groups stay unchanged.

    Raises:
        ValueError: a group has no name.
    """
    labels = np.asarray(groups)
    if labels.dtype.kind == "i":
        return labels.astype(np.int64, copy=False)
    if any(label is None or label != label for label in labels.ravel().tolist()):
        raise ValueError("a case has no group (NaN or None); give every case one, its own where it has no other")
    return np.unique(labels, return_inverse=True)[1]


def informative_seeds(differences: NDArray[np.float64]) -> int:
    """Number of seeds (last axis but one) with any defined difference."""
    by_seed = np.moveaxis(np.isfinite(np.atleast_2d(differences)), -2, 0)
    return sum(bool(seed.any()) for seed in by_seed)


def effective_groups(differences: ArrayLike, groups: ArrayLike) -> float:
    """Number of groups of equal size with the same information on the mean: (Σ n)² / Σ n² over group sizes n.

    Args:
        differences: (seeds, cases) or (classes, seeds, cases); NaN are ignored.
        groups: (cases,) group of each case.

    Returns:
        At least 1; 0 if no difference is defined.
    """
    defined = np.isfinite(np.atleast_2d(np.asarray(differences, np.float64)))
    _, members = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(members, defined.sum(tuple(range(defined.ndim - 1))))
    return float(sizes.sum() ** 2 / np.sum(sizes**2)) if sizes.any() else 0.0


def _moments(influences: Sequence[NDArray[np.float64]], random: _Randomness) -> NDArray[np.float64]:
    """Means of the influence of groups and of its square in each resample, (influences, 2, resamples)."""
    of_groups = [influence.mean(0) for influence in influences]
    parts = np.stack([part for of_group in of_groups for part in (of_group, of_group**2)], 1)
    groups, columns = parts.shape
    if groups >= _MANY:  # a constant number of columns, so that rounding does not depend on the number of samples
        parts = np.pad(parts, ((0, 0), (0, 2 * _BLOCK - columns)))
    moments: NDArray[np.float64] = (random.drawn @ parts / groups).T[:columns]
    return moments.reshape(len(influences), 2, -1)


def _of_groups(
    influence: NDArray[np.float64], random: _Randomness, least: float, moments: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Deviations of the mean over groups, (resamples,), with a standard error of at least ``least``."""
    of_group = influence.mean(0)
    groups = len(of_group)
    if groups == 1:
        return np.zeros(len(random.signs))
    deviation, square = moments
    resampled = np.maximum(square - deviation**2, 0) / (groups - 1)
    variance = float(np.sum(of_group**2)) / (groups - 1) / groups
    error = max(np.sqrt(variance), least)
    if error > 0:
        scale = np.sqrt((1 - SHRINKAGE) * resampled + SHRINKAGE * variance)
        roots = np.divide(np.abs(deviation), scale, out=np.zeros_like(deviation), where=scale > 0)
        widest = np.maximum(np.sort(roots), random.student)  # quantile by quantile
        drawn: NDArray[np.float64] = random.signs * widest[random.order] * error
        return drawn
    return np.zeros(len(random.signs))


def _of_seeds(influence: NDArray[np.float64], random: _Randomness) -> NDArray[np.float64]:
    """Deviations of the mean over seeds in addition to :func:`_of_groups`, (resamples,).

    In the two-way layout without replicates, the mean squares of seeds and of the residual estimate N σ²(seed) + σ² and
    σ². The variation between groups already includes σ².
    """
    seeds, groups = influence.shape
    if seeds == 1:
        return np.zeros(len(random.signs))
    of_seeds, of_groups = influence.mean(1, keepdims=True), influence.mean(0, keepdims=True)
    between = groups * float(np.sum(of_seeds**2)) / (seeds - 1)
    residual = float(np.sum((influence - of_seeds - of_groups) ** 2)) / max((seeds - 1) * (groups - 1), 1)
    variance = np.maximum(between * random.between - residual * random.residual, 0) / (seeds * groups)
    drawn: NDArray[np.float64] = np.sqrt(variance) * random.normal
    return drawn


def _by_group(values: NDArray[np.float64], members: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Sum and number of the defined values of each seed and group."""
    defined = np.isfinite(values)
    parts = np.where(defined, values, 0), defined.astype(np.float64)
    return tuple(np.stack([np.bincount(members, row) for row in part]) for part in parts)


class _Randomness(NamedTuple):
    """Random numbers of the intervals of all samples of one shape.

    Attributes:
        drawn: how often each group is drawn, (resamples, groups).
        student: sorted absolute values of Student's t with groups - 1 degrees of freedom, (resamples,).
        signs: -1 or 1, (resamples,).
        order: a permutation, (resamples,).
        between: degrees of freedom over a chi-squared variable, of the mean square of seeds, (resamples,).
        residual: likewise, of the residual mean square.
        normal: standard normal, (resamples,).
    """

    drawn: NDArray[np.float64]
    student: NDArray[np.float64]
    signs: NDArray[np.float64]
    order: NDArray[np.int64]
    between: NDArray[np.float64]
    residual: NDArray[np.float64]
    normal: NDArray[np.float64]


@lru_cache(maxsize=16)
def _randomness(resamples: int, seeds: int, groups: int, seed: int) -> _Randomness:
    rng = np.random.default_rng(seed)

    def pivot(freedom: int) -> NDArray[np.float64]:
        return freedom / rng.chisquare(freedom, resamples) if freedom else np.ones(resamples)

    return _Randomness(
        drawn=rng.multinomial(groups, np.full(groups, 1 / groups), resamples).astype(np.float64),
        student=np.sort(np.abs(rng.standard_t(groups - 1, resamples))) if groups > 1 else np.zeros(resamples),
        signs=rng.choice([-1.0, 1.0], resamples),
        order=rng.permutation(resamples),
        between=pivot(seeds - 1),
        residual=pivot((seeds - 1) * (groups - 1)),
        normal=rng.standard_normal(resamples),
    )
