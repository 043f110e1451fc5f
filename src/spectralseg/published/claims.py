"""Claims of a paper about methods, and the comparisons that decide them, as data.

``claims.csv`` has one row per claim. ``claims_cells.csv`` beside it has one row per comparison of a method with a
reference under one condition, in one class and metric, with the names of metric records and published tables. If the
columns ``minus`` and ``minus_reference`` name two more methods, as ``architecture/objective/λ``, the comparison is
between two gains: that of the method over the reference, and that of ``minus`` over ``minus_reference``. Lines that
start with ``#`` are comments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectralseg.errors import InputError
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import METHOD_KEYS
from spectralseg.published.tables import read_commented, require_columns
from spectralseg.statistics.verdicts import DIRECTIONS

QUANTIFIERS = ("all", "most")
COLUMNS = ("id", "section", "claim", "quantifier", "untestable")
MINUS = ("minus", "minus_reference")  # optional columns
_CELL = ("dataset", "suite", "test_dataset", "corruption", "severity", "class", "metric")
CELL_COLUMNS = ("claim", "direction", "size", *_CELL, *METHOD_KEYS, *(f"reference_{name}" for name in METHOD_KEYS))


@dataclass(frozen=True)
class Comparison:
    """A method against a reference, or the gain of a method over a reference against that of another pair.

    Attributes:
        direction: claimed relation of the method to the reference, or of the gains: ``higher``, ``lower``, or, up to a
            margin that the paper does not state, ``no worse`` (in the better direction of the metric) or ``similar``.
        size: claimed size of the difference, positive, in printed units, as text, whose decimals give its rounding;
            None if the text states none.
        method: column → value that select the records, and the printed cell, of the method.
        reference: the same for the reference; differs in architecture, objective or λ only.
        minus: method and reference of the gain that is subtracted, under the same condition; empty without a second
            gain.
    """

    direction: str
    size: str | None
    method: Mapping[str, str]
    reference: Mapping[str, str]
    minus: tuple[Mapping[str, str], ...] = ()

    @property
    def sides(self) -> tuple[Mapping[str, str], ...]:
        """Method and reference, and those of the second gain, if any."""
        return self.method, self.reference, *self.minus

    @property
    def difference(self) -> float | None:
        """The claimed difference, method minus reference, in printed units; None without a size."""
        if self.size is None:
            return None
        return float(self.size) if self.direction == "higher" else -float(self.size)


@dataclass(frozen=True)
class Claim:
    """A claim of the text, paraphrased.

    Attributes:
        id: stable name.
        section: sections that make the claim.
        text: the claim.
        quantifier: which of the comparisons must hold, ``all`` or ``most`` (more than half); empty without any.
        untestable: why metric records cannot decide the claim; empty if they can.
        comparisons: empty if and only if ``untestable`` is not.
    """

    id: str
    section: str
    text: str
    quantifier: str
    untestable: str
    comparisons: tuple[Comparison, ...]

    def required(self, comparisons: int) -> int:
        """Number of comparisons that must hold out of ``comparisons``."""
        return comparisons if self.quantifier == "all" else comparisons // 2 + 1

    def holds(self, comparisons: Sequence[bool]) -> bool:
        """Whether the claim holds, given whether each of its comparisons does."""
        return sum(comparisons) >= self.required(len(comparisons))


def read_claims(file: Path | str) -> tuple[Claim, ...]:
    """Read ``<name>.csv`` and, beside it, ``<name>_cells.csv``; in the order of the file.

    Raises:
        InputError: a file is missing or lacks a column; an id is duplicate or unknown; a claim has both comparisons and
            a reason for having none, or neither; a direction, quantifier or metric is unknown; a size is not a positive
            number or has no direction; a method or gain is compared with itself; or a second gain is incomplete.
    """
    file = Path(file)
    cells = file.with_name(f"{file.stem}_cells{file.suffix}")
    _, claims = read_commented(file)
    require_columns(file, claims, COLUMNS)
    _, comparisons = read_commented(cells)
    require_columns(cells, comparisons, CELL_COLUMNS)
    by_claim: dict[str, list[Comparison]] = {}
    for row in claims.to_dict("records"):
        if row["id"] in by_claim:
            raise InputError(f"{file}: claim '{row['id']}' appears twice; give each claim an id of its own")
        by_claim[row["id"]] = []
    for row in comparisons.to_dict("records"):
        if row["claim"] not in by_claim:
            raise InputError(
                f"{cells}: claim '{row['claim']}' is not in {file}; add it there or remove its comparisons"
            )
        by_claim[row["claim"]].append(_comparison(cells, row))
    return tuple(_claim(file, row, by_claim[row["id"]]) for row in claims.to_dict("records"))


def _claim(file: Path, row: Mapping[Any, Any], comparisons: Sequence[Comparison]) -> Claim:
    subject = f"{file}: claim '{row['id']}'"
    if bool(comparisons) == bool(row["untestable"]):
        raise InputError(f"{subject} needs either comparisons or, in the column 'untestable', why there are none")
    if comparisons and row["quantifier"] not in QUANTIFIERS:
        raise InputError(f"{subject}: quantifier '{row['quantifier']}' is unknown; use {' or '.join(QUANTIFIERS)}")
    return Claim(
        row["id"], row["section"], row["claim"], row["quantifier"], row["untestable"], comparisons=tuple(comparisons)
    )


def _comparison(file: Path, row: Mapping[Any, Any]) -> Comparison:
    subject = f"{file}: claim '{row['claim']}'"
    if row["direction"] not in DIRECTIONS:
        raise InputError(f"{subject}: direction '{row['direction']}' is unknown; use one of {', '.join(DIRECTIONS)}")
    if row["size"] and (not _positive(row["size"]) or row["direction"] not in ("higher", "lower")):
        raise InputError(
            f"{subject}: size '{row['size']}' must be a positive number, with the direction higher or lower"
        )
    metric_of(row["metric"])
    cell = {name: row[name] for name in _CELL}
    method = cell | {name: row[name] for name in METHOD_KEYS}
    reference = cell | {name: row[f"reference_{name}"] for name in METHOD_KEYS}
    if method == reference:
        raise InputError(f"{subject}: a method is compared with itself; name another reference")
    return Comparison(row["direction"], row["size"] or None, method, reference, _minus(subject, row, method, reference))


def _minus(
    subject: str, row: Mapping[Any, Any], method: Mapping[str, str], reference: Mapping[str, str]
) -> tuple[Mapping[str, str], ...]:
    """The two methods of the second gain, if any."""
    texts = [row.get(name, "") for name in MINUS]
    if not any(texts):
        return ()
    parts = [text.split("/") for text in texts]
    for name, text, part in zip(MINUS, texts, parts, strict=True):
        if len(part) != len(METHOD_KEYS):
            raise InputError(
                f"{subject}: {name} '{text}' is not a method; write architecture/objective/λ in both columns"
            )
    gain = tuple({**method, **dict(zip(METHOD_KEYS, part, strict=True))} for part in parts)
    if gain[0] == gain[1] or gain == (method, reference):
        raise InputError(f"{subject}: a method or gain is compared with itself; name another in 'minus'")
    return gain


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
