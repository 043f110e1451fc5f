"""Metric records as arrays over classes, seeds and cases, and paired differences of two methods."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectralseg.errors import InputError
from spectralseg.metrics.records import MEAN, OUTCOMES, RUN_KEYS, WHOLE_CASE
from spectralseg.statistics.bootstrap import (
    Interval,
    effective_groups,
    informative_seeds,
    mean_and_draws,
    numbered,
    paired_interval,
)
from spectralseg.statistics.verdicts import Chances, degrees_of_freedom, p_values

AXES = ("class", "seed", "case")
_NAMES = (*RUN_KEYS[:-1], "test_dataset", "metric")  # identify a method and condition in errors
_REPEATED = "classes, seeds and cases; keep one of each, or evaluate the run again"


@dataclass(frozen=True)
class Values:
    """Values of one metric of one method under one condition.

    Attributes:
        values: (classes, seeds, cases), NaN where undefined or without a record.
        recorded: (classes, seeds, cases), whether there is a record.
        classes: labels of the first axis.
        seeds: of the second.
        cases: of the third.
        groups: group of each case.
        outcomes: whether the metric is a binary outcome.
    """

    values: NDArray[np.float64]
    recorded: NDArray[np.bool_]
    classes: NDArray[Any]
    seeds: NDArray[Any]
    cases: NDArray[Any]
    groups: NDArray[Any]
    outcomes: bool = field(default=False, kw_only=True)

    @classmethod
    def of(cls, records: pd.DataFrame) -> Values:
        """Arrange metric records, at most one per class, seed and case.

        Raises:
            InputError: there are several, as when conditions are mixed.
        """
        return Columns(records).values()

    @cached_property
    def members(self) -> NDArray[np.int64]:
        """Index of the group of each case, (cases,); faster to compare than names."""
        return numbered(self.groups)

    @property
    def informative_seeds(self) -> int:
        """Number of seeds with any defined value."""
        return informative_seeds(self.values)

    @property
    def effective_groups(self) -> float:
        """See :func:`~spectralseg.statistics.bootstrap.effective_groups`."""
        return effective_groups(self.values, self.members)

    @property
    def defined(self) -> NDArray[np.bool_]:
        """Whether a case has any defined value, (cases,)."""
        return np.asarray(np.isfinite(self.values).any((0, 1)))

    @property
    def informative_groups(self) -> int:
        """Number of groups with any defined value."""
        return len(np.unique(self.members[self.defined]))

    def of_class(self, name: str) -> Values:
        """Values of a class; ``mean`` selects all foreground classes, or the whole case for metrics without classes."""
        mask = self.classes == name
        if name == MEAN:
            foreground = self.classes != WHOLE_CASE
            mask = foreground if foreground.any() else ~foreground
        return replace(self, values=self.values[mask], recorded=self.recorded[mask], classes=self.classes[mask])

    def without(self, cases: NDArray[np.bool_]) -> Values:
        """The values without some cases, a mask (cases,). Seeds stay, even without any value left."""
        return replace(
            self,
            values=self.values[..., ~cases],
            recorded=self.recorded[..., ~cases],
            cases=self.cases[~cases],
            groups=self.groups[~cases],
        )

    @cached_property
    def per_seed(self) -> NDArray[np.float64]:
        """Mean over cases, then over classes, (seeds,)."""
        return mean(mean(self.values, 2), 0)

    def interval(self, **options: Any) -> Interval:
        """The mean with its interval; options of :func:`~spectralseg.statistics.bootstrap.paired_interval`."""
        return paired_interval(self.values, self.members, outcomes=self.outcomes, **options)


class Columns:
    """Metric records with integer codes for classes, seeds and cases, for fast extraction of many :class:`Values`.

    Args:
        records: metric records; without the column ``metric``, they are not of :data:`OUTCOMES`.
    """

    def __init__(self, records: pd.DataFrame) -> None:
        factors = [pd.factorize(records[axis], sort=True) for axis in AXES]
        self._codes, labels = zip(*factors, strict=True)
        self._labels = [np.asarray(label) for label in labels]
        codes, groups = pd.factorize(records["group"], use_na_sentinel=False)
        self._groups = np.asarray(groups, object)[codes]
        self._values = records["value"].to_numpy(np.float64)
        self._names = [records[name].to_numpy() for name in _NAMES if name in records]
        outcomes = records["metric"].isin(OUTCOMES).to_numpy() if "metric" in records else np.zeros(len(records), bool)
        self._outcomes = outcomes

    def values(self, rows: NDArray[np.int64] | slice = slice(None)) -> Values:
        """Arrange some of the records, at most one per class, seed and case.

        Raises:
            InputError: there are several, as when conditions are mixed.
        """
        axes = [_renumbered(codes[rows], len(labels)) for codes, labels in zip(self._codes, self._labels, strict=True)]
        present, codes = zip(*axes, strict=True)
        count = len(codes[0])
        recorded = np.zeros([len(labels) for labels in present], bool)
        recorded[codes] = True
        if recorded.sum() != count:
            name = "/".join(str(column[rows][0]) for column in self._names) or "a method"
            raise InputError(f"{name} has {count} records of {recorded.sum()} {_REPEATED}")
        values = np.full(recorded.shape, np.nan)
        values[codes] = self._values[rows]
        groups = np.empty(len(present[2]), object)
        groups[codes[2]] = self._groups[rows]
        classes, seeds, cases = (labels[used] for labels, used in zip(self._labels, present, strict=True))
        return Values(values, recorded, classes, seeds, cases, groups, outcomes=bool(self._outcomes[rows].any()))


def _renumbered(codes: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Unique codes below ``size`` in ascending order, and the index of each code among them."""
    present = np.flatnonzero(np.bincount(codes, minlength=size))
    indices = np.zeros(size, np.int64)
    indices[present] = np.arange(len(present))
    return present, indices[codes]


