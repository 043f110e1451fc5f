"""The paper's printed numbers as data: one CSV per table, one row per printed cell.

Lines that start with ``#`` come first. Of these, ``# title: ...`` is the title of the table, ``# rows: ...`` the
heading of its first column, and each ``# note: ...`` is printed below the table; others are for the reader of the file.
The remaining columns of a row say which records belong to the cell.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from spectralseg.errors import InputError
from spectralseg.reporting.quantities import quantity

PLACE = ("block", "group", "column", "row")
SELECTION = ("dataset", "architecture", "objective", "lambda", "suite", "test_dataset", "corruption", "severity")
COLUMNS = ("row", "block", "group", "column", "value", "bold", *SELECTION, "class", "metric")


@dataclass(frozen=True)
class PublishedTable:
    """A printed table. ``cells`` has the columns :data:`COLUMNS`; its order is the order on paper."""

    name: str
    title: str
    row_heading: str
    notes: tuple[str, ...]
    cells: pd.DataFrame


def read_published(file: Path | str) -> PublishedTable:
    """Read a file of published numbers. ``value`` becomes float in printed units (an empty one NaN), ``bold`` bool.

    Raises:
        InputError: the file is missing, lacks a column, or holds a value that is no number, an unknown metric or the
            same cell twice.
    """
    file = Path(file)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); give a file of published numbers") from None
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    body = "\n".join(line for line in lines if not line.startswith("#"))
    try:
        cells = pd.read_csv(io.StringIO(body), dtype="str", keep_default_na=False)
    except ValueError as error:
        raise InputError(f"{file}: is no table of cells ({error})") from None
    missing = [name for name in COLUMNS if name not in cells.columns]
    if missing:
        raise InputError(f"{file}: column '{missing[0]}' is missing; the columns are {', '.join(COLUMNS)}")
    twice = cells[cells.duplicated(list(PLACE))]
    if len(twice):
        raise InputError(f"{file}: cell {tuple(twice.iloc[0][list(PLACE)])} is there twice; keep one")
    for metric in cells["metric"].unique():
        quantity(metric)
    try:
        values = pd.to_numeric(cells["value"].replace("", None))
    except ValueError as error:
        raise InputError(f"{file}: column 'value': {error}") from None
    cells = cells[list(COLUMNS)].assign(value=values.astype("float64"), bold=cells["bold"] == "true")
    return PublishedTable(
        file.stem, _tagged(comments, "title", file.stem), _tagged(comments, "rows", "Method"), _notes(comments), cells
    )


def _tagged(comments: list[str], tag: str, default: str) -> str:
    found = [line.removeprefix(f"{tag}:").strip() for line in comments if line.startswith(f"{tag}:")]
    return found[0] if found else default


def _notes(comments: list[str]) -> tuple[str, ...]:
    return tuple(line.removeprefix("note:").strip() for line in comments if line.startswith("note:"))
