"""How small a difference a study could have detected, and how large a study would have to be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spectralseg.statistics.bootstrap import influence
from spectralseg.statistics.significance import LEVEL
from spectralseg.statistics.verdicts import FEWEST_GROUPS, FEWEST_SEEDS

POWER = 0.8
MOST = 100_000  # seeds or groups that are tried


class Components(NamedTuple):
    """Variance of a paired difference in the two-way layout of seeds and groups without replicates.

    Attributes:
        seed: variance between seeds, beyond that of their residuals, in squared units of the differences.
        group: variance between groups, likewise.
        residual: of what neither explains.
        seeds: number of seeds that it was estimated from.
        groups: of groups.
        outcomes: as for :func:`~spectralseg.statistics.bootstrap.paired_interval`.
    """

    seed: float
    group: float
    residual: float
    seeds: int
    groups: int
    outcomes: bool = False

    @classmethod
    def of(
        cls, differences: ArrayLike, groups: ArrayLike | None = None, *, outcomes: bool = False
    ) -> Components | None:
        """Estimate from paired differences, by mean squares (Searle, Casella and McCulloch 1992, chapter 4).

        Args:
            differences: as for :func:`~spectralseg.statistics.bootstrap.paired_interval`.
            groups: likewise.
            outcomes: likewise.

        Returns:
            None with fewer than two seeds or two groups.
        """
        pulls = influence(differences, groups)[1]
        seeds, count = pulls.shape
        if seeds < 2 or count < 2:
            return None
        of_seeds, of_groups = pulls.mean(1), pulls.mean(0)
        between_seeds = count * float(np.sum(of_seeds**2)) / (seeds - 1)
        between_groups = seeds * float(np.sum(of_groups**2)) / (count - 1)
        rest = pulls - of_seeds[:, None] - of_groups[None]
        residual = float(np.sum(rest**2)) / ((seeds - 1) * (count - 1))
        seed, group = max(between_seeds - residual, 0.0) / count, max(between_groups - residual, 0.0) / seeds
        return cls(seed, group, residual, seeds, count, outcomes)

    def standard_error(self, seeds: int, groups: int) -> float:
        """Of the mean difference in a study of this size; of outcomes at least that of intervals."""
        least = 1 / (groups + 2) if self.outcomes else 0.0
        return max(math.sqrt(self.seed / seeds + self.group / groups + self.residual / (seeds * groups)), least)

    def detectable(
        self, seeds: int | None = None, groups: int | None = None, *, level: float = LEVEL, power: float = POWER
    ) -> float:
        """The smallest true difference that a study of this size finds with the given power.

        A two-sided test at ``level`` with the degrees of freedom of Satterthwaite (1946). The variances are estimates:
        with few seeds the result is uncertain by a factor of two and more.

        Args:
            seeds: of the study; by default those that the variances were estimated from, at least 2.
            groups: likewise.
            level: of the test.
            power: probability to find the difference.

        Returns:
            In units of the differences; 0 where nothing varies.
        """
        from scipy import stats

        seeds, groups = seeds or self.seeds, groups or self.groups
        error = self.standard_error(seeds, groups)
        if not error:
            return 0.0
        parts = (self.seed / seeds, seeds - 1), (self.group / groups, groups - 1)
        rest = self.residual / (seeds * groups), (seeds - 1) * (groups - 1)
        spread = sum(part**2 / max(degrees, 1) for part, degrees in (*parts, rest))
        freedom = sum(part for part, _ in (*parts, rest)) ** 2 / spread if spread else math.inf
        return float(error * (stats.t.ppf(1 - level / 2, freedom) + stats.t.ppf(power, freedom)))

    def seeds_for(self, difference: float) -> int | None:
        """The fewest seeds with which this many groups show a difference; None where no number up to :data:`MOST` does.

        At least as many as a verdict needs.
        """
        return _fewest(FEWEST_SEEDS, lambda seeds: self.detectable(seeds, self.groups) <= difference)

    def groups_for(self, difference: float) -> int | None:
        """The fewest groups with which this many seeds show a difference; else as :meth:`seeds_for`."""
        return _fewest(FEWEST_GROUPS, lambda groups: self.detectable(self.seeds, groups) <= difference)


def _fewest(least: int, enough: Callable[[int], bool]) -> int | None:
    """The smallest size that is enough, to 1 % above a hundred.

    One after the other, as with few seeds more groups can mean fewer degrees of freedom, so that what a study detects
    does not always fall with its size.
    """
    size = least
    while size <= MOST:
        if enough(size):
            return size
        size += max(1, size // 100)
    return None
