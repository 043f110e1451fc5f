"""Methods ranked on each test set.

Every method on every test set: its mean over seeds, its difference to a reference with interval and verdict, the rate
of false structures, and what would settle an open difference.

Which method is best, and is it really better? A rank says little: neighbours may differ by less than two trainings of
the same method do. The verdict tells such differences from real ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import CONDITION_KEYS, MEAN, METHOD_KEYS
from spectralseg.outputs import title_of
from spectralseg.reporting.contrasts import COLUMNS as CONTRAST
from spectralseg.reporting.contrasts import RULE, Contrast, contrasts, entry, to_settle, with_verdicts
from spectralseg.reporting.labels import method_label, tested_on
from spectralseg.reporting.measurements import Measurements
from spectralseg.reporting.rendering import (
    MINUS,
    NO_RUN,
    PROTOCOLS,
    UNDEFINED,
    Block,
    Entry,
    Line,
    Page,
    few_patients,
    protocol_sections,
)
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD
from spectralseg.reporting.table import Table
from spectralseg.reporting.tables._cells import leak_free, leak_warnings, pairs_of, reported_twice

METRICS = ("dsc", "nsd", "hd95", "lesion_f1", "ece")
FALSE = "false_structure"
_PAGE = ("dsc", "lesion_f1")
_CONDITION = ["dataset", *CONDITION_KEYS]
_PLACE = ["protocol", "metric", "leak_free", *_CONDITION]
COLUMNS = (*_PLACE, *METHOD_KEYS, "mean", "sd", "unit", "reference", *CONTRAST, "false_structures")
Method = tuple[str, str, str]  # architecture, objective, λ


def build(results: Results) -> Table:
    """One row per metric, protocol, test condition and method, the best method first.

    Corrupted images have rows for Dice only. ``mean`` and ``sd`` are over seeds, of the mean over cases and classes, in
    printed units; ``false_structures`` is the percentage of the cases without a structure in which one was predicted.
    The page shows Dice, and lesions where they are measured, on clean images.

    Raises:
        InputError: there are no metric records.
    """
    records = results.read(metric={*METRICS, FALSE})
    measurements = Measurements(records, results.leakage, results.baseline)
    cells = pd.DataFrame(_cells(results, records, measurements), columns=list(COLUMNS))
    cells = _ranked(with_verdicts(cells, _PLACE), results)
    page = Page(
        name="leaderboard",
        title=title_of(__doc__),
        warnings=(*results.banner, *leak_warnings(results.leakage, cells)),
        row_headings=("Method", "Reference"),
        sections=protocol_sections(cells, _blocks),
        legend=(
            "Mean over cases and classes, ± standard deviation over seeds. Difference: to the reference, with the same "
            "seeds and cases, and its 95 % interval over seeds and patients. "
            f"{RULE.format(family='methods on the same test set')} To settle: number of seeds (with the same patients) "
            "or of patients (with the same seeds) that would show a difference of the measured size, or of the margin "
            f"if that is larger, in four of five studies; an order of magnitude. {NO_RUN} no run."
        ),
        notes=few_patients(cells["effective_groups"].dropna()),
    )
    pairs = zip(cells["dataset"], cells["test_dataset"], strict=True)
    return Table(page, cells.assign(source=[results.origin(*pair) for pair in pairs]))


def references(methods: Iterable[Method], baseline: str, architectures: Sequence[str]) -> dict[Method, Method | None]:
    """The method that each one is compared with, from the most similar on: the baseline objective with the same
    architecture, the same objective with the first of the architectures, the baseline objective with that.

    Args:
        methods: methods with results under the same condition.
        baseline: the baseline objective; with several λ it is no reference.
        architectures: in the order of the configuration.

    Returns:
        None for a method without any of these, such as the baseline with the first architecture.
    """
    methods = list(methods)
    used = [name for name in architectures if any(method[0] == name for method in methods)]
    first = used[0] if used else ""

    def only(architecture: str, objective: str, lam: str | None = None) -> Method | None:
        matches = [other for other in methods if other[:2] == (architecture, objective) and lam in (None, other[2])]
        return matches[0] if len(matches) == 1 else None

    def reference(method: Method) -> Method | None:
        architecture, objective, lam = method
        if objective != baseline and (same := only(architecture, baseline)):
            return same
        if architecture != first:
            return only(first, objective, lam) or only(first, baseline)
        return None

    return {method: reference(method) for method in methods}


def _cells(results: Results, records: pd.DataFrame, measurements: Measurements) -> Iterator[dict[str, Any]]:
    pairs = list(_pairs(results, _conditions(results, records), measurements))
    for (cell, values, _), columns in zip(pairs, contrasts(pairs, results.margins), strict=True):
        metric, empty = metric_of(cell["metric"]), measurements.values({**cell, "metric": FALSE})
        means = pd.Series(metric.factor * values.per_seed)
        yield {
            **cell,
            **{"seeds": len(values.seeds), "groups": values.informative_groups, "cases": len(values.cases)},
            **columns,
            **{"mean": means.mean(), "sd": means.std(), "unit": metric.unit},
            "false_structures": np.nan if empty is None else 100 * pd.Series(empty.per_seed).mean(),
        }


def _conditions(results: Results, records: pd.DataFrame) -> pd.DataFrame:
    """Methods under each condition, protocol and metric, with leak-free conditions in addition."""
    rows = records[records["metric"] != FALSE]
    rows = rows[rows["suite"].isin(["iid", "ood"]) | (rows["metric"] == METRICS[0])]
    rows = rows[["protocol", "metric", *_CONDITION, *METHOD]].drop_duplicates()
    rows = rows.assign(**{"class": MEAN, "leak_free": ""})
    return pd.concat([rows, leak_free(rows[pairs_of(rows).isin(reported_twice(results.leakage))])])


def _pairs(results: Results, rows: pd.DataFrame, measurements: Measurements) -> Iterator[Contrast]:
    """Cells with the values of their methods and references."""
    architectures = results.architectures(rows)
    for _, part in rows.groupby(_PLACE, sort=False):
        cells: dict[Method, Any] = {
            (c["architecture"], c["objective"], c["lambda"]): c for c in part.to_dict("records")
        }
        for method, reference in references(cells, results.baseline, architectures).items():
            values = measurements.values(cells[method])
            if values is not None:  # the metric has values under this protocol
                other = cells[reference] if reference else None
                label = method_label(other) if other else ""
                yield {**cells[method], "reference": label}, values, measurements.values(other) if other else None


def _ranked(cells: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Rows by test set, metric and protocol, and within these the best method first."""
    orders = {"metric": METRICS, "protocol": tuple(PROTOCOLS), "suite": ("iid", "ood", "noise")}
    orders["dataset"] = tuple(results.config.datasets) if results.config else tuple(sorted(set(cells["dataset"])))
    keys = {
        name: cells[name].map({value: place for place, value in enumerate(order)}) for name, order in orders.items()
    }
    merit = -cells["mean"] * cells["metric"].map(lambda name: metric_of(name).sign).astype(float)
    keyed = cells.assign(**{f"_{name}": key for name, key in keys.items()}, _merit=merit)
    places = ["_dataset", "_suite", "test_dataset", "corruption", "severity", "leak_free", "_metric", "_protocol"]
    return keyed.sort_values([*places, "_merit"], kind="stable", ignore_index=True)[list(COLUMNS)]


