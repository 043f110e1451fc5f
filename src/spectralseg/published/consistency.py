"""Can the numbers of a results table stand together?

Overlap metrics are functions of the same four counts, so that the mean of one limits the mean of another. Each of
:data:`BOUNDS` holds for a single unit (an image, a volume, a class of it, or all pixels together) and, being linear,
convex or concave in the right direction, for means over any units with any weights. Numbers that break one are no means
over the same units: images, classes or ways of averaging were mixed, or a number is wrong.

With D the Dice coefficient (DSC), J the IoU, s the sensitivity, q the precision, t the specificity and a the accuracy
of a unit:

- J = D/(2 - D) is convex in D, so mean J ≥ D/(2 - D) at the mean D by Jensen's inequality. Solved for D, mean
  D ≤ 2J/(1 + J) at the mean J. Also J ≤ D.
- D = 2sq/(s + q), the harmonic mean, is concave in s and q together and grows with both: mean D ≤ 2sq/(s + q) at the
  mean s and q. With q ≤ 1, D ≤ 2s/(1 + s) at the mean s alone; likewise for q.
- J ≤ s and J ≤ q, since TP + FP + FN is no less than TP + FN or TP + FP.
- J ≥ s + q - 1: with x = 1 - s and y = 1 - q, J = (1 - x)(1 - y)/(1 - xy), which exceeds s + q - 1 by
  xy(2 - x - y)/(1 - xy) ≥ 0. D ≥ J, so the same holds for D.
- J ≤ a: adding TN to numerator and denominator of TP/(TP + FP + FN) cannot make it smaller.
- a ≥ s + t - 1: a lies between s and t, and neither is less than their sum less 1.
- ECE ≤ MCE: a weighted mean of the gaps of bins is no more than the largest gap.

Units without a defined sensitivity or precision may be left out of that mean if they score 0 in D and J; that only
widens the distance to the bound. Medians are no means, and the accuracy over all classes at once is not that of a
class. Numbers are taken as rounded to the nearest: a bound counts as broken only if it is by those values within half
of the last printed digit that suit it best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectralseg.errors import InputError
from spectralseg.files import csv_text, replacing
from spectralseg.metrics.catalogue import DISTANCES
from spectralseg.published.claims import Claim, Comparison, read_claims
from spectralseg.published.parsing import MEAN, PrintedTable, half_digit, read_printed
from spectralseg.published.tables import SELECTION

CHECKS = ("check", "covered", "findings")
FINDINGS = ("table", "check", "name", "class", "metric", "printed", "bound", "excess", "finding")
_WHOLE = ("", MEAN, "all")  # not one class among others
_SLACK = 1e-9  # of floating point, far below any rounding

Values = NDArray[np.float64]
Cell = Mapping[Any, Any]  # a row of PrintedTable.values and the file it stands in
Finding = dict[str, Any]
Found = tuple[int, list[Finding]]  # rows that a check covered, and its findings


@dataclass(frozen=True)
class Bound:
    """A limit on the mean of one metric by the means of others, all in [0, 1].

    Attributes:
        formula: the bound as printed.
        metric: what is limited.
        arguments: what limits it.
        limit: the limit, which grows with each argument.
        upper: whether the limit is the largest value that is possible, or the smallest.
    """

    formula: str
    metric: str
    arguments: tuple[str, ...]
    limit: Callable[..., Values]
    upper: bool = True


def _itself(value: Values) -> Values:
    return value


def _harmonic(first: Values, second: Values) -> Values:
    total = first + second
    return np.divide(2 * first * second, total, out=np.zeros_like(total), where=total > 0)


def _harmonic_with_one(value: Values) -> Values:
    return 2 * value / (1 + value)


def _sum_less_one(first: Values, second: Values) -> Values:
    return first + second - 1


BOUNDS = (
    Bound("DSC ≤ 2·IOU/(1+IOU)", "dsc", ("iou",), _harmonic_with_one),
    Bound("DSC ≤ 2·SE/(1+SE)", "dsc", ("sensitivity",), _harmonic_with_one),
    Bound("DSC ≤ 2·PRE/(1+PRE)", "dsc", ("precision",), _harmonic_with_one),
    Bound("DSC ≤ 2·SE·PRE/(SE+PRE)", "dsc", ("sensitivity", "precision"), _harmonic),
    Bound("DSC ≥ SE+PRE-1", "dsc", ("sensitivity", "precision"), _sum_less_one, upper=False),
    Bound("IOU ≤ DSC", "iou", ("dsc",), _itself),
    Bound("IOU ≤ SE", "iou", ("sensitivity",), _itself),
    Bound("IOU ≤ PRE", "iou", ("precision",), _itself),
    Bound("IOU ≥ SE+PRE-1", "iou", ("sensitivity", "precision"), _sum_less_one, upper=False),
    Bound("IOU ≤ ACC", "iou", ("accuracy",), _itself),
    Bound("ACC ≥ SE+SP-1", "accuracy", ("sensitivity", "specificity"), _sum_less_one, upper=False),
    Bound("ECE ≤ MCE", "ece", ("mce",), _itself),
)


@dataclass(frozen=True)
class Report:
    """What an audit found.

    Attributes:
        tables: what was read.
        checks: columns :data:`CHECKS`: how many values, rows, means or comparisons each check ``covered``, and how many
            ``findings`` it made.
        findings: one row per finding, columns :data:`FINDINGS`. ``printed``, ``bound`` and ``excess``, by which one
            misses the other, are in printed units. Of the text, ``name`` is the claim, ``printed`` its size (or the
            method's value where it has none) and ``bound`` what the tables have instead (or the reference's value).
        note: how much of the text was not compared, and why; empty without claims.
    """

    tables: tuple[PrintedTable, ...]
    checks: pd.DataFrame
    findings: pd.DataFrame
    note: str

    def text(self) -> str:
        """The report for a reader: tables, checks, findings."""
        done, idle = self.checks[self.checks["covered"] > 0], self.checks[self.checks["covered"] == 0]
        width = max(map(len, done["check"]))
        lines = [f"{name:{width}}  {covered:7}  {count:8}" for name, covered, count in done.itertuples(index=False)]
        parts = [
            [table.summary for table in self.tables],
            [f"{'check':{width}}  covered  findings", *lines],
            [f"not checked for lack of numbers: {', '.join(idle['check'])}"] if len(idle) else [],
            [self.note] if self.note else [],
            [f"{table}: {finding}" for table, finding in self.findings[["table", "finding"]].itertuples(index=False)],
            [] if len(self.findings) else ["Nothing speaks against these numbers."],
        ]
        return "\n\n".join("\n".join(part) for part in parts if part)

    def write(self, file: Path) -> None:
        """Write the findings as CSV; only the headings where there are none."""
        with replacing(file) as partial:
            partial.write_text(csv_text(self.findings), encoding="utf-8")

    def refuse(self) -> None:
        """Stop where there is any finding.

        Raises:
            InputError: says how many there are.
        """
        if len(self.findings):
            files = ", ".join(dict.fromkeys(self.findings["table"]))
            raise InputError(
                f"{files}: {len(self.findings)} findings, see above; check these numbers where they come from"
            )


def audit(files: Sequence[Path], claims: Path | None = None, unit: str | None = None) -> Report:
    """Check results tables for numbers that cannot stand together.

    Args:
        files: the tables; see :func:`spectralseg.published.parsing.read_printed`.
        claims: what the text says of published cells; see :mod:`spectralseg.published.claims`.
        unit: of the tables; None tells it from the values.

    Raises:
        InputError: a file is missing or malformed, or its unit cannot be told.
    """
    tables = tuple(read_printed(file, unit) for file in files)
    values = pd.concat([one.values.assign(table=str(one.file)) for one in tables], ignore_index=True)
    values["line"] = values.groupby(["table", "unit"], sort=False).ngroup()
    printed = values[values["value"].notna()]
    found = {
        "values in range": _ranges(printed),
        **{bound.formula: _within(bound, printed) for bound in BOUNDS},
        "means of classes": _class_means(values),
        "cells printed twice": _repeated(printed),
    }
    note = ""
    if claims is not None:
        found["text against tables"], note = _text(read_claims(claims), printed)
    return Report(
        tables,
        pd.DataFrame([(name, rows, len(some)) for name, (rows, some) in found.items()], columns=list(CHECKS)),
        pd.DataFrame(
            [{"check": name, **one} for name, (_, some) in found.items() for one in some], columns=list(FINDINGS)
        ),
        note,
    )


def _ranges(values: pd.DataFrame) -> Found:
    found = []
    for cell in values[_outside(values)].to_dict("records"):
        side, limit = ("below", 0.0) if cell["value"] < 0 else ("above", 1.0)
        found.append(_beyond(cell, limit, f"is {side} {limit * cell['scale']:g}"))
    return len(values), found


def _outside(values: pd.DataFrame) -> pd.Series:
    largest = np.where(values["metric"].isin(DISTANCES), np.inf, 1.0)
    return (values["value"] - values["half"] > largest + _SLACK) | (values["value"] + values["half"] < -_SLACK)


def _within(bound: Bound, values: pd.DataFrame) -> Found:
    """Rows that have all metrics of a bound; what is out of range has a finding of its own."""
    inside = values[~_outside(values)].set_index("line")
    frames = [inside[inside["metric"] == metric] for metric in (bound.metric, *bound.arguments)]
    rows = reduce(pd.Index.intersection, [frame.index for frame in frames])
    limited, *others = (frame.loc[rows].reset_index() for frame in frames)
    sign = 1 if bound.upper else -1
    limits = bound.limit(*((other["value"] + sign * other["half"]).clip(0, 1).to_numpy() for other in others))
    broken = np.flatnonzero(sign * (limited["value"] - limits) > limited["half"] + _SLACK)
    found = []
    cells, *by_cells = (frame.iloc[broken].to_dict("records") for frame in (limited, *others))
    for cell, limit, *of in zip(cells, limits[broken].tolist(), *by_cells, strict=True):
        by = " and ".join(f"{one['heading']} {one['text']}" for one in of)
        side, extreme = ("above", "largest") if bound.upper else ("below", "smallest")
        found.append(
            _beyond(
                cell,
                limit,
                f"is {_printed(abs(cell['value'] - limit), cell)} {side} {_printed(limit, cell)}, the {extreme} value "
                f"that goes with {by}",
            )
        )
    return len(rows), found


def _class_means(values: pd.DataFrame) -> Found:
    """Means whose classes are all printed."""
    rows, found = 0, []
    for group in _groups(values, ("table", "group", "metric")):
        means = [cell for cell in group if cell["class"] == MEAN]
        classes = [cell for cell in group if cell["class"] not in _WHOLE]
        if not means or len(classes) < 2 or any(math.isnan(cell["value"]) for cell in group):
            continue
        rows += 1
        (cell,), expected = means, float(np.mean([one["value"] for one in classes]))
        if abs(cell["value"] - expected) > cell["half"] + np.mean([one["half"] for one in classes]) + _SLACK:
            what = f"is not {_printed(expected, cell)}, the mean of its {len(classes)} classes"
            found.append(_beyond(cell, expected, what))
    return rows, found


def _repeated(values: pd.DataFrame) -> Found:
    rows, found = 0, []
    for first, *again in _groups(values[values["cell"].notna()], ("cell",)):
        rows += len(again)
        for cell in again:
            if abs(cell["value"] - first["value"]) > cell["half"] + first["half"] + _SLACK:
                found.append(_beyond(cell, first["value"], f"is {first['text']} in {first['table']}"))
    return rows, found


def _groups(values: pd.DataFrame, keys: Sequence[str]) -> Iterable[list[Cell]]:
    """Rows that have the same keys; far faster than the groups of pandas where there are many."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in values.to_dict("records"):
        groups.setdefault(tuple(cell[key] for key in keys), []).append(cell)
    return groups.values()


