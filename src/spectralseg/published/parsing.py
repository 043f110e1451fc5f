"""Parse results tables as printed: the numbers, what they measure, and their rounding."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from spectralseg.errors import InputError
from spectralseg.files import read_text
from spectralseg.metrics.catalogue import HEADINGS
from spectralseg.published.grids import (
    MEANS,
    METRICS,
    MISSING,
    Grid,
    is_figure,
    is_metric,
    is_published,
    is_unit,
    parse_tables,
    plain_heading,
)
from spectralseg.published.tables import SELECTION, published_cells

UNITS = {"percent": 100.0, "share": 1.0}
MEAN = "mean"
STANDARD_INPUT = Path("-")
COUNTED = ("dsc", "iou", "sensitivity", "specificity", "precision", "accuracy")  # from counts of pixels
_MAX_BYTES = 2**24
_REMEDY = "give a file of results tables as CSV, Markdown or LaTeX"
_FAMILIES = (COUNTED, ("ece", "mce"), ("nsd",))  # the metrics of a family are printed in one unit
# Headings above a metric that make it another statistic.
_STATISTICS = re.compile(
    r"(^|[^a-z])(std|sd|sem|standard deviation|median|iqr|ci|loss|p|p-?values?|gain|improvement|difference|diff|rank|"
    r"min|max)([^a-z]|$)|δ",
    re.IGNORECASE,
)
_LONGEST_NUMBER = 100  # characters, including its spread
# A number, optionally bold or with a unit or mark, and optionally followed by its spread, interval or change.
_NUMBER = re.compile(
    r"\**([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?)\s*(?:(?:%|mm|px|pixels?|voxels?)\s*)?"
    r"(?:[*†‡§¶]+\s*)?(?:(?:±|\+/-|\+-|[(\[↑↓]).*)?",
    re.IGNORECASE,
)
_COMMA = re.compile(r"(\**[+-]?)([0-9]+),([0-9]+)")
_POINT = re.compile(r"\**[+-]?[0-9,]*\.[0-9]")


@dataclass(frozen=True)
class PrintedTable:
    """A table of results as printed.

    Attributes:
        source: name of the file, followed by the number of the table if there are several.
        format: key of :data:`spectralseg.published.grids.NAMES`.
        line: number of its first line in the file, from 1.
        values: one row per cell of a known metric, with the columns ``unit`` (one for each row of the table, or each
            group of columns in it), ``group`` (one for values that differ in class only), ``name``, ``class`` (empty
            without classes), ``metric``, ``heading``, ``text`` (the number as printed), ``decimals``, ``scale`` (the
            printed value of 1), ``value`` and ``half`` (half of the last printed digit), both divided by the scale, and
            ``cell`` (the keys of a published cell, else None). ``value`` and ``half`` of missing values are NaN.
        unit: unit of the metrics that are computed from counts, a key of :data:`UNITS`; empty without such metrics.
        left_out: headings of ignored columns.
        numbered: headings of columns of numbers that are taken as names of rows.
        decimal_comma: whether numbers have a decimal comma, which ``text`` shows as a point.
    """

    source: str
    format: str
    line: int
    values: pd.DataFrame
    unit: str
    left_out: tuple[str, ...]
    numbered: tuple[str, ...] = ()
    decimal_comma: bool = False

    @property
    def summary(self) -> str:
        """One line on the content of the table."""
        missing = int(self.values["value"].isna().sum())
        unit = f" in {self.unit}" if self.unit else ""
        notes = [
            "decimal commas" if self.decimal_comma else "",
            f"taken as names of rows: {', '.join(self.numbered)}" if self.numbered else "",
            f"not checked: {', '.join(self.left_out)}" if self.left_out else "",
        ]
        rows, values = self.values["unit"].nunique(), len(self.values) - missing
        summary = f"{self.source}: {rows} rows, {values} values{unit}, {missing} missing"
        return "; ".join([summary, *filter(None, notes)])


@dataclass(frozen=True)
class PrintedTables:
    """Tables of a file.

    Attributes:
        tables: those with a known metric, at least one.
        unread: one sentence on each other table, and on each passage that looks like one.
    """

    tables: tuple[PrintedTable, ...]
    unread: tuple[str, ...]


def read_printed(file: Path | str, unit: str | None = None, form: str | None = None) -> PrintedTables:
    """Read the tables of a file, or of standard input for ``-``; see :func:`parse_printed`.

    Raises:
        InputError: as :func:`parse_printed`, or the file is missing, too large or not valid UTF-8.
    """
    if Path(file) == STANDARD_INPUT:
        return parse_printed(_standard_input(), "standard input", unit, form)
    return parse_printed(read_text(Path(file), _MAX_BYTES, _REMEDY), str(file), unit, form)


def _standard_input() -> str:
    content = sys.stdin.buffer.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise InputError(f"standard input: has more than {_MAX_BYTES // 2**20} MiB; {_REMEDY}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: cannot be read: byte {error.start} is not valid UTF-8; {_REMEDY}") from None


def parse_printed(text: str, source: str, unit: str | None = None, form: str | None = None) -> PrintedTables:
    """Parse tables of published cells (:mod:`spectralseg.published.tables`), which are CSV, or wide ones.

    A wide table starts with columns that name the row, including ``class`` if rows are classes or (``mean``) their
    mean. One column per metric follows, with a heading of :data:`HEADINGS` in upper or lower case, optionally with an
    arrow or a unit. Headings above those of the metrics divide the columns into groups, such as datasets; they are
    classes if one of them is ``mean``. Values may be bold and followed by their spread. They are taken as rounded to
    the last printed digit; empty cells, dashes, ``nan`` and ``inf`` are missing values. A decimal comma is accepted
    unless the table has decimal points, too, or all commas may separate thousands.

    Args:
        text: one or more tables, with any text around them.
        source: name of the text in messages.
        unit: a key of :data:`UNITS`; None infers percent if a value is above 1.
        form: a key of :data:`spectralseg.published.grids.NAMES`; None infers it.

    Raises:
        InputError: the text has no table, or no table has a known metric; a table is damaged, has no value, a duplicate
            metric, class or cell, or text in place of a number; or some metrics look like percent and others like
            shares.
    """
    try:
        paste = parse_tables(text.replace("\r\n", "\n").replace("\r", "\n"), form)
    except ValueError as error:
        raise InputError(f"{source}: is not a valid table ({error}); {_REMEDY}, with one heading per column") from None
    several = len(paste.grids) > 1
    places = [f"{source}, table {n}" if several else source for n in range(1, len(paste.grids) + 1)]
    tables, unread = [], []
    for place, grid in zip(places, paste.grids, strict=True):
        if several and not _has_metric(grid):
            unread.append(f"{place}: is not checked, as no column is a known metric")
        else:
            tables.append(_parsed(place, grid, unit))
    unread += [
        f"{source}: line {line} starts text that looks like a table, which is not checked; separate its columns by tabs"
        for line in paste.unread
    ]
    if not tables:
        raise InputError(f"{source}: {_without_tables(paste.unread, places)}")
    return PrintedTables(tuple(tables), tuple(unread))


def _without_tables(unread: Sequence[int], places: Sequence[str]) -> str:
    if places:
        return f"none of its {len(places)} tables has a column of a known metric; {_known_headings()}"
    if unread:
        return f"has no table that can be read, but text like one at line {unread[0]}; separate its columns by tabs"
    return f"is not a valid table (it has no rows); {_REMEDY}"


def _known_headings() -> str:
    return f"known headings are {', '.join(names[0].upper() for names in HEADINGS.values())} and their usual synonyms"


def _has_metric(grid: Grid) -> bool:
    return is_published(grid.levels[-1]) or any(is_metric(cell) for level in grid.levels for cell in level)


def _parsed(source: str, grid: Grid, unit: str | None) -> PrintedTable:
    values, left_out, numbered = (_published if is_published(grid.levels[-1]) else _wide)(source, grid)
    duplicate = values[values["class"] != ""].duplicated(["group", "class", "metric"])
    if duplicate.any():
        name = values.loc[duplicate[duplicate].index[0], "name"]
        raise InputError(f"{source}: '{name}' appears twice; give each method, dataset and class one row")
    texts, decimal_comma = _with_decimal_points(source, values["text"].str.replace("−", "-"))
    values = values.drop(columns="text").join(_numbers(source, values.assign(text=texts)))
    if values["value"].isna().all():
        raise InputError(f"{source}: no column of a known metric has a number; give a table with results")
    scales = {metric: scale for family in _FAMILIES for metric, scale in _scales(source, values, family, unit).items()}
    scale = values["metric"].map(scales).fillna(1.0)
    values = values.assign(scale=scale, value=values["value"] / scale, half=values["half"] / scale)
    units = {scales[metric]: name for metric in COUNTED for name in UNITS if scales.get(metric) == UNITS[name]}
    unit_name = "".join(units.values())
    return PrintedTable(source, grid.format, grid.line, values, unit_name, left_out, numbered, decimal_comma)


@dataclass(frozen=True)
class _Column:
    """A column of a wide table.

    Attributes:
        place: its number.
        title: its headings, joined.
        metric: what it holds; empty if it is no metric.
        heading: heading of the metric.
        group: headings above or below it, joined.
    """

    place: int
    title: str
    metric: str
    heading: str
    group: str


def _columns(grid: Grid) -> list[_Column]:
    columns = []
    for place, cells in enumerate(zip(*grid.levels, strict=True)):
        levels = list(dict.fromkeys(cell for cell in cells if cell))
        headings = [cell for cell in levels if is_metric(cell)][-1:]
        others = [cell for cell in levels if cell not in headings and not is_unit(cell)]
        units = [cell for cell in levels if cell not in headings and cell not in others]
        title = " ".join(levels) or f"column {place + 1}"
        if not headings or any(map(_STATISTICS.search, others)):
            columns.append(_Column(place, title, "", "", ""))
        else:
            heading = " ".join([*headings, *units])
            columns.append(_Column(place, title, METRICS[plain_heading(headings[0])], heading, ", ".join(others)))
    return columns


def _wide(source: str, grid: Grid) -> tuple[pd.DataFrame, tuple[str, ...], tuple[str, ...]]:
    columns = _columns(grid)
    metrics = [column for column in columns if column.metric]
    if not metrics:
        raise InputError(f"{source}: no column is a known metric; {_known_headings()}")
    _refuse_synonyms(source, metrics)
    table = np.array(grid.rows, dtype=object).reshape(len(grid.rows), len(columns))
    naming = columns[: metrics[0].place]
    class_columns = [column for column in naming if plain_heading(column.title) == "class"][:1]
    naming = [column for column in naming if column not in class_columns]
    names = [
        _joined([section, *row])
        for section, row in zip(grid.sections, table[:, [column.place for column in naming]], strict=True)
    ]
    structures = [_structure(name) for name in table[:, class_columns[0].place]] if class_columns else [""] * len(table)
    groups = list(dict.fromkeys(column.group for column in metrics))
    are_classes = not class_columns and any(plain_heading(group) == "" for group in groups if group)
    row_groups = np.arange(len(table)) if are_classes else pd.factorize(np.asarray(names, object))[0]
    cells = []
    for column in metrics:
        number = groups.index(column.group)
        prefix = column.group if len(groups) > 1 else ""
        inner = [_structure(column.group)] * len(table) if are_classes else structures
        pairs = zip(names, inner, strict=True)
        joined = [_joined(pair if are_classes else (prefix, *pair)) for pair in pairs]
        cells.append(
            pd.DataFrame(
                {
                    "unit": np.arange(len(table)) * len(groups) + number,
                    "group": row_groups * (1 if are_classes else len(groups)) + (0 if are_classes else number),
                    "name": [name or f"row {n}" for n, name in enumerate(joined, 1)],
                    "class": inner,
                    "metric": column.metric,
                    "heading": column.heading,
                    "text": table[:, column.place],
                    "cell": None,
                }
            )
        )
    left_out = tuple(column.title for column in columns[metrics[0].place :] if not column.metric)
    numbered = tuple(column.title for column in naming if len(table) and all(map(is_figure, table[:, column.place])))
    return pd.concat(cells, ignore_index=True), left_out, numbered


def _refuse_synonyms(source: str, metrics: Sequence[_Column]) -> None:
    first: dict[tuple[str, str], _Column] = {}
    for column in metrics:
        other = first.setdefault((column.group, column.metric), column)
        if other is not column:
            raise InputError(
                f"{source}: columns {other.title} and {column.title} are one metric; "
                "give each dataset a row or a heading above its columns"
            )


def _structure(name: str) -> str:
    return MEAN if name.lower() in MEANS or (name and plain_heading(name) == "") else name


def _published(source: str, grid: Grid) -> tuple[pd.DataFrame, tuple[str, ...], tuple[str, ...]]:
    cells = published_cells(source, pd.DataFrame(list(grid.rows), columns=list(grid.levels[-1])))
    supported = cells["metric"].isin(HEADINGS)
    left_out = tuple(dict.fromkeys(cells.loc[~supported, "column"]))
    cells = cells[supported].reset_index(drop=True)
    keys = ["row", "group", *SELECTION]
    values = cells.assign(
        heading=cells["column"],
        text=cells["printed"],
        name=[_joined(names) for names in cells[["group", "row", "class"]].to_numpy()],
        cell=pd.MultiIndex.from_frame(cells[[*SELECTION, "class", "metric"]]).to_numpy(),
        unit=cells.groupby([*keys, "class"]).ngroup(),
        group=cells.groupby(keys).ngroup(),
    )
    return values[["unit", "group", "name", "class", "metric", "heading", "text", "cell"]], left_out, ()


def _joined(names: Iterable[str]) -> str:
    return ", ".join(name for name in names if name and name != MEAN)


def _with_decimal_points(source: str, texts: pd.Series) -> tuple[pd.Series, bool]:
    """Texts of cells with a decimal comma replaced by a point, and whether any was."""
    commas = [match for text in texts if (match := _COMMA.match(text[:_LONGEST_NUMBER]))]
    if not commas:
        return texts, False
    number = f"{commas[0][2]},{commas[0][3]}"
    if point := next((text for text in texts if _POINT.match(text[:_LONGEST_NUMBER])), None):
        raise InputError(
            f"{source}: has numbers with a comma, {number[:20]}, and with a point, {point[:20]}; "
            "use one decimal sign and no separator of thousands"
        )
    if all(len(match[3]) == 3 and match[2].strip("0") for match in commas):
        raise InputError(f"{source}: the comma of {number[:20]} may separate thousands; write decimal points")
    return texts.map(lambda text: _COMMA.sub(r"\1\2.\3", text, count=1) if _COMMA.match(text) else text), True


def half_digit(number: str) -> float:
    """Half a unit in the last digit of a published number: 0.005 for ``88.40``."""
    return 0.5 * 10.0 ** int(Decimal(number).as_tuple().exponent)


def _numbers(source: str, values: pd.DataFrame) -> pd.DataFrame:
    """Columns ``text``, ``decimals``, ``value`` and ``half`` parsed from the text of the cells."""
    rows = []
    for heading, name, text in zip(values["heading"], values["name"], values["text"], strict=True):
        match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
        if match and (float(match[1]) == 0 or 1e-99 < abs(float(match[1])) < 1e99):
            exponent = int(Decimal(match[1]).as_tuple().exponent)
            rows.append((match[1], max(-exponent, 0), float(match[1]), half_digit(match[1])))
        elif text.lower() in MISSING:
            rows.append(("", 0, np.nan, np.nan))
        else:
            raise InputError(
                f"{source}: '{text[:100]}' below {heading} of '{name}' is not a number; empty the cell if there is none"
            )
    return pd.DataFrame(rows, index=values.index, columns=["text", "decimals", "value", "half"])


def _scales(source: str, values: pd.DataFrame, family: Sequence[str], unit: str | None) -> dict[str, float]:
    """The published value of 1, for each metric of a family in the table.

    Raises:
        InputError: the unit is ambiguous, as one metric of counts looks like a share and another like percent.
    """
    largest = values[values["metric"].isin(family)].groupby("metric")["value"].max().dropna()
    if unit is None and family is COUNTED and (largest > 1).any() and (largest <= 1).any():
        heading = dict(zip(values["metric"], values["heading"], strict=True))
        raise InputError(
            f"{source}: {heading[largest.idxmin()]} is never above 1 and {heading[largest.idxmax()]} is; convert "
            "both to one unit, or give --unit if they have the same"
        )
    scale = UNITS[unit] if unit else UNITS["percent"] if (largest > 1).any() else UNITS["share"]
    return dict.fromkeys(map(str, largest.index), scale)
