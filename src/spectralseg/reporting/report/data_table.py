"""Tables of the report page: rows of plain cells that a browser sorts and filters."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

import numpy as np

from spectralseg.reporting.rendering import Line, Page

NOTHING = "–"


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
        choices: headings of columns of which a reader can choose a value, with the value that is chosen at first;
            empty for all of them.
    """

    name: str
    caption: str
    columns: tuple[tuple[str, bool], ...]
    rows: list[list[Cell]]
    feet: list[list[Cell]] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)

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
    return Cell(f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−"), key=float(value))


def printed(page: Page) -> list[tuple[str, list[Grid]]]:
    """Sections of a printed table: title, and one grid per block.

    A row without a label belongs to the one above and is given its label, so that it can be told once rows are sorted.
    """
    found, numbers = [], itertools.count()
    for section in page.sections:
        grids = []
        for block in section.blocks:
            labels = itertools.accumulate([line.label for line in block.rows], _or_above)
            headings = [f"{g} {h}".strip() for g, h in zip(block.groups, block.headings, strict=True)]
            grids.append(
                Grid(
                    name=f"{page.name}-{next(numbers)}",
                    caption=block.title,
                    columns=(
                        *((heading or "Line", False) for heading in page.row_headings),
                        *((heading, True) for heading in headings),
                    ),
                    rows=[_row(line, label) for line, label in zip(block.rows, labels, strict=True)],
                    feet=[_row(line, line.label) for line in block.counts],
                )
            )
        found.append((section.title, grids))
    return found


def _or_above(above: str, label: str) -> str:
    return label or above


def _row(line: Line, label: str) -> list[Cell]:
    entries = [Cell(entry.text, key=_leading_number(entry.text), bold=entry.bold) for entry in line.entries]
    return [Cell(label), Cell(line.kind, kind="which"), *entries]


def _leading_number(text: str) -> float | None:
    """The number that a text starts with: 86.6 of ``86.60 ± 0.31``; None where it starts with none."""
    found = re.match(r"[-−+]?\d[\d,]*(\.\d+)?", text)
    return float(found[0].replace("−", "-").replace(",", "")) if found else None
