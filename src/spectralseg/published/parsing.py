"""Parse results tables as printed: the numbers, what they measure, and their rounding."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from spectralseg.errors import InputError
from spectralseg.metrics.catalogue import HEADINGS
from spectralseg.published.tables import COLUMNS, SELECTION, read_commented, read_published

UNITS = {"percent": 100.0, "share": 1.0}
MEAN = "mean"
COUNTED = ("dsc", "iou", "sensitivity", "specificity", "precision", "accuracy")  # from counts of pixels
_FAMILIES = (COUNTED, ("ece", "mce"), ("nsd",))  # the metrics of a family are printed in one unit
_METRICS = {heading: metric for metric, headings in HEADINGS.items() for heading in headings}
_MEANS = {MEAN, "average", "avg"}
_MISSING = {"", "-", "–", "—", "na", "n/a", "nan", "none", "inf"}
_LONGEST_NUMBER = 100  # characters, including its spread
# A number, optionally bold or with a percent sign, and optionally followed by its spread or interval.
_NUMBER = re.compile(
    r"\**([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?)\s*(?:%\s*)?(?:\*+\s*)?(?:(?:±|\+/-|\+-|[(\[]).*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class PrintedTable:
    """A table of results as printed.

    Attributes:
        file: the CSV file.
        values: one row per cell of a known metric, with the columns ``unit`` (one for each row of the table), ``group``
            (one for rows that differ in class only), ``name``, ``class`` (empty without classes), ``metric``,
            ``heading``, ``text`` (the number as printed), ``decimals``, ``scale`` (the printed value of 1), ``value``
            and ``half`` (half of the last printed digit), both divided by the scale, and ``cell`` (the keys of a
            published cell, else None). ``value`` and ``half`` of missing values are NaN.
        unit: unit of the metrics that are computed from counts, a key of :data:`UNITS`; empty without such metrics.
        left_out: headings of ignored columns.
    """

    file: Path
    values: pd.DataFrame
    unit: str
    left_out: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line on the content of the table."""
        missing = int(self.values["value"].isna().sum())
        unit = f" in {self.unit}" if self.unit else ""
        left_out = f"; not checked: {', '.join(self.left_out)}" if self.left_out else ""
        rows, values = self.values["unit"].nunique(), len(self.values) - missing
        return f"{self.file}: {rows} rows, {values} values{unit}, {missing} missing{left_out}"


def read_printed(file: Path | str, unit: str | None = None) -> PrintedTable:
    """Read a table of published cells (:mod:`spectralseg.published.tables`) or a wide one.

    A wide table starts with columns that name the row, including ``class`` if rows are classes or (``mean``) their
    mean. One column per metric follows, with a heading of :data:`HEADINGS` in upper or lower case, optionally with an
    arrow or a unit. Values may be followed by their spread. They are taken as rounded to the last printed digit; empty
    cells, dashes, ``nan`` and ``inf`` are missing values.

    Args:
        file: the CSV file.
        unit: a key of :data:`UNITS`; None infers percent if a value is above 1.

    Raises:
        InputError: the file is missing or damaged, has no known metric or no value, a duplicate metric, class or cell,
            or text in place of a number; or some metrics look like percent and others like shares.
    """
    file = Path(file)
    _, table = read_commented(file)
    published = set(COLUMNS) <= set(table.columns)
    values, left_out = _published(file) if published else _wide(file, table)
    duplicate = values[values["class"] != ""].duplicated(["group", "class", "metric"])
    if duplicate.any():
        name = values.loc[duplicate[duplicate].index[0], "name"]
        raise InputError(f"{file}: '{name}' appears twice; give each method, dataset and class one row")
    values = values.drop(columns="text").join(_numbers(file, values))
    if values["value"].isna().all():
        raise InputError(f"{file}: no column of a known metric has a number; give a table with results")
    scales = {metric: scale for family in _FAMILIES for metric, scale in _scales(file, values, family, unit).items()}
    scale = values["metric"].map(scales).fillna(1.0)
    values = values.assign(scale=scale, value=values["value"] / scale, half=values["half"] / scale)
    units = {scales[metric]: name for metric in COUNTED for name in UNITS if scales.get(metric) == UNITS[name]}
    return PrintedTable(file, values, "".join(units.values()), left_out)


