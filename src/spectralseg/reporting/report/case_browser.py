"""Metrics of every case of every run on clean images, small enough to be part of a page.

Metrics of corrupted images are in the tables: here they would multiply the size of the page.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from spectralseg.data.prepared import PreparedDataset
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.policy import PROTOCOLS
from spectralseg.metrics.records import MEAN, POOLED, WHOLE_CASE
from spectralseg.reporting.drawing.images import class_colour
from spectralseg.reporting.labels import objective_label, pair_label
from spectralseg.reporting.measurements import LEAK_FREE
from spectralseg.reporting.report.overlays import overlays
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD
from spectralseg.reporting.tables import leaderboard

METRICS = (*leaderboard.METRICS, leaderboard.FALSE)
ABSENT = -1  # no record; None is an undefined value
_SUITES = ("iid", "ood")


def case_browser(results: Results) -> dict[str, Any]:
    """The data of the case browser as JSON values.

    Returns:
        ``metrics`` (name, label, digits, whether higher is better), ``protocols``, and ``pairs``: one entry per
        training and test dataset with the ids of its ``cases``, their ``groups`` (None if each case is its own),
        positions of the leaked cases (``seen`` in training or validation data), ``classes``, ``methods``, ``runs``
        (position of the method, seed), ``unit`` of distances by protocol,
        ``values[protocol][metric][class][run][case]`` and ``pictures``, see
        :func:`~spectralseg.reporting.report.overlays.overlays`. Values are integers: printed units times ten to the
        power of ``digits``; None if undefined, -1 without a record. Class 0 is the mean over the classes with a
        defined value.

    Raises:
        InputError: the records or the predictions of a run are damaged.
    """
    records = results.read(suite=_SUITES, metric=set(METRICS), protocol=PROTOCOLS)
    records = records[records["case"] != POOLED]
    leaks = results.leakage.leaked_cases(LEAK_FREE)
    return {
        "metrics": [[rule.name, rule.label, rule.digits, rule.higher_is_better] for rule in map(metric_of, METRICS)],
        "protocols": list(PROTOCOLS),
        "pairs": [
            _pair(results, str(pair[0]), str(pair[1]), part, leaks)
            for pair, part in records.groupby(["dataset", "test_dataset"])
        ],
    }


def _pair(results: Results, training: str, test: str, records: pd.DataFrame, leaks: pd.MultiIndex) -> dict[str, Any]:
    data = results.prepared(test) if test in results.prepared_names else None
    groups = records.groupby("case")["group"].first()
    cases = list(groups.index)
    methods = _distinct(records, METHOD)
    runs = _distinct(records, [*METHOD, "seed"])
    labels = data.classes if data else []
    present = set(records["class"])
    classes = [name for name in labels if name in present] or sorted(present - {WHOLE_CASE}) or [WHOLE_CASE]
    colours = {name: to_hex(class_colour(label)) for label, name in enumerate(labels, 1)}
    leaked = {case for *pair, case in leaks if pair == [training, test]}
    return {
        "label": pair_label(training, test),
        "cases": cases,
        "groups": list(groups) if (groups != groups.index).any() else None,
        "seen": [place for place, case in enumerate(cases) if case in leaked],
        "classes": [[MEAN, ""], *([name, colours.get(name, "")] for name in classes if len(classes) > 1)],
        "methods": [f"{architecture} {objective_label(*objective)}" for architecture, *objective in methods],
        "runs": [[methods.index(run[:-1]), int(run[-1])] for run in runs],
        "unit": {"published": "px", "sound": _unit(data)},
        "values": _values(records, classes, runs, cases),
        "pictures": overlays(results, training, test, methods, cases),
    }


def _distinct(records: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    return sorted(records[columns].drop_duplicates().itertuples(index=False, name=None))


def _unit(data: PreparedDataset | None) -> str:
    """Unit of distances under the sound protocol: millimetres if the spacing is known, else pixels."""
    recorded = set(data.cases["spacing"] != "") if data else set()
    return "mm" if recorded == {True} else "px" if recorded == {False} else "mm or px"


def _values(records: pd.DataFrame, classes: list[str], runs: list[tuple[Any, ...]], cases: list[str]) -> dict[str, Any]:
    records = records[records["class"].isin(classes)]
    coded: dict[str, dict[str, Any]] = {protocol: {} for protocol in PROTOCOLS}
    for key, rows in records.groupby(["protocol", "metric"]):
        protocol, metric = map(str, key)
        values = np.full((len(classes), len(runs), len(cases)), -np.inf)
        places = (
            pd.Index(classes).get_indexer(pd.Index(rows["class"])),
            pd.MultiIndex.from_tuples(runs).get_indexer(pd.MultiIndex.from_frame(rows[[*METHOD, "seed"]])),
            pd.Index(cases).get_indexer(pd.Index(rows["case"])),
        )
        values[places] = rows["value"].to_numpy()
        coded[protocol][metric] = _integers(values, metric_of(metric).factor, metric_of(metric).digits)
    return coded


def _integers(values: NDArray[np.float64], factor: float, digits: int) -> list[Any]:
    """Mean over classes, then each class if there are several. In ``values`` no record is -inf and undefined is NaN."""
    defined = np.isfinite(values)
    sums, counts = np.where(defined, values, 0).sum(0), defined.sum(0)
    mean = np.where(counts, sums / np.maximum(counts, 1), np.where(np.isneginf(values).all(0), -np.inf, np.nan))
    layers = np.concatenate([mean[None], values]) if len(values) > 1 else mean[None]
    scaled = np.round(layers * factor * 10**digits)
    coded = np.where(np.isneginf(scaled), ABSENT, scaled)
    return [[[int(value) if np.isfinite(value) else None for value in run] for run in runs] for runs in coded.tolist()]
