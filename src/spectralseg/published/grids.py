"""Tables in pasted text: Markdown, LaTeX, or columns separated by tabs, semicolons or commas, as cells of plain text.

The format is recognised from the content. Text around tables is ignored, unless it looks like a table itself: such
passages are reported, not dropped silently.
"""

from __future__ import annotations

import csv
import html
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from spectralseg.metrics.catalogue import HEADINGS
from spectralseg.published import latex
from spectralseg.published.tables import COLUMNS

MOST_COLUMNS, LONGEST_CELL = 1000, 2000
MEANS = frozenset({"mean", "average", "avg"})
MISSING = frozenset({"", "-", "–", "—", "na", "n/a", "nan", "none", "inf"})
DELIMITERS = {"tsv": "\t", "semicolon": ";", "csv": ","}
_TOO_LARGE = f"has more than {MOST_COLUMNS} columns, or a cell of more than {LONGEST_CELL} characters"
NAMES = {"markdown": "Markdown", "latex": "LaTeX", "tsv": "tabs", "semicolon": "semicolons", "csv": "commas"}
METRICS = {heading: metric for metric, headings in HEADINGS.items() for heading in headings}
_LONGEST_HEADING = 200  # characters
_LEVELS = 4  # most rows of headings
_BAR = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
_UNIT = re.compile(r"[(\[]?\s*(?:%|mm|px|pixels?|voxels?|↑|↓|⬆|⬇|\s)*\s*[)\]]?")
_FIGURE = re.compile(r"[^\w\s.,]*[+-]?[0-9]*[.,]?[0-9]+\s*%?(?:\s*[±(\[+*†‡↑↓].*)?", re.DOTALL)
_BLANKS = re.compile(r"\s{2,}|\s(?=[+-]?[0-9.]+(?:\s|$|±|%))")


@dataclass(frozen=True)
class Grid:
    """A table of text.

    Attributes:
        format: key of :data:`NAMES`.
        line: number of its first line in the text, from 1.
        levels: rows of headings from the top, one cell per column.
        rows: the other rows, one cell per column.
        sections: for each row the text of the last row above it that is one cell over all columns; may be empty.
    """

    format: str
    line: int
    levels: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[str, ...], ...]
    sections: tuple[str, ...]


@dataclass(frozen=True)
class Paste:
    """Tables of a text, in its order; line numbers of passages that look like tables of no known format."""

    grids: tuple[Grid, ...]
    unread: tuple[int, ...]


def parse_tables(text: str, form: str | None = None) -> Paste:
    """Split text into tables.

    Args:
        text: any text.
        form: key of :data:`NAMES`; None recognises Markdown and LaTeX tables and, without any, the delimiter.

    Raises:
        ValueError: a table is damaged or too large; says how.
    """
    if form in DELIMITERS:
        return _sorted(*_delimited(text, form))
    if form is not None:
        return _sorted(*_PARSERS[form](text))
    grids, rest = _latex(text)
    others, rest = _markdown(rest)
    if grids or others:
        return _sorted([*grids, *others], rest)
    return _sorted(*_delimited(text, _delimiter_of(text)))


def plain_heading(heading: str) -> str:
    """A heading without case, arrows, blanks, units in brackets, and the word mean."""
    if len(heading) > _LONGEST_HEADING:
        return heading
    words = re.findall(r"[a-z0-9]+", re.sub(r"\(.*?\)|\[.*?\]", "", heading.lower()))
    return "".join(word for word in words if word not in MEANS)


def is_metric(heading: str) -> bool:
    """Whether a heading is that of a known metric."""
    return plain_heading(heading) in METRICS


def is_published(headings: Sequence[str]) -> bool:
    """Whether headings are those of a table of published cells, see :mod:`spectralseg.published.tables`."""
    return set(COLUMNS) <= set(headings)


def is_unit(heading: str) -> bool:
    """Whether a heading is a unit, an arrow or empty."""
    return _UNIT.fullmatch(heading) is not None


def _sorted(grids: Sequence[Grid], rest: str) -> Paste:
    for grid in grids:
        for row in (*grid.levels, *grid.rows):
            if len(row) > MOST_COLUMNS or max(map(len, row), default=0) > LONGEST_CELL:
                raise ValueError(_TOO_LARGE)
    grids = [grid for grid in grids if grid.levels]  # tables without rows have none
    return Paste(tuple(sorted(grids, key=lambda grid: grid.line)), tuple(_table_like(rest)))


