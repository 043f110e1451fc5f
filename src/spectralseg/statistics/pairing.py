"""Metric records as arrays of classes, seeds and cases, and the differences of two methods."""

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
_NAMES = (*RUN_KEYS[:-1], "test_dataset", "metric")  # what an error calls a method and its condition
_REPEATED = "classes, seeds and cases; keep one of each, or evaluate the run again"


@dataclass(frozen=True)
class Values:
    """What one method reached under one condition in one metric.

    Attributes:
        values: (classes, seeds, cases), NaN where undefined or without a record.
        recorded: whether there is a record, likewise.
        classes: labels of the first axis.
        seeds: of the second.
        cases: of the third.
        groups: group of each case.
        outcomes: whether the metric is something that a case has or has not.
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
        """Arrange metric records, one for each class, seed and case at most.

        Raises:
            InputError: there are several, as where records of several conditions are mixed.
        """
        return Columns(records).values()

    @cached_property
    def members(self) -> NDArray[np.int64]:
        """Number of the group of each case, as names are slow to compare."""
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
    def informative_groups(self) -> int:
        """Number of groups with any defined value."""
        defined = np.isfinite(self.values).any((0, 1))
        return len(np.unique(self.members[defined]))

    def of_class(self, name: str) -> Values:
        """Those of a class; ``mean`` takes all foreground classes, or the whole case where a metric has no classes."""
        chosen = self.classes == name
        if name == MEAN:
            foreground = self.classes != WHOLE_CASE
            chosen = foreground if foreground.any() else ~foreground
        return replace(self, values=self.values[chosen], recorded=self.recorded[chosen], classes=self.classes[chosen])

    def without(self, cases: NDArray[np.bool_]) -> Values:
        """The same where some cases, (cases,), are left out; seeds stay even if nothing is left of them."""
        return replace(
            self,
            values=self.values[..., ~cases],
            recorded=self.recorded[..., ~cases],
            cases=self.cases[~cases],
            groups=self.groups[~cases],
        )

    @cached_property
    def per_seed(self) -> NDArray[np.float64]:
        """Per seed the mean over cases of each class, then over classes; (seeds,)."""
        return mean(mean(self.values, 2), 0)

    def interval(self, **options: Any) -> Interval:
        """The mean with its interval over seeds and groups; options as for
        :func:`~spectralseg.statistics.bootstrap.paired_interval`.
        """
        return paired_interval(self.values, self.members, outcomes=self.outcomes, **options)


class Columns:
    """Metric records by numbers of their classes, seeds, cases and groups: many cells are taken of them quickly.

    Args:
        records: metric records; without the column ``metric``, none is of :data:`OUTCOMES`.
    """

    def __init__(self, records: pd.DataFrame) -> None:
        found = [pd.factorize(records[axis], sort=True) for axis in AXES]
        self._codes, labels = zip(*found, strict=True)
        self._labels = [np.asarray(label) for label in labels]
        codes, groups = pd.factorize(records["group"], use_na_sentinel=False)
        self._groups = np.asarray(groups, object)[codes]
        self._values = records["value"].to_numpy(np.float64)
        self._names = [records[name].to_numpy() for name in _NAMES if name in records]
        outcomes = records["metric"].isin(OUTCOMES).to_numpy() if "metric" in records else np.zeros(len(records), bool)
        self._outcomes = outcomes

    def values(self, rows: NDArray[np.int64] | slice = slice(None)) -> Values:
        """Arrange some of the records, one for each class, seed and case at most.

        Raises:
            InputError: there are several, as where records of several conditions are mixed.
        """
        found = [_renumbered(codes[rows], len(labels)) for codes, labels in zip(self._codes, self._labels, strict=True)]
        present, codes = zip(*found, strict=True)
        count = len(codes[0])
        recorded = np.zeros([len(one) for one in present], bool)
        recorded[codes] = True
        if recorded.sum() != count:
            name = "/".join(str(column[rows][0]) for column in self._names) or "a method"
            raise InputError(f"{name} has {count} records of {recorded.sum()} {_REPEATED}")
        values = np.full(recorded.shape, np.nan)
        values[codes] = self._values[rows]
        groups = np.empty(len(present[2]), object)
        groups[codes[2]] = self._groups[rows]
        classes, seeds, cases = (labels[one] for labels, one in zip(self._labels, present, strict=True))
        return Values(values, recorded, classes, seeds, cases, groups, outcomes=bool(self._outcomes[rows].any()))


def _renumbered(codes: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different numbers below ``size`` in ascending order, and the place of each number among them."""
    present = np.flatnonzero(np.bincount(codes, minlength=size))
    places = np.zeros(size, np.int64)
    places[present] = np.arange(len(present))
    return present, places[codes]


@dataclass(frozen=True)
class Paired(Values):
    """Differences of two methods: ``values`` of the one less those of the other, ``recorded`` where both have a record.

    Attributes:
        unpaired: number of records of either without a partner in the other.
    """

    unpaired: int

    @property
    def undefined(self) -> int:
        """Number of pairs without a difference."""
        return int((self.recorded & ~np.isfinite(self.values)).sum())

    def p_values(self, **options: Any) -> Chances:
        """Of the verdicts on the mean difference; options as for :func:`~spectralseg.statistics.verdicts.p_values`."""
        draws = mean_and_draws(self.values, self.members, outcomes=self.outcomes)[1]
        return p_values(draws, degrees_of_freedom(self.values, self.members), **options)

    @cached_property
    def over_classes(self) -> NDArray[np.float64]:
        """Mean over the classes that are defined, (seeds, cases)."""
        return mean(self.values, 0)


def pair(ours: Values, reference: Values) -> Paired:
    """Values of one method less those of another for the same class, seed and case.

    Raises:
        ValueError: a case has another group in the one than in the other.
    """
    axes = ("classes", "seeds", "cases")
    found = [np.intersect1d(getattr(ours, axis), getattr(reference, axis), return_indices=True) for axis in axes]
    labels, places, partners = zip(*found, strict=True)
    one, other = np.ix_(*places), np.ix_(*partners)
    both = ours.recorded[one] & reference.recorded[other]
    differ = ours.groups[places[2]] != reference.groups[partners[2]]
    if differ.any():
        raise ValueError(f"case '{labels[2][differ][0]}' has two groups; score both methods on the same prepared data")
    classes, seeds, cases = (both.any(tuple({0, 1, 2} - {kept})) for kept in range(3))
    shown = np.ix_(classes, seeds, cases)
    return Paired(
        values=(ours.values[one] - reference.values[other])[shown],
        recorded=both[shown],
        classes=labels[0][classes],
        seeds=labels[1][seeds],
        cases=labels[2][cases],
        groups=ours.groups[places[2]][cases],
        outcomes=ours.outcomes,
        unpaired=int(ours.recorded.sum() + reference.recorded.sum() - 2 * both.sum()),
    )


def mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean of what is defined along an axis; NaN where nothing is."""
    defined = np.isfinite(values)
    counts = defined.sum(axis)
    return np.where(counts, np.where(defined, values, 0).sum(axis) / np.maximum(counts, 1), np.nan)
