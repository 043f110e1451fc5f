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
    paired_interval,
)
from spectralseg.statistics.verdicts import Chances, degrees_of_freedom, p_values

AXES = ("class", "seed", "case")


_REPEATED = "classes, seeds and cases; keep one of each, or evaluate the run again"


def _described(records: pd.DataFrame) -> str:
    """Run, test dataset and metric of the first record, as far as its columns say."""
    names = (*RUN_KEYS[:-1], "test_dataset", "metric")
    return "/".join(str(records[name].iloc[0]) for name in names if name in records) or "a method"


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
        found = [pd.factorize(records[axis], sort=True) for axis in AXES]
        codes, labels = zip(*((code, np.asarray(label)) for code, label in found), strict=True)
        recorded = np.zeros([len(label) for label in labels], bool)
        recorded[codes] = True
        if recorded.sum() != len(records):
            raise InputError(f"{_described(records)} has {len(records)} records of {recorded.sum()} {_REPEATED}")
        values = np.full(recorded.shape, np.nan)
        values[codes] = records["value"]
        groups = np.empty(len(labels[2]), object)
        groups[codes[2]] = records["group"]
        classes, seeds, cases = labels
        outcomes = "metric" in records and bool(records["metric"].isin(OUTCOMES).any())
        return cls(values, recorded, classes, seeds, cases, groups, outcomes=outcomes)

    @property
    def informative_seeds(self) -> int:
        """Number of seeds with any defined value."""
        return informative_seeds(self.values)

    @property
    def effective_groups(self) -> float:
        """See :func:`~spectralseg.statistics.bootstrap.effective_groups`."""
        return effective_groups(self.values, self.groups)

    @property
    def informative_groups(self) -> int:
        """Number of groups with any defined value."""
        defined = np.isfinite(self.values).any((0, 1))
        return len(np.unique(self.groups[defined]))

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
        return paired_interval(self.values, self.groups, outcomes=self.outcomes, **options)


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
        draws = mean_and_draws(self.values, self.groups, outcomes=self.outcomes)[1]
        return p_values(draws, degrees_of_freedom(self.values, self.groups), **options)

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
