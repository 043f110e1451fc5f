"""Significance tests of paired differences, in addition to intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.05


def wilcoxon(differences: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test over groups, given the seeds.

    Args:
        differences: (seeds, cases) paired differences, NaN where undefined. The test uses their mean over the seeds and
            cases of each group.
        groups: (cases,) group of each case; None makes every case its own group.

    Returns:
        1 if no group differs (zeros are ranked, as by Pratt 1959); NaN if no difference is defined.

    Examples:
        >>> from spectralseg.statistics import wilcoxon
        >>> round(wilcoxon([[0.01, 0.02, 0.03, 0.04, 0.05, 0.06]]), 4)
        0.0312
        >>> wilcoxon([[0.0, 0.0, 0.0]])
        1.0
    """
    values = np.atleast_2d(np.asarray(differences, np.float64))
    labels = np.arange(values.shape[-1]) if groups is None else np.asarray(groups)
    means = _group_means(values, labels)
    if not means.any():
        return 1.0 if len(means) else float("nan")
    from scipy import stats  # imported here as it is slow

    return float(stats.wilcoxon(means, zero_method="pratt").pvalue)


def _group_means(values: NDArray[np.float64], labels: NDArray[np.generic]) -> NDArray[np.float64]:
    """Mean of the defined values, (seeds, cases), of each group with any."""
    members = np.broadcast_to(np.unique(labels, return_inverse=True)[1], values.shape)
    defined = np.isfinite(values)
    order = np.argsort(members[defined], kind="stable")
    ordered, counts = values[defined][order], np.bincount(members[defined])
    starts, means = np.cumsum(counts) - counts, np.empty(len(counts))
    for count in set(counts[counts > 0].tolist()):  # vectorised over groups of equal size
        first = starts[counts == count]
        means[counts == count] = ordered[first[:, None] + np.arange(count)].mean(1)
    return means[counts > 0]


def sign_flip(differences: ArrayLike) -> float:
    """Two-sided p value of a sign-flip permutation test over seeds, given the cases.

    All sign patterns are used, or 10,000 random ones if there are more. No p value is below :func:`smallest_p`.

    Args:
        differences: (seeds, cases) paired differences, NaN where undefined. The test uses their mean per seed.

    Returns:
        A p value, 1 with one seed; NaN if no difference is defined.

    Examples:
        >>> from spectralseg.statistics import sign_flip
        >>> differences = [[0.01, 0.02], [0.02, 0.03], [0.01, 0.01]]
        >>> sign_flip(differences)  # three seeds cannot give a smaller p value
        0.25
        >>> sign_flip(differences * 2)
        0.03125
    """
    values = np.atleast_2d(np.asarray(differences, np.float64))
    means = [float(row[np.isfinite(row)].mean()) for row in values if np.isfinite(row).any()]
    if len(means) < 2:
        return 1.0 if means else float("nan")
    from scipy import stats

    tested = stats.permutation_test((means,), np.mean, permutation_type="samples", n_resamples=10_000, rng=0)
    return float(tested.pvalue)


def smallest_p(seeds: int) -> float:
    """The smallest possible p value of :func:`sign_flip`: 2 of 2 ** ``seeds`` sign patterns.

    Examples:
        >>> from spectralseg.statistics import smallest_p
        >>> [smallest_p(seeds) for seeds in (1, 3, 6)]
        [1.0, 0.25, 0.03125]
    """
    return min(1.0, 2.0 ** (1 - seeds))


def fewest_seeds(level: float = LEVEL) -> int:
    """The smallest number of seeds with which :func:`sign_flip` can reject at ``level``: 6 at 0.05.

    Examples:
        >>> from spectralseg.statistics import fewest_seeds
        >>> fewest_seeds(), fewest_seeds(0.01)
        (6, 8)
    """
    return next(seeds for seeds in range(1, 64) if smallest_p(seeds) <= level)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust the p values of one family for multiple testing by Holm (1979). NaN stay NaN and are not counted.

    Raises:
        ValueError: the p values are not one sequence of values in [0, 1].

    Examples:
        >>> from spectralseg.statistics import holm
        >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
        [0.03, 0.06, 0.06]
        >>> holm([0.01, float("nan"), 0.03]).round(4).tolist()
        [0.02, nan, 0.03]
    """
    values = np.asarray(p_values, np.float64)
    if values.ndim != 1:
        raise ValueError(f"p values of shape {values.shape} are not one family; give a sequence")
    if (values < 0).any() or (values > 1).any():
        raise ValueError("there are p values outside 0..1")
    adjusted = np.full(values.shape, np.nan)
    order = np.argsort(values)[: np.isfinite(values).sum()]  # NaN sort last
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def partial_conjunction(p_values: ArrayLike, required: int) -> float:
    """P value of "at least ``required`` of several statements hold" (Benjamini and Heller 2008, by Bonferroni).

    The ``required``-th smallest of n p values times n - ``required`` + 1, at most 1; valid under any dependence. If all
    are required, it is the largest p value, the intersection-union test (Berger 1982).

    Args:
        p_values: (n,); NaN, for a statement that cannot be tested, counts as 1.
        required: from 1 to n.

    Returns:
        NaN if no statement can be tested.

    Raises:
        ValueError: ``required`` is not between 1 and n.

    Examples:
        >>> from spectralseg.statistics import partial_conjunction
        >>> partial_conjunction([0.01, 0.02, 0.3], required=2)
        0.04
        >>> partial_conjunction([0.01, 0.02, 0.3], required=3)  # the largest of them
        0.3
    """
    values = np.asarray(p_values, np.float64).ravel()
    if not 1 <= required <= values.size:
        raise ValueError(f"{required} of {values.size} statements cannot be required; give 1 to {values.size}")
    if np.isnan(values).all():
        return float("nan")
    smallest = np.sort(np.where(np.isnan(values), 1.0, values))[required - 1]
    return float(min((values.size - required + 1) * smallest, 1.0))
