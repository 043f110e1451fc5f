"""Shared parts of studies: objectives by kind, effects and published gains, their texts and drawing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from spectralseg.config import Objective
from spectralseg.errors import InputError
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import MEAN
from spectralseg.published.tables import PublishedTable, read_published_table
from spectralseg.reporting.measurements import CONDITION, Measurements
from spectralseg.reporting.rendering import MINUS, counted
from spectralseg.reporting.results import Results
from spectralseg.statistics.bootstrap import Interval
from spectralseg.statistics.pairing import Paired
from spectralseg.statistics.verdicts import FEWEST, enough, side

OBJECTIVES_STUDY = "snakemake --configfile config/objectives.yaml"
PAPER_STUDY = "snakemake --configfile config/config.yaml"
FEW = f"Without {FEWEST} no difference counts as beyond chance or as equivalent."
TEST = ["dataset", "suite", "test_dataset", "corruption", "severity"]
_PAPER = {"spatial": Objective(base="bce_dice"), "spatial_spectral": Objective(base="bce_dice", auxiliary="spectral")}


@dataclass(frozen=True)
class Effect:
    """A mean paired difference of a metric with its 95 % interval, in published units.

    ``seeds``, ``groups`` and ``cases`` count the paired seeds, groups and cases.
    """

    metric: str
    interval: Interval
    seeds: int
    groups: int
    cases: int

    @classmethod
    def of(cls, pairs: Paired, metric: str) -> Effect | None:
        """The mean of the differences; None without a defined difference."""
        interval = Interval(*(metric_of(metric).factor * part for part in pairs.interval()))
        counts = pairs.informative_seeds, pairs.informative_groups, len(pairs.cases)
        return None if np.isnan(interval).any() else cls(metric, interval, *counts)

    @property
    def direction(self) -> int:
        """1 for better beyond chance, −1 for worse, 0 if undecided: zero in the interval, or few seeds or groups."""
        return metric_of(self.metric).sign * side(self.interval.low, self.interval.high, self.seeds, self.groups)

    @property
    def columns(self) -> dict[str, Any]:
        """The effect as columns of a table."""
        return {**self.interval._asdict(), "seeds": self.seeds, "groups": self.groups, "cases": self.cases}


def objectives(results: Results) -> Mapping[str, Objective]:
    """The objectives of a study by name; the paper's if the results have no configuration."""
    return results.config.objectives if results.config else _PAPER


def is_full_band(objective: Objective) -> bool:
    """Whether the auxiliary term is Eq. (2) with equal weight of all frequencies."""
    options = objective.auxiliary_options
    changed = options.get("band") or options.get("weighting") or options.get("part", "both") != "both"
    return objective.auxiliary == "spectral" and not changed


def published_table(results: Results, name: str) -> PublishedTable:
    """A published table of a paper.

    Raises:
        InputError: the folder of published numbers was not given, or the file is missing or malformed.
    """
    if results.published is None:
        raise InputError(f"{name}: the study needs published numbers; give their folder to Results")
    return read_published_table(results.published, name)


def published_gains(results: Results, *tables: str) -> pd.DataFrame:
    """Published means over classes of the paper's methods, with the difference to its spatial objective.

    Column ``published_gain`` is the difference. A cell of several tables is included once.
    """
    cells = pd.concat([published_table(results, name).cells.assign(table=name) for name in tables])
    cells, keys = cells[cells["class"] == MEAN], [*TEST, "architecture", "metric"]
    spatial = cells[cells["objective"] == "spatial"].drop_duplicates(keys)[[*keys, "value"]]
    gains = cells[cells["objective"] != "spatial"].merge(spatial, on=keys, suffixes=("", "_spatial"))
    gains = gains.assign(published_gain=gains["value"] - gains["value_spatial"])
    return gains.drop_duplicates([*keys, "objective", "lambda"])


def measurements(results: Results, metrics: Collection[str], suites: Collection[str]) -> Measurements:
    """Measurements of cells from the records of some metrics and suites."""
    return Measurements(results.read(metric=metrics, suite=suites), results.leakage, results.baseline)


def conditions(records: pd.DataFrame, *names: str) -> list[dict[Any, Any]]:
    """Distinct values of some columns of records, by default :data:`CONDITION`, as cells over all cases."""
    distinct = records[list(names or CONDITION)].drop_duplicates()
    return distinct.assign(leak_free="", **{"class": MEAN}).to_dict("records")


def outcomes(directions: pd.Series) -> str:
    """``better beyond chance in 2 of 5 comparisons, worse in 1, undecided in 2``."""
    better, worse, undecided = ((directions == sign).sum() for sign in (1, -1, 0))
    total = counted(len(directions), "comparison")
    return f"better beyond chance in {better} of {total}, worse in {worse}, undecided in {undecided}"


def few(effects: pd.DataFrame) -> list[str]:
    """:data:`FEW` if an effect (a row with ``seeds`` and ``groups``) has too few of them for a verdict."""
    counts = effects[["seeds", "groups"]].itertuples(index=False, name=None)
    return [] if all(enough(seeds, groups) for seeds, groups in counts) else [FEW]


def with_interval(metric: str, estimate: float, low: float, high: float) -> str:
    """``88.21 [87.90, 88.52]``."""
    text = metric_of(metric).text
    return f"{text(estimate)} [{text(low)}, {text(high)}]".replace("-", MINUS)


def handle(label: str, colour: str, marker: str, **options: Any) -> Line2D:
    """Entry of a legend."""
    return Line2D([], [], color=colour, marker=marker, markersize=3, label=label, **options)


def error_bars(panel: Axes, x: Any, rows: pd.DataFrame, names: Sequence[str], colour: str, marker: str) -> None:
    """A line of means with error bars from columns of means, lower and upper limits, if any mean is finite."""
    means, low, high = (rows[name].to_numpy(float) for name in names)
    if np.isfinite(means).any():
        reach = np.abs(np.stack([low, high]) - means)
        panel.errorbar(x, means, reach, color=colour, marker=marker, markersize=3, elinewidth=0.7)
