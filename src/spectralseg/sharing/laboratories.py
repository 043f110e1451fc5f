"""Differences to the baseline within and across laboratories.

Differences of every method to the baseline in each laboratory, and their random-effects mean over the laboratories.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import LABORATORY, MEAN
from spectralseg.outputs import title_of
from spectralseg.reporting.labels import method_label, pair_label
from spectralseg.reporting.rendering import (
    UNDEFINED,
    Block,
    Entry,
    Line,
    Page,
    few_patients,
    limits,
    protocol_sections,
    signed,
)
from spectralseg.reporting.results import BANNER
from spectralseg.reporting.table import Table
from spectralseg.statistics.laboratories import ALL, COLUMNS
from spectralseg.statistics.random_effects import FEW

NAME = "laboratories"
METRICS = ("dsc", "iou", "nsd", "hd95", "ece")  # on the page; the CSV file has all
_SUITES = ("iid", "ood")
_SCALED = ("difference", "low", "high", "prediction_low", "prediction_high")
_PLACE = ["dataset", "test_dataset", "architecture", "objective", "lambda"]
_COUNTS = ("seeds", "groups", "cases", "undefined", "unpaired")
_HEADINGS = (
    *("Difference [95 %]", "Prediction, 95 %", "τ", "I², %"),
    *("Seeds", "Patients", "Cases", "Undefined", "Unpaired"),
)
LEGEND = (
    "Method less baseline for the same laboratory, seeds and cases; clean images, mean over classes. Laboratory: "
    "interval over its seeds and patients. All laboratories: mean of a random-effects model with an interval over "
    "laboratories and patients (Paule and Mandel; Hartung, Knapp, Sidik and Jonkman), which generalises to other "
    "laboratories. Prediction: where the difference of another laboratory is expected; it needs three. τ: standard "
    "deviation of the true differences between laboratories. I²: share of the variation between laboratories that "
    "their seeds do not explain; empty where each has one seed. Patients and cases of all laboratories: sums, also of "
    "those that they share. Intervals are not adjusted for the number of comparisons."
)


def laboratories_table(
    effects: pd.DataFrame, laboratories: Sequence[str], remarks: Sequence[str], *, demonstration: bool
) -> Table:
    """The table, with the columns of :mod:`spectralseg.statistics.laboratories` and ``tau`` and ``unit`` as numbers.

    Args:
        effects: rows of :func:`spectralseg.statistics.laboratories.compare_laboratories`.
        laboratories: their names.
        remarks: sentences on differences between the laboratories, for the notes.
        demonstration: whether any dataset is a phantom.
    """
    cells = _in_printed_units(effects)
    visible = cells[(cells["class"] == MEAN) & cells["suite"].isin(_SUITES) & cells["metric"].isin(METRICS)]
    baselines = sorted(set(effects["baseline"]))
    page = Page(
        name=NAME,
        title=title_of(__doc__),
        warnings=(*([BANNER] if demonstration else []), *_warnings(laboratories)),
        row_headings=("Method and test set", "Laboratory"),
        sections=protocol_sections(visible, _blocks),
        legend=" ".join([*(f"Baseline: {name}." for name in baselines), LEGEND]),
        notes=(*remarks, *few_patients(visible.loc[visible[LABORATORY] != ALL, "groups"])),
    )
    return Table(page, cells)


def _warnings(laboratories: Sequence[str]) -> tuple[str, ...]:
    count = len(laboratories)
    if count >= FEW:
        return ()
    return (
        f"{count} laboratories: the variance between them rests on {count - 1} degree{'s' * (count > 2)} of freedom. "
        "Intervals across laboratories are wide, and τ and I² are rough; an interval that contains zero does not show "
        "that laboratories agree.",
    )


def _in_printed_units(effects: pd.DataFrame) -> pd.DataFrame:
    rules = [metric_of(name) for name in effects["metric"]]
    factors = pd.Series([rule.factor for rule in rules], effects.index, dtype=float)
    scaled = {name: effects[name].astype(float) * factors for name in _SCALED}
    tau2 = effects["tau2"].astype(float) * factors**2
    units = [rule.unit for rule in rules]
    cells = effects[list(COLUMNS)].assign(**scaled, tau2=tau2, unit=units)
    cells.insert(list(cells.columns).index("tau2"), "tau", tau2**0.5)
    return cells


def _blocks(cells: pd.DataFrame) -> Iterator[Block]:
    for metric in METRICS:
        part = cells[cells["metric"] == metric]
        if len(part):
            rule = metric_of(metric)
            title = f"{rule.label} {rule.arrow}, {part['unit'].iloc[0]}"
            yield Block(title, ("",) * len(_HEADINGS), _HEADINGS, tuple(_lines(part)))


def _lines(cells: pd.DataFrame) -> Iterator[Line]:
    for _, part in cells.groupby(_PLACE, sort=False, observed=True):
        rows = part.to_dict("records")
        label = f"{method_label(rows[0])}, {pair_label(rows[0]['dataset'], rows[0]['test_dataset'])}"
        for place, row in enumerate(rows):
            yield Line("" if place else label, row[LABORATORY], tuple(_entries(row)))


def _entries(row: Mapping[Any, Any]) -> Iterator[Entry]:
    digits = metric_of(row["metric"]).digits
    yield Entry(_interval(row, digits))
    yield Entry(_prediction(row, digits))
    yield Entry("" if math.isnan(row["tau"]) else f"{row['tau']:.{digits}f}")
    yield Entry("" if math.isnan(row["i2"]) else f"{100 * row['i2']:.0f}")
    yield from (Entry(str(int(row[name]))) for name in _COUNTS)


def _interval(row: Mapping[Any, Any], digits: int) -> str:
    """The difference with its interval, or alone without one."""
    if math.isnan(row["difference"]):
        return UNDEFINED
    if math.isnan(row["low"]):
        return signed(row["difference"], digits)
    return limits(row["difference"], row["low"], row["high"], digits=digits)


def _prediction(row: Mapping[Any, Any], digits: int) -> str:
    low, high = row["prediction_low"], row["prediction_high"]
    return "" if math.isnan(low) else f"{signed(low, digits)} to {signed(high, digits)}"