def _text(claims: Sequence[Claim], values: pd.DataFrame) -> tuple[Found, str]:
    """What the text says against the printed cells, and how much of it could not be compared."""
    printed = values[values["cell"].notna()].drop_duplicates("cell")
    cells = dict(zip(printed["cell"], printed.to_dict("records"), strict=True))
    rows, found, unprinted, vague = 0, [], 0, 0
    for claim in claims:
        broken = []
        for comparison in claim.comparisons:
            sides = [cells[key] for key in map(_key, comparison.sides) if key in cells]
            if comparison.direction not in ("higher", "lower"):
                vague += 1
            elif len(sides) < len(comparison.sides):
                unprinted += 1
            else:
                rows += 1
                broken += _contradiction(claim, comparison, sides)
        if not claim.holds([False] * len(broken) + [True] * (len(claim.comparisons) - len(broken))):
            found += broken
    note = (
        f"not compared with tables: {unprinted} comparisons of cells that are not printed, {vague} that say 'no worse' "
        f"or 'similar', {sum(not claim.comparisons for claim in claims)} claims that compare no cells"
    )
    return (rows, found), note


def _key(selection: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(selection[name] for name in (*SELECTION, "class", "metric"))


def _contradiction(claim: Claim, comparison: Comparison, sides: Sequence[Cell]) -> list[Finding]:
    """At most one finding: the size differs from that of the cells, or without a size the direction does."""
    method, reference = sides[0], sides[len(sides) // 2]
    scale, decimals, stated = method["scale"], method["decimals"], comparison.difference
    values, rounding = [side["value"] * scale for side in sides], sum(side["half"] for side in sides) * scale + _SLACK
    if comparison.minus:
        ours, theirs = values[0] - values[1], values[2] - values[3]
        what, texts = "the gain in ", [f"{gain:+.{decimals}f}" for gain in (ours, theirs)]
    else:
        ours, theirs = values
        what, texts = "", [method["text"], reference["text"]]
    if stated is None:
        sign = 1 if comparison.direction == "higher" else -1
        if sign * (ours - theirs) > 2 * _SLACK - rounding:
            return []
        said, numbers = f"{comparison.direction} than", (ours, theirs)
    else:
        if abs(stated - (ours - theirs)) <= rounding + half_digit(comparison.size or ""):
            return []
        said, numbers = f"{comparison.size} {comparison.direction} than", (stated, ours - theirs)
    sentence = (
        f"{claim.section}: {what}{method['heading']} of {method['name']} is said to be {said} that of "
        f"{reference['name']}, but {texts[0]} and {texts[1]} differ by {ours - theirs:+.{decimals}f}"
    )
    return [{**_finding(method, *numbers, sentence), "name": claim.id}]


def _beyond(cell: Cell, bound: float, what: str) -> Finding:
    """A finding about one cell; the bound is divided by the scale."""
    sentence = f"{cell['name']}: {cell['heading']} {cell['text']} {what}"
    return _finding(cell, cell["value"] * cell["scale"], bound * cell["scale"], sentence)


def _printed(value: float, cell: Cell) -> str:
    """A value between 0 and 1 as the cell is printed."""
    return f"{value * cell['scale']:.{cell['decimals']}f}"


def _finding(cell: Cell, printed: float, bound: float, sentence: str) -> Finding:
    known = {name: cell[name] for name in ("table", "name", "class", "metric")}
    return {**known, "printed": printed, "bound": bound, "excess": abs(printed - bound), "finding": sentence}
