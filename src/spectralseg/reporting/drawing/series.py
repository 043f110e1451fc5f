"""Methods as lines and points: which ones a figure shows, how each looks, and means with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from spectralseg.grid import Run
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import COLUMNS, MEAN, POOLED
from spectralseg.reporting.drawing import style
from spectralseg.reporting.examples import METHODS, Method
from spectralseg.reporting.labels import plain_label
from spectralseg.reporting.results import Results
from spectralseg.statistics.bootstrap import Interval
from spectralseg.statistics.pairing import Values

PROTOCOL = "sound"
LIMIT = len(style.LOOKS)
RESAMPLES = 2_000  # enough for a line; the tables and the forest plot take more
KEYS = ["architecture", "objective", "lambda"]
INTERVAL = f"95 % intervals over seeds and cases ({RESAMPLES:,} bootstrap resamples); with one seed, over cases only"
_PAPER = {(method.architecture, method.objective, method.lam): method.label for method in METHODS}


@dataclass(frozen=True)
class Compared:
    """The methods of a figure in the order of the study, and how many others it leaves out."""

    methods: tuple[Method, ...]
    left_out: int = 0

    @property
    def rule(self) -> str:
        """How the methods were chosen, for the footer."""
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
    """A method as the paper calls it, others by their names in the configuration."""
    return _PAPER.get((architecture, objective, lam)) or plain_label(architecture, objective, lam)


def compared(results: Results, runs: pd.DataFrame, limit: int = LIMIT) -> Compared:
    """Choose methods of a table with the columns of :data:`KEYS`, ``dataset`` and ``seed``, by :attr:`Compared.rule`.

    Methods that share an objective stand together, in the order of the configuration; without one, by name.
    """
    found = runs[[*KEYS, "dataset", "seed"]].drop_duplicates()
    weights = found.groupby(["objective", "lambda"]).size().reset_index(name="runs")
    weights = weights.assign(weight=weights["lambda"].astype(float)).sort_values(
        ["runs", "weight"], ascending=[False, True]
    )
    chosen = found.merge(weights.drop_duplicates("objective")[["objective", "lambda"]])[KEYS].drop_duplicates()
    rows = sorted(chosen.itertuples(index=False, name=None), key=lambda row: order(results, *row))
    methods = tuple(Method(label(*row), *row) for row in rows)
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
    found = set(zip(frame["dataset"], frame["test_dataset"], strict=True))
    return sorted(found, key=lambda pair: (pair[0] != pair[1], dataset_order(results, pair[0]), pair[1]))


def datasets(results: Results, frame: pd.DataFrame) -> list[str]:
    """Training datasets in a table, in the order of the configuration."""
    return sorted(frame["dataset"].unique(), key=lambda name: dataset_order(results, name))


def _place(name: str, names: Sequence[str]) -> tuple[int, str]:
    return (names.index(name) if name in names else len(names), name)


def read(results: Results, metrics: Sequence[str], *, protocol: str = PROTOCOL, **allowed: set[str]) -> pd.DataFrame:
    """Records of single cases; without any file of records an empty table."""
    if not (results.root / "records.parquet").is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    records = results.read(metric=set(metrics), protocol={protocol}, **allowed)
    return records[records["case"] != POOLED]


def of_method(frame: pd.DataFrame, method: Method) -> pd.DataFrame:
    """Rows of one method of a table with the columns of :data:`KEYS`."""
    return frame[
        (frame["architecture"] == method.architecture)
        & (frame["objective"] == method.objective)
        & (frame["lambda"] == method.lam)
    ]


def by(frame: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    """The rows of a table for each text in a column."""
    return {str(name): rows for name, rows in frame.groupby(column)}


def runs_of(frame: pd.DataFrame) -> set[Run]:
    """The runs of a table that has their columns."""
    columns = frame[["dataset", *KEYS, "seed"]].drop_duplicates()
    return {Run(*row) for row in columns.itertuples(index=False, name=None)}


def mean(records: pd.DataFrame) -> Interval:
    """Mean over classes, seeds and cases of the records of one metric and method, in printed units, with its interval.

    NaN where nothing is defined. The limits of a share stay within 0 and 100 %.
    """
    if records.empty:
        return Interval(*[float("nan")] * 3)
    rule = metric_of(records["metric"].iloc[0])
    found = Values.of(records).of_class(MEAN).interval(resamples=RESAMPLES)
    share = rule.factor > 1
    least, most = (0.0 if share or not rule.higher_is_better else -np.inf), (rule.factor if share else np.inf)
    low, high = np.clip([rule.factor * found.low, rule.factor * found.high], least, most)
    return Interval(rule.factor * found.estimate, float(low), float(high))


def band(panel: Axes, x: Sequence[float], found: Sequence[Interval], look: Mapping[str, Any]) -> None:
    """A line of means with its intervals as a band; a single point gets a bar."""
    estimates, lows, highs = (np.array(column) for column in zip(*found, strict=True))
    panel.plot(x, estimates, markersize=2.6, markeredgewidth=0, **look)
    if len(x) > 1:
        panel.fill_between(x, lows, highs, color=look["color"], alpha=0.15, linewidth=0)
    else:
        bar(panel, x[0], found[0], look)


def bar(panel: Axes, x: float, found: Interval, look: Mapping[str, Any]) -> None:
    """A vertical interval."""
    panel.plot([x, x], [found.low, found.high], color=look["color"], linewidth=0.7, solid_capstyle="butt")


def counted(records: pd.DataFrame) -> str:
    """Number of seeds and of cases of each method and condition, for the footer."""
    if records.empty:
        return "No records."
    groups = records.groupby(["dataset", "test_dataset", *KEYS])
    return f"{_range(groups['seed'].nunique(), 'seed')}; {_range(groups['case'].nunique(), 'case')}."


def _range(counts: pd.Series, name: str) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low} to {high} {name}s" if low != high else f"{low} {name}{'' if low == 1 else 's'}"
