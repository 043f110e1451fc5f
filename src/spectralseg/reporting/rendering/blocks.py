"""Cells of metrics as blocks of a page: published, measured and leak-free values, differences and counts."""

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
    "seeds where there are several. Below: measured less published, and less the baseline for the same seeds and "
    "cases, each with its 95 % interval over seeds and patients; with one seed it is over patients only. "
    f"{NO_RUN} no run; {UNDEFINED} no case has a defined value. Bold: published as printed; measured if better than "
    f"every other of the column by more than chance, which fewer than {fewest_seeds()} seeds cannot show; adjusted by "
    "Holm for the number of columns under the protocol, so that the chance of any false mark among them is at most 5 %."
)
_Cell = Mapping[Any, Any]  # a row of a table of cells


def few_patients(effective_groups: Iterable[float]) -> tuple[str, ...]:
    """What to know of the intervals over some effective numbers of patients, nothing where there are enough or none."""
    few = sorted({int(count) for count in effective_groups if 0 < count < ENOUGH_GROUPS})
    if not few:
        return ()
    share = f"{100 * (1 - FAILURE_RATE) ** few[0]:.0f} %"
    return (
        f"Few patients: intervals over fewer than {ENOUGH_GROUPS} (here as few as {few[0]}) cannot know of rare "
        f"failures. What one patient in {1 / FAILURE_RATE:.0f} shows is absent from {share} of test sets of that size, "
        "and no interval computed from the others covers it.",
    )


def protocol_sections(
    cells: pd.DataFrame, blocks: Callable[[pd.DataFrame], Iterable[Block]] | None = None
) -> tuple[Section, ...]:
    """One section per metric protocol, with the blocks of its cells: one per ``block`` of them, or others."""
    return tuple(
        Section(
            protocol,
            f"Protocol: {protocol} ({description})",
            tuple((blocks or _blocks)(cells[cells["protocol"] == protocol])),
        )
        for protocol, description in PROTOCOLS.items()
    )


def _blocks(cells: pd.DataFrame) -> Iterable[Block]:
    return (_block(str(title), part.to_dict("records")) for title, part in cells.groupby("block", sort=False))


def _block(title: str, cells: Sequence[_Cell]) -> Block:
    columns: dict[tuple[str, str], list[_Cell]] = {}
    for cell in cells:
        columns.setdefault((cell["group"], cell["column"]), []).append(cell)
    # Of each row of the table its lines, and of each line its cells by column.
    rows: dict[str, dict[str, dict[tuple[str, str], _Cell]]] = {}
    for column in columns.values():
        for cell in column:
            rows.setdefault(cell["row"], {}).setdefault(cell["line"], {})[cell["group"], cell["column"]] = cell
    order = list(dict.fromkeys(cell["row"] for cell in cells))
    lines = list(dict.fromkeys(cell["line"] for cell in cells))
    counts = [
        Line(label, line, tuple(_count(part, line or lines[0], text) for part in columns.values()))
        for label, text in COUNTS.items()
        for line in (lines if lines[1:] and label in _PER_LINE else [""])
    ]
    return Block(
        title,
        tuple(group for group, _ in columns),
        tuple(f"{name} {metric_of(part[0]['metric']).arrow}" for (_, name), part in columns.items()),
        tuple(itertools.chain.from_iterable(_method(row, rows[row], list(columns)) for row in order)),
        tuple(counts),
    )


def _method(
    row: str, lines: dict[str, dict[tuple[str, str], _Cell]], columns: Sequence[tuple[str, str]]
) -> Iterable[Line]:
    """The lines of a row of the table: published, measured, and where results are given twice, leak-free."""
    labels = itertools.chain([row], itertools.repeat(""))
    printed = {column: cell for cells in reversed(lines.values()) for column, cell in cells.items()}
    if any(not np.isnan(cell["published"]) for cell in printed.values()):
        yield Line(next(labels), "published", tuple(_published_entry(printed.get(column)) for column in columns))
    for line, cells in lines.items():
        parts = [cells.get(column) for column in columns]
        yield Line(next(labels), line, tuple(map(_measured_entry, parts)))
        if any(not np.isnan([cell["measured"], cell["published"]]).any() for cell in cells.values()):
            yield Line(next(labels), f"{MINUS} published", tuple(map(_against_published, parts)))
        if any(not np.isnan(cell["gain"]) for cell in cells.values()):
            name = next(iter(cells.values()))["baseline"]
            yield Line(next(labels), f"{MINUS} {name}", tuple(map(_against_baseline, parts)))


def _published_entry(cell: _Cell | None) -> Entry:
    if cell is None or np.isnan(cell["published"]):
        return Entry("")
    return Entry(metric_of(cell["metric"]).text(cell["published"]), bool(cell["published_bold"]))


def _measured_entry(cell: _Cell | None) -> Entry:
    if cell is None:
        return Entry("")
    if cell["seeds"] == 0:
        return Entry(NO_RUN)
    value, spread, rule = cell["measured"], cell["measured_sd"], metric_of(cell["metric"])
    if np.isnan(value):
        return Entry(UNDEFINED)
    text = rule.text(value) if np.isnan(spread) else f"{rule.text(value)} ± {rule.text(spread)}"
    return Entry(text, bool(cell["measured_best"]))


def _against_published(cell: _Cell | None) -> Entry:
    if cell is None:
        return Entry("")
    names = ("measured", "measured_low", "measured_high")
    return _difference(cell["metric"], [cell[name] - cell["published"] for name in names])


def _against_baseline(cell: _Cell | None) -> Entry:
    if cell is None:
        return Entry("")
    return _difference(cell["metric"], [cell[name] for name in ("gain", "gain_low", "gain_high")])


def _difference(metric: str, numbers: Sequence[float]) -> Entry:
    return Entry("" if np.isnan(numbers).any() else limits(*numbers, digits=metric_of(metric).digits))


def _range(counts: Iterable[int]) -> str:
    """One number, or the range over the methods that have runs."""
    present = [count for count in counts if count > 0] or [0]
    low, high = min(present), max(present)
    return str(low) if low == high else f"{low}–{high}"


COUNTS: dict[str, Callable[[Sequence[_Cell]], str]] = {
    "Cases": lambda cells: _range(cell["cases"] for cell in cells),
    "Seeds": lambda cells: _range(cell["seeds"] for cell in cells),
    "Undefined values": lambda cells: " of ".join(str(sum(c[name] for c in cells)) for name in ("undefined", "values")),
    "Missing runs": lambda cells: str(sum(cell["missing_runs"] for cell in cells)),
}
_PER_LINE = ("Cases", "Undefined values")  # the others do not depend on which cases are left out


def _count(column: Sequence[_Cell], line: str, text: Callable[[Sequence[_Cell]], str]) -> Entry:
    cells = [cell for cell in column if cell["line"] == line]
    return Entry(text(cells) if cells else "")