def _wide(file: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    metrics = {heading: _METRICS[_plain(heading)] for heading in table.columns if _plain(heading) in _METRICS}
    if not metrics:
        headings = ", ".join(names[0].upper() for names in HEADINGS.values())
        raise InputError(f"{file}: no column is a known metric; known headings are {headings} and their usual synonyms")
    for metric in set(metrics.values()):
        synonyms = [heading for heading, name in metrics.items() if name == metric]
        if len(synonyms) > 1:
            raise InputError(
                f"{file}: columns {' and '.join(synonyms)} are one metric; give each dataset a row of its own"
            )
    columns = list(table.columns)
    before = columns[: columns.index(next(iter(metrics)))]
    naming = [heading for heading in before if _plain(heading) != "class"]
    names = [_joined(row) for row in table[naming].to_numpy()]
    classes = table[next(heading for heading in before if heading not in naming)] if naming != before else ()
    structures = [MEAN if name.lower() in _MEANS else name for name in classes] or [""] * len(table)
    rows = pd.DataFrame(
        {
            "unit": range(len(table)),
            "group": pd.factorize(np.asarray(names, object))[0],
            "name": [_joined(pair) or f"row {n}" for n, pair in enumerate(zip(names, structures, strict=True), 1)],
            "class": structures,
        }
    )
    cells = [
        rows.assign(metric=metric, heading=heading, text=table[heading].to_numpy(), cell=None)
        for heading, metric in metrics.items()
    ]
    left_out = tuple(heading for heading in columns if heading not in (*before, *metrics))
    return pd.concat(cells, ignore_index=True), left_out


def _published(file: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    cells = read_published(file).cells
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
    return values[["unit", "group", "name", "class", "metric", "heading", "text", "cell"]], left_out


def _plain(heading: str) -> str:
    """A heading without case, arrows, blanks, units in brackets, and the word mean."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"\(.*?\)|\[.*?\]", "", heading.lower()))
    return "".join(word for word in words if word not in _MEANS)


def _joined(names: Iterable[str]) -> str:
    return ", ".join(name for name in names if name and name != MEAN)


def half_digit(number: str) -> float:
    """Half a unit in the last digit of a published number: 0.005 for ``88.40``."""
    return 0.5 * 10.0 ** int(Decimal(number).as_tuple().exponent)


def _numbers(file: Path, values: pd.DataFrame) -> pd.DataFrame:
    """Columns ``text``, ``decimals``, ``value`` and ``half`` parsed from the text of the cells."""
    rows = []
    for heading, name, text in zip(values["heading"], values["name"], values["text"], strict=True):
        match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
        if match and (float(match[1]) == 0 or 1e-99 < abs(float(match[1])) < 1e99):
            exponent = int(Decimal(match[1]).as_tuple().exponent)
            rows.append((match[1], max(-exponent, 0), float(match[1]), half_digit(match[1])))
        elif text.lower() in _MISSING:
            rows.append(("", 0, np.nan, np.nan))
        else:
            raise InputError(
                f"{file}: '{text[:100]}' below {heading} of '{name}' is not a number; empty the cell if there is none"
            )
    return pd.DataFrame(rows, index=values.index, columns=["text", "decimals", "value", "half"])


def _scales(file: Path, values: pd.DataFrame, family: Sequence[str], unit: str | None) -> dict[str, float]:
    """The published value of 1, for each metric of a family in the table.

    Raises:
        InputError: the unit is ambiguous, as one metric of counts looks like a share and another like percent.
    """
    largest = values[values["metric"].isin(family)].groupby("metric")["value"].max().dropna()
    if unit is None and family is COUNTED and (largest > 1).any() and (largest <= 1).any():
        heading = dict(zip(values["metric"], values["heading"], strict=True))
        raise InputError(
            f"{file}: {heading[largest.idxmin()]} is never above 1 and {heading[largest.idxmax()]} is; convert "
            "both to one unit, or give --unit if they have the same"
        )
    scale = UNITS[unit] if unit else UNITS["percent"] if (largest > 1).any() else UNITS["share"]
    return dict.fromkeys(map(str, largest.index), scale)
