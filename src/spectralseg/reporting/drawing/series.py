"""Methods as lines and points: selection, looks, and means with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import COLUMNS, MEAN, POOLED
from spectralseg.reporting.drawing import style
from spectralseg.reporting.example_cases import METHODS, Method
from spectralseg.reporting.labels import plain_label
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD, rows_where
from spectralseg.statistics.bootstrap import Interval
from spectralseg.statistics.pairing import Values

PROTOCOL = "sound"
LIMIT = len(style.LOOKS)
RESAMPLES = 2_000  # enough for lines; the tables and the forest plot use more
INTERVAL = f"95 % intervals over seeds and cases ({RESAMPLES:,} bootstrap resamples); with one seed, over cases only"
_PAPER = {method.keys: method.label for method in METHODS}


@dataclass(frozen=True)
class Compared:
    """The methods of a figure in the order of the study, and the number of methods that it leaves out."""

    methods: tuple[Method, ...]
    left_out: int = 0

    @property
    def rule(self) -> str:
        """The rule of selection, for the footer."""
        others = f" Methods left out: {self.left_out}." if self.left_out else ""
        return (
            "Methods: in the order of the study, one λ per objective, that of the most runs (of several the smallest)."
            f"{others}"
        )

    def look(self, method: Method) -> dict[str, Any]:
        """Colour, marker and dashes of a method."""
        return style.LOOKS[self.methods.index(method)]

    def handles(self, labels: Mapping[Method, str] | None = None, **options: Any) -> list[Line2D]:
        """Entries of a legend."""
        labels = labels or {}
        return [
            Line2D([], [], markersize=3, label=labels.get(m, m.label), **self.look(m), **options) for m in self.methods
        ]


def label(architecture: str, objective: str, lam: str) -> str:
    """The paper's name of a method; other methods by their names in the configuration."""
    return _PAPER.get((architecture, objective, lam)) or plain_label(architecture, objective, lam)


def compared(results: Results, runs: pd.DataFrame, limit: int = LIMIT) -> Compared:
    """Select methods by :attr:`Compared.rule` from a table with the keys of runs.

    Methods are sorted by objective in the order of the configuration; without a configuration, by name.
    """
    runs = runs[[*METHOD, "dataset", "seed"]].drop_duplicates()
    counts = runs.groupby(["objective", "lambda"]).size().reset_index(name="runs")
    counts = counts.assign(weight=counts["lambda"].astype(float))
    best = counts.sort_values(["runs", "weight"], ascending=[False, True]).drop_duplicates("objective")
    keys = runs.merge(best[["objective", "lambda"]])[METHOD].drop_duplicates().itertuples(index=False, name=None)
    methods = tuple(Method(label(*key), *key) for key in sorted(keys, key=lambda key: order(results, *key)))
    return Compared(methods[:limit], len(methods[limit:]))


def order(results: Results, architecture: str, objective: str, lam: str) -> tuple[Any, ...]:
    """Key that sorts methods by objective and architecture in the order of the configuration, then by λ."""
    config = results.config
    objectives, architectures = (list(config.objectives), list(config.architectures)) if config else ([], [])
    return (*_place(objective, objectives), *_place(architecture, architectures), float(lam))


def dataset_order(results: Results, name: str) -> tuple[Any, ...]:
    """Key that sorts datasets in the order of the configuration."""
    return _place(name, list(results.config.datasets) if results.config else [])


def places(results: Results, frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of training and test dataset in a table: own test sets in the order of the configuration, then others."""
    pairs = set(zip(frame["dataset"], frame["test_dataset"], strict=True))
    return sorted(pairs, key=lambda pair: (pair[0] != pair[1], dataset_order(results, pair[0]), pair[1]))


def datasets(results: Results, frame: pd.DataFrame) -> list[str]:
    """Training datasets in a table, in the order of the configuration."""
    return sorted(frame["dataset"].unique(), key=lambda name: dataset_order(results, name))


def _place(name: str, names: Sequence[str]) -> tuple[int, str]:
    return (names.index(name) if name in names else len(names), name)


def read(results: Results, metrics: Sequence[str], *, protocol: str = PROTOCOL, **allowed: set[str]) -> pd.DataFrame:
    """Records of single cases; an empty table if there is no file of records."""
    if not (results.root / "records.parquet").is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    records = results.read(metric=set(metrics), protocol={protocol}, **allowed)
    return records[records["case"] != POOLED]


def of_method(frame: pd.DataFrame, method: Method) -> pd.DataFrame:
    """Rows of one method of a table with the columns of :data:`~spectralseg.reporting.rows.METHOD`."""
    return rows_where(frame, **dict(zip(METHOD, method.keys, strict=True)))


def by(frame: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    """The rows of a table for each value of a column."""
    return {str(name): rows for name, rows in frame.groupby(column)}


def mean(records: pd.DataFrame) -> Interval:
    """Mean over classes, seeds and cases of the records of one metric and method, in published units, with interval.

    NaN without a defined value. The limits of a share are clipped to 0 and 100 %.
    """
    if records.empty:
        return Interval(*[float("nan")] * 3)
    metric = metric_of(records["metric"].iloc[0])
    interval = Values.of(records).of_class(MEAN).interval(resamples=RESAMPLES)
    share = metric.factor > 1
    least, most = (0.0 if share or not metric.higher_is_better else -np.inf), (metric.factor if share else np.inf)
    low, high = np.clip([metric.factor * interval.low, metric.factor * interval.high], least, most)
    return Interval(metric.factor * interval.estimate, float(low), float(high))


def band(panel: Axes, x: Sequence[float], intervals: Sequence[Interval], look: Mapping[str, Any]) -> None:
    """A line of two or more means with their intervals as a band."""
    estimates, lows, highs = (np.array(column) for column in zip(*intervals, strict=True))
    panel.plot(x, estimates, markersize=2.6, markeredgewidth=0, **look)
    panel.fill_between(x, lows, highs, color=look["color"], alpha=0.15, linewidth=0)


def points(
    panel: Axes, x: Sequence[float], intervals: Sequence[Interval], look: Mapping[str, Any], *, size: float = 3
) -> None:
    """A line of means with a vertical interval at each."""
    panel.plot(x, [interval.estimate for interval in intervals], markersize=size, markeredgewidth=0, **look)
    for place, interval in zip(x, intervals, strict=True):
        bar(panel, place, interval, look)


def bar(panel: Axes, x: float, interval: Interval, look: Mapping[str, Any]) -> None:
    """A vertical interval."""
    panel.plot([x, x], [interval.low, interval.high], color=look["color"], linewidth=0.7, solid_capstyle="butt")


def counts_text(records: pd.DataFrame) -> str:
    """Numbers of seeds and cases per method and condition, for the footer."""
    if records.empty:
        return "No records."
    groups = records.groupby(["dataset", "test_dataset", *METHOD])
    return f"{range_text(groups['seed'].nunique(), 'seed')}; {range_text(groups['case'].nunique(), 'case')}."


def range_text(counts: pd.Series, name: str) -> str:
    """The smallest and largest of some counts, e.g. ``1 to 3 seeds``."""
    low, high = int(counts.min()), int(counts.max())
    return f"{low} to {high} {name}s" if low != high else f"{low} {name}{'' if low == 1 else 's'}"