@dataclass(frozen=True)
class Paired(Values):
    """Differences of two methods: ``values`` are differences, ``recorded`` marks those with records of both methods.

    Attributes:
        unpaired: number of records of either method without a partner.
    """

    unpaired: int

    @property
    def undefined(self) -> int:
        """Number of pairs without a difference."""
        return int((self.recorded & ~np.isfinite(self.values)).sum())

    def p_values(self, **options: Any) -> Chances:
        """P values of verdicts on the mean difference; options of :func:`~spectralseg.statistics.verdicts.p_values`."""
        draws = mean_and_draws(self.values, self.members, outcomes=self.outcomes)[1]
        return p_values(draws, degrees_of_freedom(self.values, self.members), **options)

    @property
    def two_sided_p(self) -> float:
        """P value of the mean difference against zero: at most 0.05 if its 95 % interval excludes zero."""
        return min(self.p_values(direction=direction).holds for direction in ("higher", "lower"))

    @cached_property
    def over_classes(self) -> NDArray[np.float64]:
        """Mean over the classes with a value, (seeds, cases)."""
        return mean(self.values, 0)


def pair(method: Values, reference: Values) -> Paired:
    """Values of a method minus those of a reference for the same class, seed and case.

    Raises:
        ValueError: a case has different groups in the two.
    """
    axes = ("classes", "seeds", "cases")
    shared = [np.intersect1d(getattr(method, axis), getattr(reference, axis), return_indices=True) for axis in axes]
    labels, indices, partners = zip(*shared, strict=True)
    grid, partner_grid = np.ix_(*indices), np.ix_(*partners)
    both = method.recorded[grid] & reference.recorded[partner_grid]
    differ = method.groups[indices[2]] != reference.groups[partners[2]]
    if differ.any():
        raise ValueError(f"case '{labels[2][differ][0]}' has two groups; score both methods on the same prepared data")
    classes, seeds, cases = (both.any(tuple({0, 1, 2} - {axis})) for axis in range(3))
    paired = np.ix_(classes, seeds, cases)
    return Paired(
        values=(method.values[grid] - reference.values[partner_grid])[paired],
        recorded=both[paired],
        classes=labels[0][classes],
        seeds=labels[1][seeds],
        cases=labels[2][cases],
        groups=method.groups[indices[2]][cases],
        outcomes=method.outcomes,
        unpaired=int(method.recorded.sum() + reference.recorded.sum() - 2 * both.sum()),
    )


def mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean of the defined values along an axis; NaN where there are none."""
    defined = np.isfinite(values)
    counts = defined.sum(axis)
    return np.where(counts, np.where(defined, values, 0).sum(axis) / np.maximum(counts, 1), np.nan)