def is_figure(cell: str) -> bool:
    """Whether a cell is a number, with or without a spread or unit."""
    return len(cell) < 100 and _FIGURE.fullmatch(cell.strip()) is not None


def _is_value(cell: str) -> bool:
    return cell.lower() in MISSING or is_figure(cell)


def _table_like(rest: str) -> Iterator[int]:
    """Line numbers of two or more lines with equally many columns, one of which is a number in each."""
    shapes = [_shape(line) for line in rest.split("\n")]
    number = 1
    for shape, run in itertools.groupby(shapes):
        length = len(list(run))
        if shape > 1 and length > 1:
            yield number
        number += length


def _shape(line: str) -> int:
    """Number of columns of a line that looks like the row of a table; else 0."""
    if len(line) > MOST_COLUMNS * LONGEST_CELL:
        return 0
    for separator in (*DELIMITERS.values(), "|", "&"):
        cells = line.split(separator, MOST_COLUMNS)
        if len(cells) > 1 and any(map(is_figure, cells)):
            return len(cells)
    cells = [cell for cell in _BLANKS.split(line.strip()) if cell]
    return len(cells) if len(cells) > 2 and all(map(is_figure, cells[1:])) else 0


def _latex(text: str) -> tuple[list[Grid], str]:
    grids, rest = [], text
    for table in latex.find_tables(text):
        line = text.count("\n", 0, table.start) + 1
        grids.append(_grid("latex", line, table.rows, spanned=table.spanned, sections=table.sections))
        source = text[table.start : table.end]
        rest = rest[: table.start] + re.sub(r"[^\n]", " ", source) + rest[table.end :]
    return grids, rest


def _markdown(text: str) -> tuple[list[Grid], str]:
    lines = text.split("\n")
    grids, number = [], 1
    while number < len(lines):
        if "|" not in lines[number] or not _RULE.fullmatch(lines[number]) or not _bars(lines[number - 1]):
            number += 1
            continue
        heading = _bars(lines[number - 1])
        end = number + 1
        while end < len(lines) and lines[end].strip() and _bars(lines[end]):
            end += 1
        rows = [_fitted(_bars(line), len(heading), n + 1) for n, line in enumerate(lines[number + 1 : end], number + 1)]
        grids.append(_grid("markdown", number, [heading, *rows]))
        lines[number - 1 : end] = [""] * (end - number + 1)
        number = end + 1
    return grids, "\n".join(lines)


def _bars(line: str) -> list[str]:
    """Cells of a row of a Markdown table; empty without a bar."""
    cells = _BAR.split(line.strip())
    if len(cells) > MOST_COLUMNS + 2:
        raise ValueError(_TOO_LARGE)
    if len(cells) == 1:
        return []
    cells = cells[not cells[0].strip() : len(cells) - (not cells[-1].strip())]
    return [_of_markdown(cell) for cell in cells]


def _of_markdown(cell: str) -> str:
    """Text of a cell without formatting; mathematics is read as LaTeX."""
    if len(cell) > LONGEST_CELL:
        raise ValueError(_TOO_LARGE)
    text = re.sub(r"<sup>.*?</sup>|<br\s*/?>", " ", cell, flags=re.IGNORECASE)
    text = html.unescape(re.sub(r"</?[A-Za-z][^<>]*>", "", text)).replace("\\|", "|")
    text = re.sub(r"!?\[([^\[\]]*)\]\([^()]*\)", r"\1", text)
    if "$" in text or "\\" in text:
        text = latex.plain_text(text)
    text = re.sub(r"(\*\*|__|~~|`)(.+?)\1", r"\2", text)
    return " ".join(re.sub(r"(?<!\w)([*_])(\S(?:.*?\S)?)\1(?!\w)", r"\2", text).split())


def _fitted(cells: list[str], width: int, line: int) -> list[str]:
    if len(cells) > width:
        raise ValueError(f"line {line} has {len(cells)} columns, the heading {width}")
    return cells + [""] * (width - len(cells))


def _delimiter_of(text: str) -> str:
    """The delimiter of the first line with headings of metrics, or else of the first line with a delimiter."""
    divided = [
        (form, line.split(sign, MOST_COLUMNS)) for line in text.splitlines() for form, sign in DELIMITERS.items()
    ]
    several = [(form, cells) for form, cells in divided if len(cells) > 1]
    headings = [form for form, cells in several if is_published(cells) or any(map(is_metric, cells))]
    return next(iter([*headings, *(form for form, _ in several), "csv"]))


