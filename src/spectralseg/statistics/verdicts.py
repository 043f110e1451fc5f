"""What an interval decides: one rule for the ledger, tables, figures, studies and the report."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.statistics.bootstrap import Interval, informative_seeds

# For any verdict: with two seeds, or two groups, their part of an interval has one degree of freedom, with one none.
FEWEST_SEEDS = FEWEST_GROUPS = 3
FEWEST = f"{FEWEST_SEEDS} seeds and {FEWEST_GROUPS} patients (or other groups)"

HOLDS, FAILS, UNCERTAIN, UNTESTED = VERDICTS = (
    "holds",
    "does not hold",
    "too uncertain to say",
    "cannot be tested with this data",
)
DIRECTIONS = ("higher", "lower", "no worse", "similar")


class Verdict(NamedTuple):
    """One of :data:`VERDICTS`, and why."""

    verdict: str
    reason: str


def enough(seeds: int, groups: int) -> bool:
    """Whether a difference rests on as many seeds and groups as any verdict needs."""
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
    """What a mean difference, method less reference, says of a claim about the two.

    Args:
        interval: the difference with its 95 % interval.
        seeds: number of seeds that it rests on; with fewer than :data:`FEWEST_SEEDS` everything is uncertain.
        groups: number of patients or other groups, likewise with :data:`FEWEST_GROUPS`.
        direction: what the claim says of the method, one of :data:`DIRECTIONS`.
        margin: largest difference that does not matter, in units of the difference; None where none is known. Then
            "similar" and "no worse than" can be uncertain only, except that what is better is no worse.
        narrow: the 90 % interval of two one-sided tests; without it no difference is shown to be within the margin.
        higher_is_better: of the metric; decides what "no worse" means.
    """
    if seeds < FEWEST_SEEDS:
        some = "one seed says" if seeds == 1 else f"{('no', 'one', 'two')[seeds]} seeds say"
        return Verdict(UNCERTAIN, f"{some} too little of others; a verdict needs {FEWEST_SEEDS}")
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
    return Verdict(UNCERTAIN, "the interval holds zero")


def side(low: float, high: float, seeds: int, groups: int) -> int:
    """1 where an interval lies above zero, −1 where below, 0 where :func:`judge` cannot say; NaN limits say nothing."""
    return {HOLDS: 1, FAILS: -1}.get(judge(Interval(math.nan, low, high), seeds, groups).verdict, 0)


class Chances(NamedTuple):
    """p values of the two verdicts on a claim: at most 0.05 where :func:`judge` gives the verdict.

    Attributes:
        holds: of the hypothesis that the claim does not hold, against the verdict that it holds.
        fails: of the hypothesis that it holds by what matters, against the verdict that it does not.
    """

    holds: float
    fails: float


def degrees_of_freedom(differences: ArrayLike, groups: ArrayLike) -> int:
    """Number of seeds, or of groups where these are fewer, less one; 1 where neither varies.

    Args:
        differences: (seeds, cases) or (classes, seeds, cases), NaN where undefined: such do not count.
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
    """The p values that belong to the intervals of :func:`judge`, from the same confidence distribution.

    A limit of the 95 % interval beyond a bound is a two-sided p value of 0.05, twice the share of draws on the wrong
    side of the bound; two one-sided tests have the larger of their p values. Where fewer than ten draws are on the
    wrong side, which is too few to count, their share is that of Student's t, whose tail is as heavy as that of the
    heaviest part of the distribution, scaled to pass through the tenth draw.

    Args:
        draws: (n,) of the confidence distribution, see :func:`~spectralseg.statistics.bootstrap.mean_and_draws`.
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
    """Share of draws, in ascending order, that are at most ``bound``; extrapolated where they are few."""
    count, total = int(np.searchsorted(ordered, bound, side="right")), len(ordered)
    if count >= _COUNTABLE or total < 2 * _COUNTABLE:
        return max(count, 1) / total
    from scipy import special  # late, as its import takes longer than most tables need

    middle = float(ordered[total // 2])
    reach, share = middle - float(ordered[_COUNTABLE - 1]), _COUNTABLE / total
    if reach <= 0:  # all draws are alike
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
    """The margin from which on a difference counts as too small to matter, in units of the difference.

    With a larger margin two methods are equivalent, and a claim that one is "no worse" holds; with a smaller one not.

    Args:
        interval: the difference with its 95 % interval, which decides "no worse".
        narrow: the 90 % interval, whose largest absolute limit decides everything else.
        seeds: with fewer than :data:`FEWEST_SEEDS` no margin is large enough.
        groups: likewise with :data:`FEWEST_GROUPS`.
        direction: as for :func:`judge`.
        higher_is_better: likewise.

    Returns:
        At least 0; NaN where no margin is large enough or the intervals have no limits.
    """
    if not enough(seeds, groups):
        return math.nan
    if direction == "no worse":
        low, _ = _turned(interval, direction, higher_is_better)
        return low if math.isnan(low) else max(0.0, -low)
    return max(abs(narrow.low), abs(narrow.high))


def _turned(interval: Interval, direction: str, higher_is_better: bool) -> tuple[float, float]:
    """Limits of a difference, turned so that what the claim says is positive."""
    low, high = interval.low, interval.high
    return (low, high) if _sign(direction, higher_is_better) > 0 else (-high, -low)


def _sign(direction: str, higher_is_better: bool) -> int:
    return {"higher": 1, "lower": -1}.get(direction, 1 if higher_is_better else -1)
