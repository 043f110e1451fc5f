"""Statistical power: smallest detectable difference of a study, and study size for a given difference."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.statistics.bootstrap import influence
from spectralseg.statistics.significance import LEVEL
from spectralseg.statistics.verdicts import FEWEST_GROUPS, FEWEST_SEEDS

Size = NDArray[np.float64] | np.float64  # numbers of seeds or groups, and what follows from them

POWER = 0.8
MOST = 100_000  # seeds or groups that are considered


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
        return float(self._error(np.float64(seeds), np.float64(groups)))

    def _error(self, seeds: Size, groups: Size) -> Size:
        least = 1 / (groups + 2) if self.outcomes else 0.0
        return np.maximum(np.sqrt(sum(part for part, _ in self._parts(seeds, groups))), least)

    def _parts(self, seeds: Size, groups: Size) -> list[tuple[Size, Size]]:
        """Parts of the squared standard error, and the degrees of freedom of each."""
        return [
            (self.seed / seeds, seeds - 1),
            (self.group / groups, groups - 1),
            (self.residual / (seeds * groups), (seeds - 1) * (groups - 1)),
        ]

    def detectable(
        self, seeds: int | None = None, groups: int | None = None, *, level: float = LEVEL, power: float = POWER
    ) -> float:
        """Smallest true difference that a study of this size detects with the given power.

        For a two-sided test at ``level`` with the degrees of freedom of Satterthwaite (1946). With few seeds, the
        variance estimates make the result uncertain by a factor of two or more.

        Args:
            seeds: of the study; by default those of the estimate.
            groups: likewise.
            level: of the test.
            power: probability to detect the difference.

        Returns:
            In units of the differences; 0 without variance.
        """
        return float(self._detectable(seeds or self.seeds, groups or self.groups, level, power))

    def _detectable(
        self, seeds: ArrayLike, groups: ArrayLike, level: float = LEVEL, power: float = POWER
    ) -> NDArray[np.float64]:
        """As :meth:`detectable`, for studies of several sizes."""
        from scipy import stats

        sizes = np.asarray(seeds, np.float64), np.asarray(groups, np.float64)
        parts = self._parts(*sizes)
        spread = np.asarray(sum(part**2 / np.maximum(degrees, 1) for part, degrees in parts))
        square = np.asarray(sum(part for part, _ in parts) ** 2)
        freedom = np.divide(square, spread, out=np.full(square.shape, np.inf), where=spread > 0)
        quantiles = stats.t.ppf(1 - level / 2, freedom) + stats.t.ppf(power, freedom)
        return np.asarray(self._error(*sizes) * quantiles)

    def seeds_for(self, difference: float) -> int | None:
        """Smallest number of seeds that detects a difference with the groups of the estimate; None above :data:`MOST`.

        At least the number that a verdict needs.
        """
        sizes = _sizes(FEWEST_SEEDS)
        return _fewest(sizes, self._detectable(sizes, self.groups) <= difference)

    def groups_for(self, difference: float) -> int | None:
        """Smallest number of groups that detects a difference with the seeds of the estimate; see :meth:`seeds_for`."""
        sizes = _sizes(FEWEST_GROUPS)
        return _fewest(sizes, self._detectable(self.seeds, sizes) <= difference)


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


@functools.cache
def _sizes(least: int) -> NDArray[np.int64]:
    """Sizes of studies from ``least`` to :data:`MOST`, with steps of 1 % above a hundred."""
    sizes = [least]
    while sizes[-1] + max(1, sizes[-1] // 100) <= MOST:
        sizes.append(sizes[-1] + max(1, sizes[-1] // 100))
    return np.array(sizes)


def _fewest(sizes: NDArray[np.int64], enough: NDArray[np.bool_]) -> int | None:
    """The smallest sufficient size; None if there is none.

    All are tried, because the detectable difference is not monotonic: with few seeds, more groups can reduce the
    degrees of freedom.
    """
    return int(sizes[enough.argmax()]) if enough.any() else None
