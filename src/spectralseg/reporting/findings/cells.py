"""Cells and tables of a page: differences with intervals and verdicts, values of the baseline, and counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.reporting.findings.extract import BETTER, EQUIVALENT, MAIN_PROTOCOL, UNDECIDED, WORSE
from spectralseg.reporting.findings.numbers import Numbers, Row, select
from spectralseg.reporting.labels import architecture_label, dataset_label, objective_label
from spectralseg.reporting.rendering import NO_RUN, counted, few_patients, limits
from spectralseg.reporting.rendering.markdown import pipe_table
from spectralseg.statistics.verdicts import FEWEST_SEEDS

MARKS = {BETTER: "**better**", WORSE: "**worse**", EQUIVALENT: "equivalent", UNDECIDED: ""}
MOST_DIGITS = 6  # after the decimal point; the CSV files have six significant digits


def effect_table(numbers: Numbers, rows: pd.DataFrame, columns: Sequence[tuple[str, str]], what: str = "metric") -> str:
    """For each architecture the values of the baseline, then the effects; columns without an effect are left out.

    ``columns`` are metrics, or the values of another column, with a protocol.
    """
    keys = [what, "protocol"]
    rows = rows.dropna(subset=["low"])
    present = set(rows[keys].itertuples(index=False, name=None))
    labels = {name: metric_of(name).label if what == "metric" else f"DSC of {name}" for name, _ in columns}
    headings = {column: f"{labels[column[0]]}, {column[1]}" for column in columns if column in present}
    lines = []
    for _, part in rows.groupby("architecture", sort=False):
        values = part.drop_duplicates(keys).assign(objective=numbers.config.baseline, difference=math.nan)
        lines += [values.assign(**{"lambda": "0"}), part]
    return method_table(pd.concat(lines), keys, headings, entry)


def method_table(
    rows: pd.DataFrame, keys: Sequence[str], headings: Mapping[Any, str], text_of: Callable[[Any], str]
) -> str:
    """A table with one row per method; ``headings`` are those of the columns, by the values of ``keys``."""
    cells: dict[str, dict[Any, Row]] = {}
    for row in rows.to_dict("records"):
        method = f"{architecture_label(row['architecture'])} `{objective_label(row['objective'], row['lambda'])}`"
        cells.setdefault(method, {})[tuple(row[key] for key in keys)] = row
    lines = [(method, *(text_of(row.get(key)) for key in headings)) for method, row in cells.items()]
    return pipe_table(("", *headings.values()), lines)


def entry(row: Row | None, *, marked: bool = True) -> str:
    """A difference with its 95 % interval and its verdict; for the baseline its value."""
    if row is None or row["low"] != row["low"]:
        return NO_RUN
    if row["difference"] != row["difference"]:
        return value_text(row)
    few = f"({counted(int(row['seeds']), 'seed')})" if row["seeds"] < FEWEST_SEEDS else ""
    mark = MARKS[row["verdict"]] if marked else ""
    return " ".join(filter(None, (limits_apart(row, "low", "high", [0.0]), few, mark)))


def limits_apart(row: Row, low: str, high: str, bounds: Iterable[float]) -> str:
    """A difference with its interval, with digits enough that no limit is rounded to a bound of the verdict."""
    digits = digits_of(row)
    while digits < MOST_DIGITS and any(
        round(row[limit], digits) in (bound, -bound) for limit in (low, high) for bound in bounds
    ):
        digits += 1
    return limits(row["difference"], row[low], row[high], digits=digits)


def value_text(row: Row) -> str:
    """The value of the baseline, and its standard deviation over seeds if there are several."""
    deviation = f" ± {row['reference_sd']:.{digits_of(row)}f}" if row["reference_sd"] == row["reference_sd"] else ""
    return f"{row['reference_measured']:.{digits_of(row)}f}{deviation}"


def digits_of(row: Row) -> int:
    """Digits after the decimal point of a row's metric."""
    return metric_of(row["metric"]).digits


def cell_labels(row: Row) -> tuple[str, str]:
    """Labels of a row's dataset and network."""
    return dataset_label(row["dataset"]), architecture_label(row["architecture"])


def sizes_text(rows: pd.DataFrame) -> str:
    """Numbers of seeds and patients behind a table, and a warning where patients are few."""
    rows = select(rows, protocol=MAIN_PROTOCOL, metric="dsc").dropna(subset=["low"])
    if rows.empty:
        return ""
    columns = {"Seeds": "seeds", "Test patients or images": "groups"}
    phrases = [f"{name}: {range_text(rows[column])}." for name, column in columns.items()]
    return " ".join([*phrases, *few_patients(rows["groups"])])


def range_text(counts: pd.Series[Any]) -> str:
    """The number, or the least and the largest; empty without any."""
    low, high = counts.min(), counts.max()
    return f"{low}" if low == high else f"{low} to {high}" if len(counts) else ""


def number_text(value: float | None, factor: float = 1.0, digits: int = 2) -> str:
    """A value times a factor; a dash without one."""
    return NO_RUN if value is None or value != value else f"{factor * value:.{digits}f}"
