"""Published numbers of papers as data: one CSV file per table, one row per printed cell.

The file starts with comment lines (``#``). ``# title: ...`` is the title of the table, ``# rows: ...`` the heading of
its first column, and each ``# note: ...`` is printed below the table. The columns :data:`SELECTION`, ``class`` and
``metric`` select the metric records of a cell.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from spectralseg.errors import InputError
from spectralseg.files import read_text
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import CONDITION_KEYS, METHOD_KEYS
from spectralseg.papers import Paper, find_table

_MAX_BYTES = 2**24
_MOST_COLUMNS, _LONGEST_CELL = 1000, 2000
PLACE = ("block", "group", "column", "row")
SELECTION = ("dataset", *METHOD_KEYS, *CONDITION_KEYS)
COLUMNS = ("row", "block", "group", "column", "value", "bold", *SELECTION, "class", "metric")


@dataclass(frozen=True)
class PublishedTable:
    """A published table. ``cells`` has the columns :data:`COLUMNS` and ``printed``, the value as text, in the order of
    the paper; ``paper`` is None for tables of no paper.
    """

    name: str
    title: str
    row_heading: str
    notes: tuple[str, ...]
    cells: pd.DataFrame
    paper: Paper | None = None


def read_commented(file: Path) -> tuple[list[str], pd.DataFrame]:
    """Read a CSV file with comments: the text of its ``#`` lines, and its cells as text without surrounding blanks.

    Raises:
        InputError: the file is missing, not a valid CSV file, or too large, or has a duplicate column.
    """
    lines = read_text(file, _MAX_BYTES, "give a CSV file of one results table").splitlines()
    try:
        body = "\n".join(line for line in lines if not line.startswith("#"))
        table = pd.read_csv(io.StringIO(body), dtype="str", keep_default_na=False, header=None)
    except ValueError as error:
        raise InputError(
            f"{file}: is not a valid table ({error}); give a CSV file with one heading per column"
        ) from None
    table = table.fillna("").map(str.strip)
    if len(table.columns) > _MOST_COLUMNS or table.map(len).to_numpy().max() > _LONGEST_CELL:
        raise InputError(
            f"{file}: has more than {_MOST_COLUMNS} columns, or a cell of more than {_LONGEST_CELL} characters; "
            "give a CSV file of one results table"
        )
    headings = table.iloc[0]
    if headings.duplicated().any():
        raise InputError(f"{file}: column '{headings[headings.duplicated()].iloc[0]}' appears twice; keep one")
    return [line[1:].strip() for line in lines if line.startswith("#")], table[1:].set_axis(headings, axis=1)


def require_columns(file: Path | str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Check that a table has all columns.

    Raises:
        InputError: a column is missing; names the first one.
    """
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(f"{file}: column '{missing[0]}' is missing; the columns are {', '.join(columns)}")


def read_published_table(published: Path | str, name: str) -> PublishedTable:
    """Read a published table by name from the folder of the papers.

    Raises:
        InputError: no paper has the table, or as for :func:`read_published`.
    """
    paper, file = find_table(published, name)
    return replace(read_published(file), paper=paper)


def read_published(file: Path | str) -> PublishedTable:
    """Read a file of published numbers. ``value`` becomes float in printed units (an empty one NaN), ``bold`` bool.

    Raises:
        InputError: the file is missing or lacks a column; a value is not a number, a metric is unknown, or a cell is
            duplicate.
    """
    file = Path(file)
    comments, table = read_commented(file)
    cells = published_cells(file, table)
    return PublishedTable(
        file.stem, _tagged(comments, "title", file.stem), _tagged(comments, "rows", "Method"), _notes(comments), cells
    )


def published_cells(file: Path | str, cells: pd.DataFrame) -> pd.DataFrame:
    """Checked cells of a table of text, see :func:`read_published`; ``file`` is the name in error messages."""
    require_columns(file, cells, COLUMNS)
    duplicates = cells[cells.duplicated(list(PLACE))]
    if len(duplicates):
        raise InputError(f"{file}: cell {tuple(duplicates.iloc[0][list(PLACE)])} appears twice; keep one")
    for metric in cells["metric"].unique():
        metric_of(metric)
    try:
        values = pd.to_numeric(cells["value"].replace("", None))
    except ValueError as error:
        raise InputError(f"{file}: column 'value': {error}") from None
    return cells[list(COLUMNS)].assign(
        value=values.astype("float64"), bold=cells["bold"] == "true", printed=cells["value"]
    )


def _tagged(comments: list[str], tag: str, default: str) -> str:
    values = [line.removeprefix(f"{tag}:").strip() for line in comments if line.startswith(f"{tag}:")]
    return values[0] if values else default


def _notes(comments: list[str]) -> tuple[str, ...]:
    return tuple(line.removeprefix("note:").strip() for line in comments if line.startswith("note:"))