def _delimited(text: str, form: str) -> tuple[list[Grid], str]:
    """Tables that start with headings of metrics, or all the text without any."""
    lines = ["" if line.startswith("#") else line for line in text.splitlines()]
    records = list(_records(lines, DELIMITERS[form]))
    starts = [n for n, (_, cells) in enumerate(records) if _is_heading(cells)]
    if starts and is_published(records[starts[0]][1]):
        del starts[1:]
    starts = [_with_upper_levels(records, start) for start in starts] or [0][: len(records)]
    grids, used = [], set()
    for start, end in itertools.pairwise([*starts, len(records)]):
        width = len(records[start][1])
        rows = []
        for number, cells in records[start:end]:
            if len(cells) > 1 or width == 1:
                rows.append(_fitted(cells, width, number))
                used.add(number)
        grids.append(_grid(form, records[start][0], rows))
    used |= {number for number, line in enumerate(lines, 1) if not line}
    return grids, "\n".join("" if number in used else line for number, line in enumerate(lines, 1))


def _records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each record that is not blank."""
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    first = 1
    try:
        for cells in reader:
            if len(cells) > MOST_COLUMNS:
                raise ValueError(_TOO_LARGE)
            if any(cell.strip() for cell in cells):
                yield first, [" ".join(cell.split()) for cell in cells]
            first = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {first}: {error}") from None


def _is_heading(cells: Sequence[str]) -> bool:
    known = is_published(cells) or any(map(is_metric, cells))
    return known and not any(cell and _is_value(cell) for cell in cells)


def _with_upper_levels(records: Sequence[tuple[int, list[str]]], start: int) -> int:
    """First record of the headings that end with record ``start``, whose metrics need groups to tell them apart."""
    cells = records[start][1]
    metrics = [METRICS[plain_heading(cell)] for cell in cells if is_metric(cell)]
    if start and len(set(metrics)) < len(metrics):
        above = records[start - 1][1]
        if len(above) == len(cells) and not any(map(is_figure, above)):
            return start - 1
    return start


def _grid(
    form: str,
    line: int,
    rows: Sequence[Sequence[str]],
    *,
    spanned: Collection[int] = (),
    sections: Collection[int] = (),
) -> Grid:
    """Tell headings from other rows.

    Args:
        form: format, see :class:`Grid`.
        line: see :class:`Grid`.
        rows: all rows, with equally many cells.
        spanned: indices of rows that mark cells over several columns; in others, empty headings belong to the left.
        sections: indices of rows that are a single cell.
    """
    table = [tuple(row) for row in rows]
    candidates = [n for n, row in enumerate(table[:_LEVELS]) if n not in sections and _is_heading(row)]
    if not candidates and (turned := _turned(table)):
        return replace(_grid(form, line, turned), line=line)
    last = candidates[0] if candidates else 0
    heading = table[last] if candidates else ()
    for number in range(last + 1, min(len(table), _LEVELS) if candidates else 0):
        if number in sections or not _continues(table[number], heading):
            break
        last = number
    upper = [n for n in range(last) if n not in sections]
    levels = [table[n] if n in spanned else _spread(table[n]) for n in upper]
    levels += table[last : last + 1]
    kept, titles, title = [], [], ""
    for number, row in enumerate(table[last + 1 :], last + 1):
        if number in sections:
            title = row[0]
        elif row not in levels:  # long tables repeat their headings
            kept.append(row)
            titles.append(title)
    return Grid(form, line, tuple(levels), tuple(kept), tuple(titles))


def _continues(row: Sequence[str], above: Sequence[str]) -> bool:
    """Whether a row below the headings of metrics is one more row of headings: units, or groups of repeated metrics."""
    metrics = [(METRICS[plain_heading(cell)], place) for place, cell in enumerate(above) if is_metric(cell)]
    cells = [row[place] for _, place in metrics if row[place]]
    if not cells:
        return False
    repeated = len({metric for metric, _ in metrics}) < len(metrics)
    return all(map(is_unit, cells)) or (repeated and not any(map(_is_value, cells)))


def _spread(row: Sequence[str]) -> tuple[str, ...]:
    """Fill empty cells with the cell on their left, as headings over several columns are exported."""
    return tuple(itertools.accumulate(row, lambda left, cell: cell or left))


def _turned(table: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The table with rows and columns exchanged if its first column has headings of metrics; else empty."""
    if sum(is_metric(row[0]) for row in table if row) and len({len(row) for row in table}) == 1 and len(table[0]) > 1:
        return list(zip(*table, strict=True))
    return []


_PARSERS: dict[str, Callable[[str], tuple[list[Grid], str]]] = {"latex": _latex, "markdown": _markdown}
