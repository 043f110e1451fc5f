"""The paper's claims as data: what the text says of methods, and the comparisons that decide it.

``claims.csv`` has one row per claim. ``claims_cells.csv`` beside it has one row per comparison of a method with a
reference: under one condition, in one class and metric, named as in the metric records and in the printed tables. Where
the columns ``minus`` and ``minus_reference`` name two more methods, as ``architecture/objective/λ``, two gains are
compared: that of the method over the reference, and that of ``minus`` over ``minus_reference``. Lines that start with
``#`` are for the reader of the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectralseg.errors import InputError
from spectralseg.metrics.catalogue import metric_of
from spectralseg.published.tables import read_commented, require_columns
from spectralseg.statistics.verdicts import DIRECTIONS

QUANTIFIERS = ("all", "most")
COLUMNS = ("id", "section", "claim", "quantifier", "untestable")
_METHOD = ("architecture", "objective", "lambda")
MINUS = ("minus", "minus_reference")  # columns that a file may lack
_CELL = ("dataset", "suite", "test_dataset", "corruption", "severity", "class", "metric")
CELL_COLUMNS = ("claim", "direction", "size", *_CELL, *_METHOD, *(f"reference_{name}" for name in _METHOD))


@dataclass(frozen=True)
class Comparison:
    """A method against a reference, or the gain of a method over a reference against that of another pair.

    Attributes:
        direction: how the method's value compares with the reference's: ``higher``, ``lower``, or, up to a margin that
            the paper does not give, ``no worse`` (in the better direction of the metric) or ``similar``. Of gains, how
            the one compares with the other.
        size: the printed size of the difference, positive, in printed units, as text, whose decimals tell its rounding;
            None where the text gives none.
        method: column → value of the records, and of the printed cell, that belong to the method.
        reference: the same for the reference; differs in architecture, objective or λ only.
        minus: method and reference whose difference is taken off, under the same condition; empty without.
    """

    direction: str
    size: str | None
    method: Mapping[str, str]
    reference: Mapping[str, str]
    minus: tuple[Mapping[str, str], ...] = ()

    @property
    def sides(self) -> tuple[Mapping[str, str], ...]:
        """Method and reference, and those of the other gain where there is one."""
        return self.method, self.reference, *self.minus

    @property
    def difference(self) -> float | None:
        """The printed difference, method minus reference, in printed units; None where the text gives no size."""
        if self.size is None:
            return None
        return float(self.size) if self.direction == "higher" else -float(self.size)


@dataclass(frozen=True)
class Claim:
    """What the text says, in our words.

    Attributes:
        id: stable name.
        section: where the text says so.
        text: the claim.
        quantifier: how many of the comparisons must hold, ``all`` or ``most`` (more than half); empty without any.
        untestable: why metric records cannot decide the claim; empty where they can.
        comparisons: none if and only if ``untestable`` gives the reason.
    """

    id: str
    section: str
    text: str
    quantifier: str
    untestable: str
    comparisons: tuple[Comparison, ...]

    def required(self, comparisons: int) -> int:
        """How many of so many comparisons must hold."""
        return comparisons if self.quantifier == "all" else comparisons // 2 + 1

    def holds(self, judged: Sequence[bool]) -> bool:
        """Whether the claim holds, given for each comparison whether that one does."""
        return sum(judged) >= self.required(len(judged))


def read_claims(file: Path | str) -> tuple[Claim, ...]:
    """Read ``<name>.csv`` and, beside it, ``<name>_cells.csv``; in the order of the file.

    Raises:
        InputError: a file is missing or lacks a column; an id is there twice or unknown; a claim has both comparisons
            and a reason to have none, or neither; a direction, quantifier or metric is unknown; a size is no positive
            number or has no direction; a method is compared with itself, or a gain with itself or with half of another.
    """
    file = Path(file)
    cells = file.with_name(f"{file.stem}_cells{file.suffix}")
    _, claims = read_commented(file)
    require_columns(file, claims, COLUMNS)
    _, comparisons = read_commented(cells)
    require_columns(cells, comparisons, CELL_COLUMNS)
    found: dict[str, list[Comparison]] = {}
    for row in claims.to_dict("records"):
        if row["id"] in found:
            raise InputError(f"{file}: claim '{row['id']}' is there twice; give each claim an id of its own")
        found[row["id"]] = []
    for row in comparisons.to_dict("records"):
        if row["claim"] not in found:
            raise InputError(
                f"{cells}: claim '{row['claim']}' is not in {file}; add it there or remove its comparisons"
            )
        found[row["claim"]].append(_comparison(cells, row))
    return tuple(_claim(file, row, found[row["id"]]) for row in claims.to_dict("records"))


def _claim(file: Path, row: Mapping[Any, Any], comparisons: Sequence[Comparison]) -> Claim:
    named = f"{file}: claim '{row['id']}'"
    if bool(comparisons) == bool(row["untestable"]):
        raise InputError(f"{named} needs either comparisons or, in the column 'untestable', why there are none")
    if comparisons and row["quantifier"] not in QUANTIFIERS:
        raise InputError(f"{named}: quantifier '{row['quantifier']}' is unknown; use {' or '.join(QUANTIFIERS)}")
    return Claim(
        row["id"], row["section"], row["claim"], row["quantifier"], row["untestable"], comparisons=tuple(comparisons)
    )


def _comparison(file: Path, row: Mapping[Any, Any]) -> Comparison:
    named = f"{file}: claim '{row['claim']}'"
    if row["direction"] not in DIRECTIONS:
        raise InputError(f"{named}: direction '{row['direction']}' is unknown; use one of {', '.join(DIRECTIONS)}")
    if row["size"] and (not _positive(row["size"]) or row["direction"] not in ("higher", "lower")):
        raise InputError(f"{named}: size '{row['size']}' must be a positive number, of what is higher or lower")
    metric_of(row["metric"])
    cell = {name: row[name] for name in _CELL}
    method = cell | {name: row[name] for name in _METHOD}
    reference = cell | {name: row[f"reference_{name}"] for name in _METHOD}
    if method == reference:
        raise InputError(f"{named}: a method is compared with itself; name another reference")
    return Comparison(row["direction"], row["size"] or None, method, reference, _minus(named, row, method, reference))


def _minus(
    named: str, row: Mapping[Any, Any], method: Mapping[str, str], reference: Mapping[str, str]
) -> tuple[Mapping[str, str], ...]:
    """The two methods whose difference is taken off, if any."""
    texts = [row.get(name, "") for name in MINUS]
    if not any(texts):
        return ()
    parts = [text.split("/") for text in texts]
    for name, text, part in zip(MINUS, texts, parts, strict=True):
        if len(part) != len(_METHOD):
            raise InputError(
                f"{named}: {name} '{text}' is not a method; write architecture/objective/λ in both columns"
            )
    gain = tuple({**method, **dict(zip(_METHOD, part, strict=True))} for part in parts)
    if gain[0] == gain[1] or gain == (method, reference):
        raise InputError(f"{named}: a method or gain is compared with itself; name another in 'minus'")
    return gain


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
