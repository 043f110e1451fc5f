"""Verdicts on claims from intervals: one rule for claims, tables, figures, studies and the report."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.statistics.bootstrap import Interval, informative_seeds
from spectralseg.statistics.significance import LEVEL

# Needed for a verdict: with two seeds or groups, their part of an interval has only one degree of freedom.
FEWEST_SEEDS = FEWEST_GROUPS = 3
FEWEST = f"{FEWEST_SEEDS} seeds and {FEWEST_GROUPS} patients (or other groups)"

HOLDS, FAILS, UNCERTAIN, UNTESTED = VERDICTS = (
    "holds",
    "does not hold",
    "too uncertain to say",
    "cannot be tested with this data",
)
DIRECTIONS = ("higher", "lower", "no worse", "similar")


OPEN, BETTER, WORSE, SAME = METHOD_VERDICTS = ("not settled", "better", "worse", "same")


class Verdict(NamedTuple):
    """One of :data:`VERDICTS` and its reason.

    Examples:
        >>> from spectralseg.statistics import Interval, judge
        >>> verdict = judge(Interval(0.02, 0.01, 0.03), seeds=3, groups=60)
        >>> verdict.verdict, verdict.reason
        ('holds', 'beyond chance')
    """

    verdict: str
    reason: str


def enough(seeds: int, groups: int) -> bool:
    """Whether there are as many seeds and groups as a verdict needs."""
    return seeds >= FEWEST_SEEDS and groups >= FEWEST_GROUPS


def judge(
    interval: Interval,
    seeds: int,
    groups: int,
    *,
    direction: str = "higher",
    margin: float | None = None,
    narrow: Interval | None = None,
    higher_is_better: bool = True,
) -> Verdict:
    """Judge a claim about a method and a reference by their mean difference, method minus reference.

    Args:
        interval: the difference with its 95 % interval.
        seeds: number of seeds; with fewer than :data:`FEWEST_SEEDS` the verdict is uncertain.
        groups: number of patients or other groups, likewise with :data:`FEWEST_GROUPS`.
        direction: the claimed relation of the method to the reference, one of :data:`DIRECTIONS`.
        margin: largest difference that does not matter, in units of the difference. With None, "similar" and "no worse"
            are uncertain, except that a better method is "no worse".
        narrow: the 90 % interval of two one-sided tests; with None, no difference counts as within the margin.
        higher_is_better: of the metric; decides the meaning of "no worse".

    Examples:
        >>> from spectralseg.statistics import Interval, judge
        >>> judge(Interval(0.02, 0.01, 0.03), seeds=3, groups=60)
        Verdict(verdict='holds', reason='beyond chance')
        >>> judge(Interval(0.02, -0.01, 0.05), seeds=3, groups=60).reason
        'the interval contains zero'
        >>> judge(Interval(0.02, 0.01, 0.03), seeds=2, groups=60).verdict
        'too uncertain to say'
        >>> narrow = Interval(0.001, -0.002, 0.004)
        >>> judge(Interval(0.001, -0.003, 0.005), 3, 60, direction="similar", margin=0.005, narrow=narrow).verdict
        'holds'
    """
    if seeds < FEWEST_SEEDS:
        return Verdict(UNCERTAIN, f"{seeds} of {FEWEST_SEEDS} seeds that a verdict needs")
    if groups < FEWEST_GROUPS:
        return Verdict(UNCERTAIN, f"{groups} of {FEWEST_GROUPS} patients (or other groups) that a verdict needs")
    low, high = _turned(interval, direction, higher_is_better)
    same = margin is not None and narrow is not None and -margin < narrow.low and narrow.high < margin
    if direction == "similar":
        if same:
            return Verdict(HOLDS, "smaller than the margin")
        if margin is None:
            return Verdict(UNCERTAIN, "the metric has no margin")
        if low > margin or high < -margin:
            return Verdict(FAILS, "larger than the margin")
        return Verdict(UNCERTAIN, "the interval reaches beyond the margin")
    if direction == "no worse":
        if margin is None:
            return Verdict(HOLDS, "better") if low > 0 else Verdict(UNCERTAIN, "the metric has no margin")
        if low >= -margin:
            return Verdict(HOLDS, "not worse by more than the margin")
        if high < -margin:
            return Verdict(FAILS, "worse by more than the margin")
        return Verdict(UNCERTAIN, "the interval reaches beyond the margin")
    if low > 0:
        return Verdict(HOLDS, "smaller than the margin, but beyond chance" if same else "beyond chance")
    if high < 0:
        return Verdict(FAILS, "the opposite, beyond chance")
    if same:
        return Verdict(FAILS, "no difference that matters")
    return Verdict(UNCERTAIN, "the interval contains zero")


def compared(difference: float, p_adjusted: float, p_equivalence: float, *, higher_is_better: bool) -> str:
    """One of :data:`METHOD_VERDICTS`: the verdict on a method among several that are compared with one reference.

    Args:
        difference: method minus reference.
        p_adjusted: that the difference has this sign, adjusted for the number of comparisons; NaN with fewer seeds or
            groups than a verdict needs.
        p_equivalence: of two one-sided tests; NaN without a margin.
        higher_is_better: of the metric.
    """
    if p_adjusted <= LEVEL:
        return BETTER if (difference > 0) == higher_is_better else WORSE
    return SAME if not math.isnan(p_adjusted) and p_equivalence <= LEVEL else OPEN


def side(low: float, high: float, seeds: int, groups: int) -> int:
    """1 if an interval lies above zero, −1 if below, 0 if :func:`judge` is uncertain or the limits are NaN."""
    return {HOLDS: 1, FAILS: -1}.get(judge(Interval(math.nan, low, high), seeds, groups).verdict, 0)


class Chances(NamedTuple):
    """p values of the two verdicts on a claim, at most 0.05 if :func:`judge` gives the verdict.

    Attributes:
        holds: of the null hypothesis that the claim does not hold.
        fails: of the null hypothesis that the claim holds by a difference that matters.
    """

    holds: float
    fails: float


def degrees_of_freedom(differences: ArrayLike, groups: ArrayLike) -> int:
    """The smaller of the numbers of seeds and of groups, each if above 1, minus 1; 1 with one seed and one group.

    Args:
        differences: (seeds, cases) or (classes, seeds, cases); NaN are ignored.
        groups: (cases,) group of each case.
    """
    defined = np.isfinite(np.atleast_2d(np.asarray(differences, np.float64)))
    cases = defined.any(tuple(range(defined.ndim - 1)))
    numbers = informative_seeds(np.where(defined, 0.0, np.nan)), len(np.unique(np.asarray(groups)[cases]))
    return min((number for number in numbers if number > 1), default=2) - 1


def p_values(
    draws: NDArray[np.float64],
    degrees: int,
    *,
    direction: str = "higher",
    margin: float | None = None,
    higher_is_better: bool = True,
) -> Chances:
    """P values of the verdicts of :func:`judge`, from the confidence distribution of its intervals.

    A two-sided p value is twice the share of draws on the wrong side of a bound, so that it is 0.05 if the limit of the
    95 % interval equals the bound. Two one-sided tests have the larger of their p values. With fewer than ten draws on
    the wrong side, their share is extrapolated by Student's t, scaled to pass through the tenth draw; its tail is as
    heavy as that of the heaviest part of the distribution.

    Args:
        draws: (n,) from the confidence distribution, see :func:`~spectralseg.statistics.bootstrap.mean_and_draws`.
        degrees: see :func:`degrees_of_freedom`.
        direction: as for :func:`judge`.
        margin: likewise.
        higher_is_better: likewise.

    Returns:
        In (0, 1]; NaN without draws.
    """
    if not len(draws):
        return Chances(math.nan, math.nan)
    turned = np.sort(draws * _sign(direction, higher_is_better))

    def below(bound: float) -> float:
        return _share_below(turned, bound, degrees)

    def above(bound: float) -> float:
        return _share_below(-turned[::-1], -bound, degrees)

    same = 1.0 if margin is None else max(below(-margin), above(margin))
    if direction == "similar":
        other = 1.0 if margin is None else 2 * min(below(margin), above(-margin))
        return Chances(same, min(other, 1.0))
    if direction == "no worse":
        worse = 1.0 if margin is None else 2 * above(-margin)
        return Chances(min(2 * below(-(margin or 0.0)), 1.0), min(worse, 1.0))
    return Chances(min(2 * below(0.0), 1.0), min(2 * above(0.0), same, 1.0))


_COUNTABLE = 10  # draws


def _share_below(ordered: NDArray[np.float64], bound: float, degrees: int) -> float:
    """Share of sorted draws that are at most ``bound``, extrapolated for few of them."""
    count, total = int(np.searchsorted(ordered, bound, side="right")), len(ordered)
    if count >= _COUNTABLE or total < 2 * _COUNTABLE:
        return max(count, 1) / total
    from scipy import special  # imported here as it is slow

    middle = float(ordered[total // 2])
    reach, share = middle - float(ordered[_COUNTABLE - 1]), _COUNTABLE / total
    if reach <= 0:  # all draws are equal
        return 1 / total
    return float(special.stdtr(degrees, special.stdtrit(degrees, share) * (middle - bound) / reach))


def margin_needed(
    interval: Interval,
    narrow: Interval,
    seeds: int,
    groups: int,
    *,
    direction: str = "similar",
    higher_is_better: bool = True,
) -> float:
    """The smallest margin with which a difference counts as too small to matter, in units of the difference.

    With a larger margin, two methods are equivalent, or a claim of "no worse" holds; with a smaller one, not.

    Args:
        interval: the difference with its 95 % interval, which decides "no worse".
        narrow: the 90 % interval, whose largest absolute limit decides all other directions.
        seeds: with fewer than :data:`FEWEST_SEEDS` no margin is large enough.
        groups: likewise with :data:`FEWEST_GROUPS`.
        direction: as for :func:`judge`.
        higher_is_better: likewise.

    Returns:
        At least 0; NaN if no margin is large enough or the limits are NaN.
    """
    if not enough(seeds, groups):
        return math.nan
    if direction == "no worse":
        low, _ = _turned(interval, direction, higher_is_better)
        return low if math.isnan(low) else max(0.0, -low)
    return max(abs(narrow.low), abs(narrow.high))


def _turned(interval: Interval, direction: str, higher_is_better: bool) -> tuple[float, float]:
    """Limits of a difference, with the sign of the claimed direction."""
    low, high = interval.low, interval.high
    return (low, high) if _sign(direction, higher_is_better) > 0 else (-high, -low)


def _sign(direction: str, higher_is_better: bool) -> int:
    return {"higher": 1, "lower": -1}.get(direction, 1 if higher_is_better else -1)
