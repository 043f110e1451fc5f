"""Metrics of every case of every run, small enough to be part of a page.

Only clean images: corrupted ones would multiply the page by the number of corruptions, and are in the tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.policy import PROTOCOLS
from spectralseg.metrics.records import MEAN, POOLED, WHOLE_CASE
from spectralseg.reporting.drawing.images import class_colour
from spectralseg.reporting.labels import objective_label, pair_label
from spectralseg.reporting.measurements import LEAK_FREE
from spectralseg.reporting.report.effects_table import METRICS
from spectralseg.reporting.report.overlays import overlays
from spectralseg.reporting.results import Results

ABSENT = -1  # no record; None stands for an undefined value
_SUITES = ("iid", "ood")
_METHOD = ["architecture", "objective", "lambda"]


def case_browser(results: Results) -> dict[str, Any]:
    """What the browser of cases shows, as JSON values.

    Returns:
        ``metrics`` (name, label, digits, whether higher is better), ``protocols``, and ``pairs``: one entry per
        training and test dataset with the ids of its ``cases``, their ``groups`` (None where each case is its own),
        numbers of the cases that are ``seen`` in training or validation data, ``classes``, ``methods``, ``runs``
        (number of the method, seed), ``unit`` of distances by protocol, ``values[protocol][metric][class][run][case]``
        and ``pictures``, see :func:`~spectralseg.reporting.report.overlays.overlays`. Values are whole numbers:
        printed units times ten to the power of ``digits``; None where undefined, -1 where there is no record.
        Class 0 is the mean over the classes with a defined value.

    Raises:
        InputError: the records or the predictions of a run are damaged.
    """
    records = results.read(suite=_SUITES, metric=set(METRICS), protocol=PROTOCOLS)
    records = records[records["case"] != POOLED]
    seen = results.leakage.leaked_cases(LEAK_FREE)
    return {
        "metrics": [[one.name, one.label, one.digits, one.higher_is_better] for one in map(metric_of, METRICS)],
        "protocols": list(PROTOCOLS),
        "pairs": [
            _pair(results, str(pair[0]), str(pair[1]), part, seen)
            for pair, part in records.groupby(["dataset", "test_dataset"])
        ],
    }


def _pair(results: Results, training: str, test: str, records: pd.DataFrame, seen: pd.MultiIndex) -> dict[str, Any]:
    groups = records.groupby("case")["group"].first()
    cases = list(groups.index)
    methods = _distinct(records, _METHOD)
    runs = _distinct(records, [*_METHOD, "seed"])
    classes = _classes(results, test, records)
    matching = {case for *pair, case in seen if pair == [training, test]}
    return {
        "label": pair_label(training, test),
        "cases": cases,
        "groups": list(groups) if (groups != groups.index).any() else None,
        "seen": [place for place, case in enumerate(cases) if case in matching],
        "classes": [[MEAN, ""], *([name, _colour(results, test, name)] for name in classes if len(classes) > 1)],
        "methods": [f"{architecture} {objective_label(*objective)}" for architecture, *objective in methods],
        "runs": [[methods.index(run[:-1]), int(run[-1])] for run in runs],
        "unit": _units(results, test),
        "values": _values(records, classes, runs, cases),
        "pictures": overlays(results, training, test, methods, cases),
    }


def _distinct(records: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    return sorted(records[columns].drop_duplicates().itertuples(index=False, name=None))


def _classes(results: Results, test: str, records: pd.DataFrame) -> list[str]:
    """Foreground classes with records, in the order of their labels as far as that is known."""
    known = results.prepared(test).classes if test in results.prepared_names else []
    found = set(records["class"])
    return [name for name in known if name in found] or sorted(found - {WHOLE_CASE}) or [WHOLE_CASE]


def _colour(results: Results, test: str, name: str) -> str:
    known = results.prepared(test).classes if test in results.prepared_names else []
    return to_hex(class_colour(known.index(name) + 1)) if name in known else ""


def _units(results: Results, test: str) -> dict[str, str]:
    """Unit of distances under each protocol: pixels, or millimetres where the spacing is known."""
    spacing = results.prepared(test).cases["spacing"] != "" if test in results.prepared_names else pd.Series([])
    sound = "mm" if len(spacing) and spacing.all() else "px" if len(spacing) and not spacing.any() else "mm or px"
    return {"published": "px", "sound": sound}


def _values(records: pd.DataFrame, classes: list[str], runs: list[tuple[Any, ...]], cases: list[str]) -> dict[str, Any]:
    records = records[records["class"].isin(classes)]
    found: dict[str, dict[str, Any]] = {protocol: {} for protocol in PROTOCOLS}
    for key, rows in records.groupby(["protocol", "metric"]):
        protocol, metric = map(str, key)
        values = np.full((len(classes), len(runs), len(cases)), -np.inf)
        places = (
            pd.Index(classes).get_indexer(pd.Index(rows["class"])),
            pd.MultiIndex.from_tuples(runs).get_indexer(pd.MultiIndex.from_frame(rows[[*_METHOD, "seed"]])),
            pd.Index(cases).get_indexer(pd.Index(rows["case"])),
        )
        values[places] = rows["value"].to_numpy()
        found[protocol][metric] = _whole_numbers(values, metric_of(metric).factor, metric_of(metric).digits)
    return found


def _whole_numbers(values: NDArray[np.float64], factor: float, digits: int) -> list[Any]:
    """Mean over classes, then the classes where there are several; no record is -inf, undefined NaN."""
    absent = np.isneginf(values)
    defined = np.isfinite(values)
    sums, counts = np.where(defined, values, 0).sum(0), defined.sum(0)
    mean = np.where(counts, sums / np.maximum(counts, 1), np.where(absent.all(0), -np.inf, np.nan))
    together = np.concatenate([mean[None], values]) if len(values) > 1 else mean[None]
    scaled = np.round(together * factor * 10**digits)
    coded = np.where(np.isneginf(scaled), ABSENT, scaled)
    return [[[int(value) if np.isfinite(value) else None for value in run] for run in runs] for runs in coded.tolist()]
