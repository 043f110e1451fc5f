"""Groups of cases.

Every method by the attributes of the cases, such as centre or vendor, and by the size of the structures: mean with
interval in each group, difference to a reference, and the worst group.

A mean over all cases hides a group in which a method fails. Attributes come from the dataset; sizes are terciles of the
area or volume of all structures of a case.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import MEAN, METHOD_KEYS
from spectralseg.outputs import title_of
from spectralseg.reporting.contrasts import COLUMNS as CONTRAST
from spectralseg.reporting.contrasts import RULE, Contrast, contrasts, with_verdicts
from spectralseg.reporting.labels import method_label, tested_on
from spectralseg.reporting.measurements import Measurements
from spectralseg.reporting.rendering import NO_RUN, UNDEFINED, Block, Entry, Line, Page, few_patients, signed
from spectralseg.reporting.rendering.page import PROTOCOLS, Section
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD
from spectralseg.reporting.table import Table
from spectralseg.reporting.tables.leaderboard import Method, references
from spectralseg.statistics.bootstrap import KEPT, draw_together
from spectralseg.statistics.pairing import Values

METRICS = ("dsc", "lesion_f1")
PROTOCOL = "sound"
SIZE, SIZES = "size of the structures", ("small", "medium", "large")
MOST = 10  # groups of an attribute; one with more is left out
_FEWEST = 2  # cases of a group
_PLACE = ["suite", "dataset", "test_dataset", "metric"]
_OWN = (
    *("protocol", *_PLACE, "attribute", "value", *METHOD_KEYS, "unit", "mean", "low", "high", "gap", "worst"),
    *("seeds", "groups", "effective_groups", "cases", "undefined", "sd", "reference"),
)
# Columns of a difference; limits and numbers that the mean has as well get a prefix.
DIFFERENCE = {name: f"difference_{name}" if name in _OWN else name for name in CONTRAST}
COLUMNS = (*_OWN, *DIFFERENCE.values())
_Part = tuple[dict[str, Any], Values, Values, Values | None]  # cell; values of all cases, group, group of the reference
Strata = dict[str, dict[str, set[str]]]  # attribute → value → cases


def build(results: Results) -> Table:
    """One row per metric, test set, attribute, value and method; see the module.

    ``gap`` is the mean of the group less that over all cases of the test set, in printed units; ``worst`` marks the
    group with the worst mean. The columns of :data:`DIFFERENCE` compare with the reference of the leaderboard on the
    cases of the group; verdicts are adjusted for all methods and groups of an attribute on the same test set. An
    attribute counts if it has 2 to :data:`MOST` values, each in two cases at least.

    Raises:
        InputError: there are no metric records.
    """
    cells = pd.DataFrame(_cells(results), columns=list(COLUMNS))
    merit = cells["mean"] * cells["metric"].map(lambda name: metric_of(name).sign).astype(float)
    keys = [*_PLACE, "attribute", *METHOD]
    cells = with_verdicts(cells, [*_PLACE, "attribute"])
    cells["worst"] = (merit == merit.groupby([cells[key] for key in keys]).transform("min")) & merit.notna()
    page = Page(
        name="strata",
        title=title_of(__doc__),
        warnings=results.banner,
        row_headings=("Method", ""),
        sections=(Section(PROTOCOL, f"Protocol: {PROTOCOL} ({PROTOCOLS[PROTOCOL]})", tuple(_blocks(cells))),),
        legend=(
            "Mean over the cases of a group and over classes, with its 95 % interval over seeds and patients. Worst: "
            "the group with the worst mean, and this mean less that over all cases. By chance alone, one of several "
            "groups is worst, most often one with few cases. The CSV file and the leaderboard of the report also have "
            "differences to the reference on the cases of each group. "
            f"{RULE.format(family='methods and groups of an attribute on the same test set')} {NO_RUN} no value."
        ),
        notes=few_patients(cells["effective_groups"]),
    )
    pairs = zip(cells["dataset"], cells["test_dataset"], strict=True)
    return Table(page, cells.assign(source=[results.origin(*pair) for pair in pairs]))


def strata_of(results: Results, test_dataset: str, sizes: Mapping[str, float]) -> Strata:
    """Groups of the test cases of a dataset.

    Args:
        results: the results folder.
        test_dataset: name of the dataset.
        sizes: size of the structures of each case.
    """
    strata: Strata = {}
    if test_dataset in results.prepared_names:
        cases = results.prepared(test_dataset).cases
        cases = cases[cases["part"] == "test"]
        for case, attributes in zip(cases["case"], cases["attributes"], strict=True):
            for name, value in json.loads(attributes or "{}").items():
                strata.setdefault(name, {}).setdefault(str(value), set()).add(case)
    present = {case: size for case, size in sizes.items() if size > 0}
    if len(present) >= _FEWEST * len(SIZES):
        limits = np.quantile(list(present.values()), [1 / 3, 2 / 3])
        places = {case: int(np.searchsorted(limits, size)) for case, size in present.items()}
        strata[SIZE] = {name: {case for case, n in places.items() if n == k} for k, name in enumerate(SIZES)}
    return {
        name: dict(sorted(groups.items(), key=lambda item: _order(item[0])))
        for name, groups in strata.items()
        if 2 <= len(groups) <= MOST and min(map(len, groups.values())) >= _FEWEST
    }


def _order(value: str) -> tuple[int, str]:
    return (SIZES.index(value), "") if value in SIZES else (len(SIZES), value)


def _cells(results: Results) -> Iterator[dict[str, Any]]:
    suites = {"iid", "ood"}
    records = results.read(suite=suites, metric=set(METRICS), protocol={PROTOCOL})
    measurements = Measurements(records, results.leakage, results.baseline)
    rows = records[[*_PLACE, "corruption", "severity", *METHOD]].drop_duplicates()
    rows = rows.assign(protocol=PROTOCOL, leak_free="", **{"class": MEAN})
    sizes = _sizes(results)
    strata = {name: strata_of(results, name, sizes.get(name, {})) for name in dict.fromkeys(rows["test_dataset"])}
    parts = list(_parts(results, measurements, rows, strata))
    pairs: Iterator[Contrast] = ((cell, part, reference) for cell, _, part, reference in parts)
    for (cell, *_), own, columns in zip(parts, _means(parts), contrasts(pairs, results.margins), strict=True):
        yield {**cell, **own, **{DIFFERENCE[name]: value for name, value in columns.items()}}


def _means(parts: Iterable[_Part]) -> Iterator[dict[str, Any]]:
    """The columns on the mean of each group."""
    remaining = iter(parts)
    while block := list(itertools.islice(remaining, KEPT // 4)):
        draw_together((values.values, values.members, values.outcomes) for _, _, values, _ in block)
        for cell, whole, values, _ in block:
            metric = metric_of(cell["metric"])
            mean, low, high = metric.factor * np.array(values.interval())
            low, high = np.clip([low, high], *metric.limits)
            yield {
                **{"unit": metric.unit, "mean": mean, "low": low, "high": high},
                "sd": metric.factor * pd.Series(values.per_seed).std(),
                "gap": mean - metric.factor * pd.Series(whole.per_seed).mean(),
                **{"seeds": len(values.seeds), "groups": values.informative_groups, "cases": len(values.cases)},
                "effective_groups": round(values.effective_groups, 1),
                "undefined": int((values.recorded & ~np.isfinite(values.values)).sum()),
            }


def _sizes(results: Results) -> dict[str, dict[str, float]]:
    """Pixels of all structures of each case, by test dataset: the same for every method."""
    counts = results.read(suite={"iid", "ood"}, metric={"tp", "fn"}, protocol={PROTOCOL})
    totals = counts.groupby(["test_dataset", *METHOD, "dataset", "seed", "case"], observed=True)["value"].sum()
    largest = totals.groupby(level=["test_dataset", "case"]).max()
    sizes: dict[str, dict[str, float]] = {}
    for name, case, size in largest.reset_index().itertuples(index=False, name=None):
        sizes.setdefault(str(name), {})[str(case)] = float(size)
    return sizes


def _parts(
    results: Results, measurements: Measurements, rows: pd.DataFrame, strata: Mapping[str, Strata]
) -> Iterator[_Part]:
    """Cells of each method and group with cases, with the values that they compare."""
    for _, part in rows.groupby(_PLACE, sort=False):
        cells: dict[Method, dict[str, Any]] = {
            (c["architecture"], c["objective"], c["lambda"]): {str(key): value for key, value in c.items()}
            for c in part.to_dict("records")
        }
        measured = {method: measurements.values(cell) for method, cell in cells.items()}
        reference_of = references(cells, results.baseline, results.architectures(rows))
        for method, cell in cells.items():
            whole, reference = measured[method], reference_of[method]
            if whole is None:
                continue
            other = measured[reference] if reference else None
            label = method_label(cells[reference]) if reference else ""
            for attribute, value, cases in _groups(strata[cell["test_dataset"]]):
                selected = _of_cases(whole, cases)
                if selected.recorded.any():
                    group = {**cell, "attribute": attribute, "value": value, "reference": label}
                    yield group, whole, selected, None if other is None else _of_cases(other, cases)


def _of_cases(values: Values, cases: list[str]) -> Values:
    return values.without(~np.isin(values.cases, cases))


def _groups(strata: Strata) -> Iterator[tuple[str, str, list[str]]]:
    """Attribute, value and cases of each group."""
    for attribute, groups in strata.items():
        for value, cases in groups.items():
            yield attribute, value, sorted(cases)


def _blocks(cells: pd.DataFrame) -> Iterator[Block]:
    for keys, part in cells.groupby([*_PLACE, "attribute"], sort=False):
        cell, metric = dict(zip([*_PLACE, "attribute"], keys, strict=True)), metric_of(str(keys[3]))
        columns = list(dict.fromkeys(part["value"]))
        rows = [_row(lines.to_dict("records"), columns) for _, lines in part.groupby(METHOD, sort=False)]
        counts = part.groupby("value", sort=False)["cases"].max()
        foot = Line("Cases", "", (*(Entry(f"{counts[value]}") for value in columns), Entry("")))
        title = f"{tested_on(cell)} by {cell['attribute']}: {metric.label} {metric.arrow}"
        yield Block(title, ("",) * (len(columns) + 1), (*columns, "Worst"), tuple(rows), (foot,))


def _row(cells: Iterable[Mapping[Any, Any]], columns: list[str]) -> Line:
    by_value = {cell["value"]: cell for cell in cells}
    first = next(iter(by_value.values()))
    worst = next((cell for cell in by_value.values() if cell["worst"]), None)
    text = "" if worst is None else f"{worst['value']} ({signed(worst['gap'])})"
    return Line(method_label(first), "", (*(_entry(by_value.get(value)) for value in columns), Entry(text)))


def _entry(cell: Mapping[Any, Any] | None) -> Entry:
    if cell is None:
        return Entry(NO_RUN)
    if np.isnan(cell["mean"]):
        return Entry(UNDEFINED)
    digits = metric_of(cell["metric"]).digits
    limits = f" [{cell['low']:.{digits}f}, {cell['high']:.{digits}f}]" if np.isfinite(cell["low"]) else ""
    return Entry(f"{cell['mean']:.{digits}f}{limits}")
