"""Tables of HTML pages: rows of plain cells, which the report sorts and filters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from spectralseg.reporting.rendering.numbers import MINUS, NO_RUN
from spectralseg.reporting.rendering.page import Block, Entry, Line, Page

NOTHING = "–"
NUMBER, WORDS, PROSE = "number", "words", "prose"
_LONG = 26  # texts of more characters are wrapped


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: what it shows.
        key: what it is sorted by, if not by its text.
        kind: its style; empty for plain text.
        bold: whether the text is bold.
        bar: low end, middle and high end of an interval on a scale from -1 to 1, drawn beside the text.
        link: address that the text leads to; empty for none.
    """

    text: str
    key: float | None = None
    kind: str = ""
    bold: bool = False
    bar: tuple[float, float, float] | None = None
    link: str = ""


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        name: its id on the page; of letters, digits, ``-`` and ``_``.
        caption: its caption.
        columns: headings, and whether the column holds numbers.
        rows: one cell per column; the first names the row.
        feet: rows that stay at the bottom.
        groups: headings above those of the columns, each over adjacent columns of the same; empty for none.
        choices: headings of columns of which a reader can choose a value, with the value that is chosen at first;
            empty for all of them.
    """

    name: str
    caption: str
    columns: tuple[tuple[str, bool], ...]
    rows: list[list[Cell]]
    feet: list[list[Cell]] = field(default_factory=list)
    groups: tuple[str, ...] = ()
    choices: dict[str, str] = field(default_factory=dict)

    @property
    def spans(self) -> list[tuple[str, int]]:
        """Each of ``groups`` with its number of columns."""
        return [(group, len(list(columns))) for group, columns in itertools.groupby(self.groups)]

    @property
    def options(self) -> list[tuple[int, str, str, list[str]]]:
        """Of each column to choose from: number, heading, value chosen at first, all values in order of appearance."""
        return [
            (place, heading, self.choices[heading], list(dict.fromkeys(row[place].text for row in self.rows)))
            for place, (heading, _) in enumerate(self.columns)
            if heading in self.choices
        ]


def number(value: float, digits: int = 2, sign: bool = False) -> Cell:
    """A number with so many decimals and thousands apart; a dash where it is not finite."""
    if not np.isfinite(value):
        return Cell(NOTHING)
    return Cell(f"{value:{'+' if sign else ''},.{digits}f}".replace("-", MINUS), key=float(value))


def tables_of(page: Page) -> list[tuple[str, list[Grid]]]:
    """Sections of a page: the title of each, and one grid per block.

    A row without a label belongs to the one above and is given its label, which identifies it once rows are sorted.
    """
    numbers = itertools.count()
    return [
        (section.title, [_grid(page, block, f"{page.name}-{next(numbers)}") for block in section.blocks])
        for section in page.sections
    ]


def _grid(page: Page, block: Block, name: str) -> Grid:
    kinds = [_kind(column) for column in zip(*(line.entries for line in block.rows), strict=True)]
    kinds = kinds or [NUMBER] * len(block.headings)
    labels = list(itertools.accumulate((line.label for line in block.rows), _or_above))
    return Grid(
        name=name,
        caption=block.title,
        columns=(
            *((heading or "Line", False) for heading in page.row_headings),
            *((heading, kind == NUMBER) for heading, kind in zip(block.headings, kinds, strict=True)),
        ),
        groups=("", "", *block.groups) if any(block.groups) else (),
        rows=[_row(line, label, kinds) for line, label in zip(block.rows, labels, strict=True)],
        feet=[_row(line, line.label, kinds) for line in block.counts],
    )


def _or_above(above: str, label: str) -> str:
    return label or above


def _kind(entries: Sequence[Entry]) -> str:
    """What a column holds: numbers, on the right; words, on the left; or prose, words on several lines."""
    texts = [entry.text for entry in entries if entry.text not in ("", NO_RUN)]
    if sum(text[0].isalpha() for text in texts) <= len(texts) / 2:
        return NUMBER
    return PROSE if max(map(len, texts)) > _LONG else WORDS


def _row(line: Line, label: str, kinds: Sequence[str]) -> list[Cell]:
    entries = [
        Cell(
            entry.text,
            key=_leading_number(entry.text) if kind == NUMBER else None,
            kind=PROSE if kind == PROSE else "",
            bold=entry.bold,
        )
        for entry, kind in zip(line.entries, kinds, strict=True)
    ]
    return [Cell(label, kind="" if line.label else "repeated"), Cell(line.kind, kind="which"), *entries]


def _leading_number(text: str) -> float | None:
    """The number that a text starts with: 86.6 of ``86.60 ± 0.31``; None where it starts with none."""
    match = re.match(r"[-−+]?\d[\d,]*(\.\d+)?", text)
    return float(match[0].replace("−", "-").replace(",", "")) if match else None
