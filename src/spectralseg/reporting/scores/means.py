"""Means of scores over cases, with their counts, and the scores of single cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.metrics.catalogue import DISTANCE, PERCENTAGE_POINTS, Metric, metric_of
from spectralseg.metrics.policy import FALSE_STRUCTURE, POLICY, PROTOCOLS
from spectralseg.metrics.records import MEAN, METHOD_KEYS
from spectralseg.statistics.pairing import Columns, Values

MEANS = (
    *METHOD_KEYS,
    *("protocol", "metric", "class", "unit", "mean", "sd", "low", "high", "leak_free"),
    *("seeds", "groups", "cases", "values", "undefined", "false_structures"),
)
CASE_KEYS = (*METHOD_KEYS, "seed", "case", "group", "class", "protocol")
_VOLUMES = ("volume", "volume_reference")
_Key = tuple[str, ...]  # protocol, metric and method


def score_metrics(protocol: str) -> tuple[str, ...]:
    """Metrics of a protocol in the order of its policy, and the rate of false structures."""
    return (*POLICY[protocol], *((FALSE_STRUCTURE,) if protocol == "sound" else ()))


def unit_of(metric: Metric, protocol: str, in_mm: bool) -> str:
    """Unit of a displayed value: per cent, millimetres, pixels or another one."""
    if metric.unit == DISTANCE:
        return "mm" if in_mm and protocol == "sound" else "pixels"
    return "%" if metric.unit == PERCENTAGE_POINTS else metric.unit


def values_by_method(records: pd.DataFrame) -> dict[_Key, Values]:
    """Values of each protocol, metric and method, in the order of the policy and of the records."""
    columns, keys = Columns(records), ["protocol", "metric", *METHOD_KEYS]
    rows: Mapping[Any, Any] = records.groupby(keys, observed=True, sort=False).indices
    order = [(protocol, metric) for protocol in PROTOCOLS for metric in score_metrics(protocol)]
    return {key: columns.values(rows[key]) for pair in order for key in rows if key[:2] == pair}


def classes_of(values: Values, *, single: bool = False) -> list[str]:
    """``mean`` over the foreground classes; also each class if there are several, or if ``single`` is set."""
    return [MEAN, *values.classes] if len(values.classes) > 1 or single else [MEAN]


def means(by_method: Mapping[_Key, Values], leaks: frozenset[str], in_mm: bool) -> pd.DataFrame:
    """One row per protocol, metric, method and class, in displayed units; columns :data:`MEANS`."""
    rows = []
    for (protocol, name, *method), values in by_method.items():
        metric = metric_of(name)
        keys = dict(zip(METHOD_KEYS, method, strict=True))
        unit = unit_of(metric, protocol, in_mm)
        for label in classes_of(values):
            summary = _summary(values.of_class(label), metric, leaks, name == FALSE_STRUCTURE)
            rows.append({**keys, "protocol": protocol, "metric": name, "class": label, "unit": unit, **summary})
    return pd.DataFrame(rows, columns=list(MEANS))


def _summary(values: Values, metric: Metric, leaks: frozenset[str], events: bool) -> dict[str, Any]:
    per_seed = pd.Series(values.per_seed)
    low, high = np.clip(metric.factor * np.array(values.interval()[1:]), *metric.limits)
    leaked = np.isin(values.cases.astype(str), sorted(leaks))
    return {
        "mean": metric.factor * float(per_seed.mean()),
        "sd": metric.factor * float(per_seed.std(ddof=1)),
        **{"low": float(low), "high": float(high)},
        "leak_free": metric.factor * float(pd.Series(values.without(leaked).per_seed).mean()) if leaks else np.nan,
        **{"seeds": len(values.seeds), "groups": values.informative_groups},
        "cases": int(values.recorded.any((0, 1)).sum()),
        "values": int(np.isfinite(values.values).sum()),
        "undefined": int((values.recorded & ~np.isfinite(values.values)).sum()),
        "false_structures": int(np.nansum(values.values)) if events else pd.NA,
    }


def case_table(records: pd.DataFrame) -> pd.DataFrame:
    """The scores of each case, in the units of the records: one row per method, seed, case, class and protocol.

    Besides :data:`CASE_KEYS`, a column for each metric and for ``situation``: ``missed``, ``spurious`` or ``absent``
    where the policy applies to the Dice, else ``present``.
    """
    order = [name for protocol in PROTOCOLS for name in score_metrics(protocol)]
    names = [name for name in dict.fromkeys((*order, *_VOLUMES)) if (records["metric"] == name).any()]
    keys = list(CASE_KEYS)
    values = records[records["metric"].isin(names)].set_index([*keys, "metric"])["value"].unstack("metric")
    flags = records[records["metric"] == "dsc"].set_index(keys)["flag"].replace("", "present")
    table = values.reindex(flags.index)[names].assign(situation=flags)  # in the order of the records
    return table.reset_index().rename_axis(columns=None)


def mean_of_cases(by_method: Mapping[_Key, Values], metrics: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The mean over classes and seeds of each case and method under ``sound``, in displayed units."""
    methods = dict.fromkeys(key[2:] for key in by_method)
    for method in methods:
        columns = {
            name: _per_case(by_method["sound", name, *method])
            for name in metrics
            if ("sound", name, *method) in by_method
        }
        first = by_method["sound", "dsc", *method]
        groups = dict(zip(first.cases, first.groups, strict=True))
        for case in first.cases:
            keys = dict(zip(METHOD_KEYS, method, strict=True))
            values = {name: metric_of(name).factor * per_case.get(case, np.nan) for name, per_case in columns.items()}
            yield {**keys, "case": case, "group": groups[case], **values}


def _per_case(values: Values) -> dict[str, float]:
    with np.errstate(invalid="ignore"):
        defined = np.isfinite(values.values)
        total, count = np.where(defined, values.values, 0).sum((0, 1)), defined.sum((0, 1))
        return dict(zip(values.cases, np.where(count, total / np.maximum(count, 1), np.nan), strict=True))
