"""Statistical power: smallest detectable difference of a study, and study size for a given difference."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.statistics.bootstrap import influence
from spectralseg.statistics.significance import LEVEL
from spectralseg.statistics.verdicts import FEWEST_GROUPS, FEWEST_SEEDS

POWER = 0.8
MOST = 100_000  # seeds or groups that are considered
_STUDIES, _DRAWS, _BISECTIONS = 15, 64, 16  # accurate to about 2 %


class Components(NamedTuple):
    """Variance of a paired difference in the two-way layout of seeds and groups without replicates.

    Attributes:
        seed: variance between seeds without that of residuals, in squared units of the differences.
        group: variance between groups, likewise.
        residual: residual variance.
        seeds: number of seeds of the estimate.
        groups: number of groups of the estimate.
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
        """Standard error of the mean difference in a study of this size, for outcomes at least that of intervals."""
        return math.hypot(math.sqrt(self.seed / seeds), self._error_of_groups(seeds, groups))

    def _error_of_groups(self, seeds: int, groups: int) -> float:
        least = 1 / (groups + 2) if self.outcomes else 0.0
        return max(math.sqrt(self.group / groups + self.residual / (seeds * groups)), least)

    def detectable(
        self, seeds: int | None = None, groups: int | None = None, *, level: float = LEVEL, power: float = POWER
    ) -> float:
        """Smallest true difference that a study of this size detects with the given power.

        Detected means that the interval of :func:`~spectralseg.statistics.bootstrap.paired_interval` excludes zero on
        the side of the difference. With few seeds, the variance estimates make the result uncertain by a factor of two
        or more.

        Args:
            seeds: of the study, at least 2; by default those of the estimate.
            groups: likewise.
            level: 1 minus the coverage of the interval.
            power: probability to detect the difference.

        Returns:
            In units of the differences; 0 without variance.
        """
        from scipy import special

        size = seeds or self.seeds, groups or self.groups
        error = self.standard_error(*size)
        if error == 0:
            return 0.0
        limits = self._half_widths(*size, level)
        beyond = error * float(special.ndtri(power))
        return float(
            _root(
                lambda difference: power - special.ndtr((difference - limits) / error).mean(),
                np.asarray(limits.min() + beyond),
                np.asarray(limits.max() + beyond),
            )
        )

    def _half_widths(self, seeds: int, groups: int, level: float) -> NDArray[np.float64]:
        """Half-widths of the intervals of equally probable studies, by the variance that they observe between seeds.

        Of normal differences with these variances. As in the interval, the part of groups has the width of Student's
        t, and that of seeds a variance which is the observed one divided by a chi-squared variable.
        """
        from scipy import special

        normal = float(special.ndtri(1 - level / 2))
        of_groups = self._error_of_groups(seeds, groups) * special.stdtrit(groups - 1, 1 - level / 2) / normal
        observed = (groups * self.seed + self.residual) * _chi_squared_ratios(_STUDIES, seeds - 1)
        of_seeds = observed[:, None] / _chi_squared_ratios(_DRAWS, seeds - 1) - self.residual
        spread = np.sqrt(of_groups**2 + np.maximum(of_seeds, 0) / (seeds * groups))  # (studies, draws)
        return _root(
            lambda limits: special.ndtr(-limits[:, None] / spread).mean(1) - level / 2,
            normal * spread.min(1),
            normal * spread.max(1),
        )

    def seeds_for(self, difference: float) -> int | None:
        """Smallest number of seeds that detects a difference with the groups of the estimate; None above :data:`MOST`.

        At least the number that a verdict needs.
        """
        return _fewest(FEWEST_SEEDS, lambda seeds: self.detectable(seeds=seeds) <= difference)

    def groups_for(self, difference: float) -> int | None:
        """Smallest number of groups that detects a difference with the seeds of the estimate; see :meth:`seeds_for`."""
        return _fewest(FEWEST_GROUPS, lambda groups: self.detectable(groups=groups) <= difference)


def detectable_over_groups(
    differences: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    outcomes: bool = False,
    level: float = LEVEL,
    power: float = POWER,
) -> float:
    """Smallest true difference of these runs that a study with as many groups detects, for a single seed.

    For a paired t test over groups. Unlike :meth:`Components.detectable`, it does not generalise to other seeds.

    Args:
        differences: as for :func:`~spectralseg.statistics.bootstrap.paired_interval`.
        groups: likewise.
        outcomes: likewise.
        level: of the two-sided test.
        power: probability to detect the difference.

    Returns:
        In units of the differences; 0 without variance, NaN with fewer than two groups.
    """
    from scipy import stats

    pulls = influence(differences, groups)[1]
    count = pulls.shape[1]
    if count < 2:
        return math.nan
    least = 1 / (count + 2) if outcomes else 0.0
    error = max(float(np.std(pulls.mean(0), ddof=1)) / math.sqrt(count), least)
    return error * float(stats.t.ppf(1 - level / 2, count - 1) + stats.t.ppf(power, count - 1))


@functools.lru_cache(maxsize=64)
def _chi_squared_ratios(count: int, freedom: int) -> NDArray[np.float64]:
    """Equally probable values of a chi-squared variable over its degrees of freedom, (count,)."""
    from scipy import special

    survival = (np.arange(count) + 0.5) / count
    return np.asarray(special.chdtri(freedom, survival) / freedom)


def _root(
    decreasing: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Arguments between two bounds at which a decreasing function is zero, by bisection."""
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = decreasing(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray((low + high) / 2)


def _fewest(least: int, suffices: Callable[[int], bool]) -> int | None:
    """The smallest size from ``least`` to :data:`MOST` that suffices, as all larger ones do; None if none does."""
    size = least + bisect.bisect_left(range(least, MOST + 1), True, key=suffices)
    return size if size <= MOST else None
