"""Blocks of a page from the cells of a table: published, measured and leak-free values, differences and counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.reporting.rendering.numbers import MINUS, NO_RUN, limits
from spectralseg.reporting.rendering.page import PROTOCOLS, Block, Entry, Line, Section
from spectralseg.statistics.bootstrap import ENOUGH_GROUPS, FAILURE_RATE
from spectralseg.statistics.significance import fewest_seeds

UNDEFINED = "undef."
LEGEND = (
    "Measured: per seed the mean over cases with a defined value, then over classes; mean ± standard deviation over "
    "several seeds. Below: measured less published, and less the baseline for the same seeds and cases, each with its "
    "95 % interval over seeds and patients; with one seed it is over patients only. "
    f"{NO_RUN} no run; {UNDEFINED} no case has a defined value. Bold: published as in the paper; measured if better "
    f"than every other value of the column by more than chance, which fewer than {fewest_seeds()} seeds cannot show; "
    "adjusted by Holm for the number of columns under the protocol, so that the chance of any false mark among them is "
    "at most 5 %."
)
_Cell = Mapping[Any, Any]  # a row of a table of cells
_Column = tuple[str, str]  # group and heading


def few_patients(effective_groups: Iterable[float]) -> tuple[str, ...]:
    """A warning about intervals over few patients; empty if every effective number of patients is zero or enough."""
    fewest = min((int(count) for count in effective_groups if 0 < count < ENOUGH_GROUPS), default=None)
    if fewest is None:
        return ()
    share = f"{100 * (1 - FAILURE_RATE) ** fewest:.0f} %"
    return (
        f"Few patients: intervals over fewer than {ENOUGH_GROUPS} (here as few as {fewest}) cannot account for rare "
        f"failures. A failure of one patient in {1 / FAILURE_RATE:.0f} is absent from {share} of test sets of that "
        "size, and no interval computed from the other patients covers it.",
    )


def protocol_sections(
    cells: pd.DataFrame, blocks: Callable[[pd.DataFrame], Iterable[Block]] | None = None
) -> tuple[Section, ...]:
    """One section per metric protocol that has blocks, or per protocol if none has; ``blocks`` makes them from its
    cells, by default one per ``block``.
    """
    by_protocol = {name: tuple((blocks or _blocks)(cells[cells["protocol"] == name])) for name in PROTOCOLS}
    return tuple(
        Section(name, f"Protocol: {name} ({PROTOCOLS[name]})", members)
        for name, members in by_protocol.items()
        if members or not any(by_protocol.values())
    )


def _blocks(cells: pd.DataFrame) -> Iterable[Block]:
    return (_block(str(title), part.to_dict("records")) for title, part in cells.groupby("block", sort=False))


def _block(title: str, cells: Sequence[_Cell]) -> Block:
    columns: dict[_Column, list[_Cell]] = {}
    for cell in cells:
        columns.setdefault((cell["group"], cell["column"]), []).append(cell)
    # Cells by row of the table, line of the row, and column.
    rows: dict[str, dict[str, dict[_Column, _Cell]]] = {}
    for key, column in columns.items():
        for cell in column:
            rows.setdefault(cell["row"], {}).setdefault(cell["line"], {})[key] = cell
    order = list(dict.fromkeys(cell["row"] for cell in cells))
    lines = list(dict.fromkeys(cell["line"] for cell in cells))
    counts = [
        Line(label, line, tuple(_count(column, line or lines[0], text) for column in columns.values()))
        for label, text in COUNTS.items()
        for line in (lines if lines[1:] and label in _PER_LINE else [""])
    ]
    return Block(
        title,
        tuple(group for group, _ in columns),
        tuple(f"{name} {metric_of(column[0]['metric']).arrow}" for (_, name), column in columns.items()),
        tuple(itertools.chain.from_iterable(_lines(row, rows[row], list(columns)) for row in order)),
        tuple(counts),
    )


def _lines(row: str, lines: dict[str, dict[_Column, _Cell]], columns: Sequence[_Column]) -> Iterable[Line]:
    """The lines of a row of the table: published, measured, leak-free if reported, and differences."""
    labels = itertools.chain([row], itertools.repeat(""))

    def line(kind: str, cells: Mapping[_Column, _Cell], entry: Callable[[_Cell], Entry]) -> Line:
        entries = (entry(cells[column]) if column in cells else Entry("") for column in columns)
        return Line(next(labels), kind, tuple(entries))

    published = {column: cell for cells in reversed(lines.values()) for column, cell in cells.items()}
    if any(not np.isnan(cell["published"]) for cell in published.values()):
        yield line("published", published, _published_entry)
    for name, cells in lines.items():
        yield line(name, cells, _measured_entry)
        if any(not np.isnan([cell["measured"], cell["published"]]).any() for cell in cells.values()):
            yield line(f"{MINUS} published", cells, _against_published)
        if any(not np.isnan(cell["gain"]) for cell in cells.values()):
            yield line(f"{MINUS} {next(iter(cells.values()))['baseline']}", cells, _against_baseline)


def _published_entry(cell: _Cell) -> Entry:
    if np.isnan(cell["published"]):
        return Entry("")
    return Entry(metric_of(cell["metric"]).text(cell["published"]), bool(cell["published_bold"]))


def _measured_entry(cell: _Cell) -> Entry:
    if cell["seeds"] == 0:
        return Entry(NO_RUN)
    value, spread, rule = cell["measured"], cell["measured_sd"], metric_of(cell["metric"])
    if np.isnan(value):
        return Entry(UNDEFINED)
    text = rule.text(value) if np.isnan(spread) else f"{rule.text(value)} ± {rule.text(spread)}"
    return Entry(text, bool(cell["measured_best"]))


def _against_published(cell: _Cell) -> Entry:
    names = ("measured", "measured_low", "measured_high")
    return _difference(cell["metric"], [cell[name] - cell["published"] for name in names])


def _against_baseline(cell: _Cell) -> Entry:
    return _difference(cell["metric"], [cell[name] for name in ("gain", "gain_low", "gain_high")])


def _difference(metric: str, numbers: Sequence[float]) -> Entry:
    return Entry("" if np.isnan(numbers).any() else limits(*numbers, digits=metric_of(metric).digits))


def _range(counts: Iterable[int]) -> str:
    """One number, or the range over the methods with runs."""
    present = [count for count in counts if count > 0] or [0]
    low, high = min(present), max(present)
    return str(low) if low == high else f"{low}–{high}"


COUNTS: dict[str, Callable[[Sequence[_Cell]], str]] = {
    "Cases": lambda cells: _range(cell["cases"] for cell in cells),
    "Seeds": lambda cells: _range(cell["seeds"] for cell in cells),
    "Undefined values": lambda cells: " of ".join(str(sum(c[name] for c in cells)) for name in ("undefined", "values")),
    "Missing runs": lambda cells: str(sum(cell["missing_runs"] for cell in cells)),
}
_PER_LINE = ("Cases", "Undefined values")  # the others do not depend on the selection of cases


def _count(column: Sequence[_Cell], line: str, text: Callable[[Sequence[_Cell]], str]) -> Entry:
    cells = [cell for cell in column if cell["line"] == line]
    return Entry(text(cells) if cells else "")