def _blocks(cells: pd.DataFrame) -> Iterator[Block]:
    clean = cells[cells["suite"].isin(["iid", "ood"]) & cells["metric"].isin(_PAGE)]
    headings = ("Mean ± sd", "Difference", "To settle", "False structures, %", "Seeds", "Cases")
    for _, part in clean.groupby([*_CONDITION, "leak_free", "metric"], sort=False):
        first = part.iloc[0].to_dict()
        metric = metric_of(first["metric"])
        where = tested_on(first) + (", leak-free" if first["leak_free"] else "")
        title = f"{where}: {metric.label} {metric.arrow}, {metric.unit if not metric.share else '%'}"
        yield Block(title, ("",) * len(headings), headings, tuple(map(_row, part.to_dict("records"))))


def _row(cell: Mapping[Any, Any]) -> Line:
    digits = metric_of(cell["metric"]).digits
    spread = f" ± {cell['sd']:.{digits}f}" if np.isfinite(cell["sd"]) else ""
    mean = f"{cell['mean']:.{digits}f}{spread}" if np.isfinite(cell["mean"]) else UNDEFINED
    false = f"{cell['false_structures']:.1f}" if np.isfinite(cell["false_structures"]) else NO_RUN
    difference = entry(cell) if cell["reference"] else Entry("")
    texts = to_settle(cell), false, f"{cell['seeds']:.0f}", f"{cell['cases']:.0f}"
    kind = f"{MINUS} {cell['reference']}" if cell["reference"] else "reference"
    return Line(method_label(cell), kind, (Entry(mean), difference, *map(Entry, texts)))
