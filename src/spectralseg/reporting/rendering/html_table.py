"""Tables of HTML pages, which the report sorts and filters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from spectralseg.reporting.rendering.numbers import MINUS, NO_RUN
from spectralseg.reporting.rendering.page import Block, Entry, Line, Page

DASH = "–"
NUMBER, WORDS, PROSE = "number", "words", "prose"
_LONG = 26  # longer texts, in characters, are wrapped


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: the text.
        key: sort key; None sorts by the text.
        kind: CSS class; empty for plain text.
        bold: whether the text is bold.
        bar: low end, middle and high end of an interval on a scale from -1 to 1, drawn beside the text.
        link: address of a link; empty for none.
        colour: of a swatch before the text; empty for none.
        prefix: start of the text that screens show only as a tooltip; it is printed, saved and read aloud.
    """

    text: str
    key: float | None = None
    kind: str = ""
    bold: bool = False
    bar: tuple[float, float, float] | None = None
    link: str = ""
    colour: str = ""
    prefix: str = ""


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        name: id on the page: letters, digits, ``-`` and ``_``.
        caption: the caption.
        columns: headings, and whether the column contains numbers; see :func:`columns`.
        rows: one cell per column; the first is the heading of the row.
        feet: rows that stay at the bottom.
        groups: one heading per column, printed once above adjacent columns that share it; empty for none.
        keys: number of columns that identify a row, 1 or 2; they stay in view.
        choices: headings of columns with a drop-down filter, and its initial value; empty for all values.
    """

    name: str
    caption: str
    columns: tuple[tuple[str, bool], ...]
    rows: list[list[Cell]]
    feet: list[list[Cell]] = field(default_factory=list)
    groups: tuple[str, ...] = ()
    choices: dict[str, str] = field(default_factory=dict)
    keys: int = 1

    @property
    def spans(self) -> list[tuple[str, int]]:
        """Each of ``groups`` with its number of columns."""
        return [(group, len(list(columns))) for group, columns in itertools.groupby(self.groups)]

    @property
    def options(self) -> list[tuple[int, str, str, list[str]]]:
        """The drop-down filters: number of the column, heading, initial value, all values in order of appearance."""
        return [
            (place, heading, self.choices[heading], list(dict.fromkeys(row[place].text for row in self.rows)))
            for place, (heading, _) in enumerate(self.columns)
            if heading in self.choices
        ]


def columns(*headings: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    """Columns of text, then columns of numbers, then again of text, and so on, by their headings."""
    return tuple((name, place % 2 == 1) for place, names in enumerate(headings) for name in names)


def number(value: float, digits: int = 2, sign: bool = False) -> Cell:
    """A number with thousands separators and a fixed number of decimals; a dash if it is not finite."""
    if not np.isfinite(value):
        return Cell(DASH)
    return Cell(f"{value:{'+' if sign else ''}z,.{digits}f}".replace("-", MINUS), key=float(value))


def tables_of(page: Page) -> list[tuple[str, list[Grid]]]:
    """Title and grids of each section of a page, one grid per block.

    A row without a label belongs to the row above and gets its label, which identifies it when rows are sorted.
    """
    numbers = itertools.count()
    return [
        (section.title, [_grid(page, block, f"{page.name}-{next(numbers)}") for block in section.blocks])
        for section in page.sections
    ]


def _grid(page: Page, block: Block, name: str) -> Grid:
    kinds = [_kind(column) for column in zip(*(line.entries for line in block.rows), strict=True)]
    kinds = kinds or [NUMBER] * len(block.headings)
    rows, label = [], ""
    for line in block.rows:
        label = line.label or label
        rows.append(_row(line, label, kinds))
    return Grid(
        name=name,
        caption=block.title,
        columns=(
            *((heading or "Line", False) for heading in page.row_headings),
            *((heading, kind == NUMBER) for heading, kind in zip(block.headings, kinds, strict=True)),
        ),
        groups=("", "", *block.groups) if any(block.groups) else (),
        rows=rows,
        feet=[_row(line, line.label, kinds) for line in block.counts],
        keys=2,
    )


def _kind(entries: Sequence[Entry]) -> str:
    """Content of a column: numbers (aligned right), words (aligned left), or prose (words on several lines)."""
    texts = [entry.text for entry in entries if entry.text not in ("", NO_RUN)]
    if sum(text[0].isalpha() for text in texts) <= len(texts) / 2:
        return NUMBER
    return PROSE if max(map(len, texts)) > _LONG else WORDS


def _row(line: Line, label: str, kinds: Sequence[str]) -> list[Cell]:
    cells = [Cell(label, kind="" if line.label else "repeated"), Cell(line.kind, kind="which")]
    for entry, kind in zip(line.entries, kinds, strict=True):
        key = _leading_number(entry.text) if kind == NUMBER else None
        cells.append(Cell(entry.text, key, kind=PROSE if kind == PROSE else "", bold=entry.bold))
    return cells


def _leading_number(text: str) -> float | None:
    """The number at the start of a text: 86.6 of ``86.60 ± 0.31``; None if there is none."""
    match = re.match(r"[-−+]?\d[\d,]*(\.\d+)?", text)
    return float(match[0].replace("−", "-").replace(",", "")) if match else None
