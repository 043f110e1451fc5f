"""What several studies need: objectives by kind, differences in printed units, and words for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.config import Objective
from spectralseg.errors import InputError
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import MEAN
from spectralseg.published.tables import PublishedTable, read_published
from spectralseg.reporting.measurements import CONDITION, Measurements
from spectralseg.reporting.results import Results
from spectralseg.statistics.bootstrap import Interval
from spectralseg.statistics.pairing import Paired
from spectralseg.statistics.verdicts import FEWEST, enough, side

OBJECTIVES_STUDY = "snakemake --configfile config/objectives.yaml"
PAPER_STUDY = "snakemake --configfile config/config.yaml"
FEW = f"Without {FEWEST} nothing counts as beyond chance or as equivalent."
_PAPER = {"spatial": Objective(base="bce_dice"), "spatial_spectral": Objective(base="bce_dice", auxiliary="spectral")}


@dataclass(frozen=True)
class Effect:
    """A mean paired difference of a metric with its 95 % interval, in printed units.

    ``seeds``, ``groups`` and ``cases`` count what was paired.
    """

    metric: str
    interval: Interval
    seeds: int
    groups: int
    cases: int

    @classmethod
    def of(cls, pairs: Paired, metric: str) -> Effect | None:
        """The mean of differences; None where nothing is paired and defined."""
        interval = Interval(*(metric_of(metric).factor * part for part in pairs.interval()))
        counts = pairs.informative_seeds, pairs.informative_groups, len(pairs.cases)
        return None if np.isnan(interval).any() else cls(metric, interval, *counts)

    @property
    def direction(self) -> int:
        """1 where better beyond chance, −1 where worse, 0 where the interval holds zero or rests on too little."""
        return metric_of(self.metric).sign * side(self.interval.low, self.interval.high, self.seeds, self.groups)

    @property
    def columns(self) -> dict[str, Any]:
        """As columns of a table."""
        return {**self.interval._asdict(), "seeds": self.seeds, "groups": self.groups, "cases": self.cases}


def objectives(results: Results) -> Mapping[str, Objective]:
    """The objectives of a study by name; the paper's where no configuration lies beside the results."""
    return results.config.objectives if results.config else _PAPER


def is_full_band(objective: Objective) -> bool:
    """Whether an auxiliary term is Eq. (2) over all frequencies alike."""
    options = objective.auxiliary_options
    changed = options.get("band") or options.get("weighting") or options.get("part", "both") != "both"
    return objective.auxiliary == "spectral" and not changed


def published_table(results: Results, name: str) -> PublishedTable:
    """A printed table of the paper.

    Raises:
        InputError: the folder of published numbers was not given, or the file is missing or malformed.
    """
    if results.published is None:
        raise InputError(f"{name}: the study needs published numbers; give their folder to Results")
    return read_published(results.published / f"{name}.csv")


def measurements(results: Results, metrics: Collection[str], suites: Collection[str]) -> Measurements:
    """Records of some metrics and suites, arranged for cells."""
    return Measurements(results.read(metric=metrics, suite=suites), results.leakage, results.baseline)


def conditions(records: pd.DataFrame, *names: str) -> list[dict[Any, Any]]:
    """The different values of some columns of records, all of :data:`CONDITION` by default, as cells of all cases."""
    found = records[list(names or CONDITION)].drop_duplicates()
    return found.assign(leak_free="", **{"class": MEAN}).to_dict("records")


def listed(texts: Iterable[str]) -> str:
    """``a, b and c``."""
    *first, last = [*texts] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def counted(number: int, noun: str) -> str:
    """``1 run`` or ``2 runs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def outcomes(effects: Sequence[Effect]) -> str:
    """``better in 2 of 5 comparisons, worse in 1, undecided in 2``."""
    counts = {sign: sum(effect.direction == sign for effect in effects) for sign in (1, -1, 0)}
    total = counted(len(effects), "comparison")
    return f"better beyond chance in {counts[1]} of {total}, worse in {counts[-1]}, undecided in {counts[0]}"


def few(effects: pd.DataFrame) -> list[str]:
    """What to add where an effect (a row with ``seeds`` and ``groups``) rests on too little for a verdict."""
    counts = effects[["seeds", "groups"]].itertuples(index=False, name=None)
    return [] if all(enough(seeds, groups) for seeds, groups in counts) else [FEW]
