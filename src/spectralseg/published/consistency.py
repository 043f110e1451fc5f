"""Check whether the numbers of a results table are consistent with each other.

Overlap metrics are functions of the same four counts, so that the mean of one bounds the mean of another. Each of
:data:`BOUNDS` holds for a single unit (an image, a volume, a class of it, or all pixels together) and, being linear,
convex or concave in the right direction, for means over any units with any weights. Numbers that violate a bound are
not means over the same units: images, classes or averagings were mixed, or a number is wrong.

With D the Dice coefficient (DSC), J the IoU, s the sensitivity, q the precision, t the specificity and a the accuracy
of a unit:

- J = D/(2 - D) is convex in D, so mean J ≥ D/(2 - D) at the mean D by Jensen's inequality. Solved for D, mean
  D ≤ 2J/(1 + J) at the mean J. Also J ≤ D.
- D = 2sq/(s + q), the harmonic mean, is jointly concave and increasing in s and q: mean D ≤ 2sq/(s + q) at the
  mean s and q. With q ≤ 1, D ≤ 2s/(1 + s) at the mean s alone; likewise for q.
- J ≤ s and J ≤ q, since TP + FP + FN is no less than TP + FN or TP + FP.
- J ≥ s + q - 1: with x = 1 - s and y = 1 - q, J = (1 - x)(1 - y)/(1 - xy), which exceeds s + q - 1 by
  xy(2 - x - y)/(1 - xy) ≥ 0. D ≥ J, so the same holds for D.
- J ≤ a: adding TN to numerator and denominator of TP/(TP + FP + FN) does not decrease it.
- a ≥ s + t - 1: a lies between s and t, and neither is less than s + t - 1.
- ECE ≤ MCE: a weighted mean of the gaps of bins is at most the largest gap.

The bounds also hold if units with an undefined sensitivity or precision, which have D = J = 0, are excluded from that
mean. They hold neither for medians nor for the accuracy over all classes together. Numbers are taken as rounded to the
nearest: a bound counts as violated only if all values within half of the last printed digit violate it.
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

from spectralseg.errors import FindingsError, InputError
from spectralseg.files import csv_text, replacing
from spectralseg.metrics.catalogue import DISTANCES
from spectralseg.published.claims import Claim, Comparison, read_claims
from spectralseg.published.parsing import MEAN, STANDARD_INPUT, PrintedTable, half_digit, read_printed
from spectralseg.published.tables import SELECTION

CHECKS = ("check", "covered", "findings")
FINDINGS = ("table", "check", "name", "class", "metric", "printed", "bound", "excess", "finding")
_WHOLE = ("", MEAN, "all")  # not a single class
_SLACK = 1e-9  # for floating-point errors; far below the rounding of published numbers

Values = NDArray[np.float64]
Cell = Mapping[Any, Any]  # a row of PrintedTable.values and its file
Finding = dict[str, Any]
CheckResult = tuple[int, list[Finding]]  # number of rows that a check covered, and its findings


@dataclass(frozen=True)
class Bound:
    """A limit on the mean of one metric by the means of others, all in [0, 1].

    Attributes:
        formula: the bound as printed.
        metric: the limited metric.
        arguments: the limiting metrics.
        limit: the limit as a function of the arguments, increasing in each.
        upper: whether it is an upper or a lower limit.
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
    """Result of a consistency check.

    Attributes:
        tables: the checked tables.
        checks: one row per check, columns :data:`CHECKS`: the number of values, rows, means or comparisons that it
            ``covered``, and of its ``findings``.
        findings: one row per finding, columns :data:`FINDINGS`. ``printed``, ``bound`` and ``excess``, their
            difference, are in printed units. For claims, ``name`` is the claim, ``printed`` its size (or the value of
            the method without a size) and ``bound`` the difference in the tables (or the value of the reference).
        note: number of comparisons of the text that were not checked, with reasons; empty without claims.
        unread: one sentence on each table, or passage that looks like one, that was not checked.
    """

    tables: tuple[PrintedTable, ...]
    checks: pd.DataFrame
    findings: pd.DataFrame
    note: str
    unread: tuple[str, ...] = ()

    def text(self) -> str:
        """The report as text: tables, checks, findings."""
        applied, skipped = self.checks[self.checks["covered"] > 0], self.checks[self.checks["covered"] == 0]
        width = max(map(len, applied["check"]))
        lines = [f"{name:{width}}  {covered:7}  {count:8}" for name, covered, count in applied.itertuples(index=False)]
        parts = [
            [*(table.summary for table in self.tables), *self.unread],
            [f"{'check':{width}}  covered  findings", *lines],
            [f"not checked for lack of numbers: {', '.join(skipped['check'])}"] if len(skipped) else [],
            [self.note] if self.note else [],
            [f"{table}: {finding}" for table, finding in self.findings[["table", "finding"]].itertuples(index=False)],
            [] if len(self.findings) else ["No inconsistency found."],
        ]
        return "\n\n".join("\n".join(part) for part in parts if part)

    def as_json(self) -> dict[str, Any]:
        """The report as values of JSON."""
        return {
            "tables": [_table_as_json(table) for table in self.tables],
            "unread": list(self.unread),
            "checks": self.checks.to_dict("records"),
            "note": self.note,
            "findings": self.findings.to_dict("records"),
        }

    def write(self, file: Path) -> None:
        """Write the findings as CSV, with headings only if there are none."""
        with replacing(file) as partial:
            partial.write_text(csv_text(self.findings), encoding="utf-8")

    def refuse(self) -> None:
        """Refuse tables with findings.

        Raises:
            FindingsError: there are findings; gives their number.
        """
        if count := len(self.findings):
            files = ", ".join(dict.fromkeys(self.findings["table"]))
            findings = "1 finding" if count == 1 else f"{count} findings"
            raise FindingsError(f"{files}: {findings}, see above; check these numbers at their source")


def _table_as_json(table: PrintedTable) -> dict[str, Any]:
    missing = int(table.values["value"].isna().sum())
    return {
        "table": table.source,
        "format": table.format,
        "line": table.line,
        "rows": int(table.values["unit"].nunique()),
        "values": len(table.values) - missing,
        "missing": missing,
        "unit": table.unit,
        "decimal_comma": table.decimal_comma,
        "names": list(table.numbered),
        "not_checked": list(table.left_out),
    }


def audit(
    files: Sequence[Path], claims: Path | None = None, unit: str | None = None, form: str | None = None
) -> Report:
    """Check results tables for inconsistent numbers.

    Args:
        files: the tables, ``-`` for standard input; see :func:`spectralseg.published.parsing.read_printed`.
        claims: claims of the text about published cells; see :mod:`spectralseg.published.claims`.
        unit: of the tables; None infers it from the values.
        form: format of the files; None infers it from their content.

    Raises:
        InputError: a file is missing or malformed, or its unit is ambiguous.
    """
    if list(files).count(STANDARD_INPUT) > 1:
        raise InputError("-: standard input is given twice; give it once")
    texts = [read_printed(file, unit, form) for file in files]
    tables = tuple(table for text in texts for table in text.tables)
    values = pd.concat([table.values.assign(table=table.source) for table in tables], ignore_index=True)
    values["line"] = values.groupby(["table", "unit"], sort=False).ngroup()
    printed = values[values["value"].notna()]
    results = {
        "values in range": _ranges(printed),
        **{bound.formula: _within(bound, printed) for bound in BOUNDS},
        "means of classes": _class_means(values),
        "cells printed twice": _repeated(printed),
    }
    note = ""
    if claims is not None:
        results["text against tables"], note = _text(read_claims(claims), printed)
    return Report(
        tables,
        pd.DataFrame([(name, rows, len(findings)) for name, (rows, findings) in results.items()], columns=list(CHECKS)),
        pd.DataFrame(
            [{"check": name, **finding} for name, (_, findings) in results.items() for finding in findings],
            columns=list(FINDINGS),
        ),
        note,
        tuple(sentence for text in texts for sentence in text.unread),
    )


def _ranges(values: pd.DataFrame) -> CheckResult:
    findings = []
    for cell in values[_outside(values)].to_dict("records"):
        side, limit = ("below", 0.0) if cell["value"] < 0 else ("above", 1.0)
        findings.append(_cell_finding(cell, limit, f"is {side} {limit * cell['scale']:g}"))
    return len(values), findings


def _outside(values: pd.DataFrame) -> pd.Series:
    largest = np.where(values["metric"].isin(DISTANCES), np.inf, 1.0)
    return (values["value"] - values["half"] > largest + _SLACK) | (values["value"] + values["half"] < -_SLACK)


def _within(bound: Bound, values: pd.DataFrame) -> CheckResult:
    """Check rows that have all metrics of a bound; values out of range have a finding of their own."""
    inside = values[~_outside(values)].set_index("line")
    frames = [inside[inside["metric"] == metric] for metric in (bound.metric, *bound.arguments)]
    rows = reduce(pd.Index.intersection, [frame.index for frame in frames])
    limited, *others = (frame.loc[rows].reset_index() for frame in frames)
    sign = 1 if bound.upper else -1
    limits = bound.limit(*((other["value"] + sign * other["half"]).clip(0, 1).to_numpy() for other in others))
    violated = np.flatnonzero(sign * (limited["value"] - limits) > limited["half"] + _SLACK)
    findings = []
    cells, *arguments = (frame.iloc[violated].to_dict("records") for frame in (limited, *others))
    for cell, limit, *limiting in zip(cells, limits[violated].tolist(), *arguments, strict=True):
        given = " and ".join(f"{argument['heading']} {argument['text']}" for argument in limiting)
        side, extreme = ("above", "largest") if bound.upper else ("below", "smallest")
        findings.append(
            _cell_finding(
                cell,
                limit,
                f"is {_printed(abs(cell['value'] - limit), cell)} {side} {_printed(limit, cell)}, the {extreme} value "
                f"possible with {given}",
            )
        )
    return len(rows), findings


def _class_means(values: pd.DataFrame) -> CheckResult:
    """Check means whose classes are all printed."""
    rows, findings = 0, []
    for group in _groups(values, ("table", "group", "metric")):
        means = [cell for cell in group if cell["class"] == MEAN]
        classes = [cell for cell in group if cell["class"] not in _WHOLE]
        if not means or len(classes) < 2 or any(math.isnan(cell["value"]) for cell in group):
            continue
        rows += 1
        (cell,), expected = means, float(np.mean([each["value"] for each in classes]))
        if abs(cell["value"] - expected) > cell["half"] + np.mean([each["half"] for each in classes]) + _SLACK:
            problem = f"is not {_printed(expected, cell)}, the mean of its {len(classes)} classes"
            findings.append(_cell_finding(cell, expected, problem))
    return rows, findings


def _repeated(values: pd.DataFrame) -> CheckResult:
    rows, findings = 0, []
    for first, *duplicates in _groups(values[values["cell"].notna()], ("cell",)):
        rows += len(duplicates)
        for cell in duplicates:
            if abs(cell["value"] - first["value"]) > cell["half"] + first["half"] + _SLACK:
                findings.append(_cell_finding(cell, first["value"], f"is {first['text']} in {first['table']}"))
    return rows, findings


def _groups(values: pd.DataFrame, keys: Sequence[str]) -> Iterable[list[Cell]]:
    """Rows with equal keys; much faster than groupby for many groups."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in values.to_dict("records"):
        groups.setdefault(tuple(cell[key] for key in keys), []).append(cell)
    return groups.values()


def _text(claims: Sequence[Claim], values: pd.DataFrame) -> tuple[CheckResult, str]:
    """Check claims of the text against the printed cells; also returns a note on claims that were not checked."""
    printed = values[values["cell"].notna()].drop_duplicates("cell")
    cells = dict(zip(printed["cell"], printed.to_dict("records"), strict=True))
    rows, findings, unprinted, vague = 0, [], 0, 0
    for claim in claims:
        contradictions = []
        for comparison in claim.comparisons:
            sides = [cells[key] for key in map(_key, comparison.sides) if key in cells]
            if comparison.direction not in ("higher", "lower"):
                vague += 1
            elif len(sides) < len(comparison.sides):
                unprinted += 1
            else:
                rows += 1
                contradictions += _contradiction(claim, comparison, sides)
        failed = len(contradictions)
        if not claim.holds([False] * failed + [True] * (len(claim.comparisons) - failed)):
            findings += contradictions
    note = (
        f"not compared with tables: {unprinted} comparisons of cells that are not printed, {vague} that say 'no worse' "
        f"or 'similar', {sum(not claim.comparisons for claim in claims)} claims that compare no cells"
    )
    return (rows, findings), note


def _key(selection: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(selection[name] for name in (*SELECTION, "class", "metric"))


def _contradiction(claim: Claim, comparison: Comparison, sides: Sequence[Cell]) -> list[Finding]:
    """At most one finding: the size of a difference, or without a size its direction, contradicts the cells."""
    method, reference = sides[0], sides[len(sides) // 2]
    scale, decimals, stated = method["scale"], method["decimals"], comparison.difference
    values, rounding = [side["value"] * scale for side in sides], sum(side["half"] for side in sides) * scale + _SLACK
    if comparison.minus:
        a, b = values[0] - values[1], values[2] - values[3]
        quantity, texts = "the gain in ", [f"{gain:+.{decimals}f}" for gain in (a, b)]
    else:
        a, b = values
        quantity, texts = "", [method["text"], reference["text"]]
    if stated is None:
        sign = 1 if comparison.direction == "higher" else -1
        if sign * (a - b) > 2 * _SLACK - rounding:
            return []
        relation, numbers = f"{comparison.direction} than", (a, b)
    else:
        if abs(stated - (a - b)) <= rounding + half_digit(comparison.size or ""):
            return []
        relation, numbers = f"{comparison.size} {comparison.direction} than", (stated, a - b)
    sentence = (
        f"{claim.section}: {quantity}{method['heading']} of {method['name']} is said to be {relation} that of "
        f"{reference['name']}, but {texts[0]} and {texts[1]} differ by {a - b:+.{decimals}f}"
    )
    return [{**_finding(method, *numbers, sentence), "name": claim.id}]


def _cell_finding(cell: Cell, bound: float, problem: str) -> Finding:
    """A finding about one cell; the bound is divided by the scale."""
    sentence = f"{cell['name']}: {cell['heading']} {cell['text']} {problem}"
    return _finding(cell, cell["value"] * cell["scale"], bound * cell["scale"], sentence)


def _printed(value: float, cell: Cell) -> str:
    """A value between 0 and 1 in the format of the cell."""
    return f"{value * cell['scale']:.{cell['decimals']}f}"


def _finding(cell: Cell, printed: float, bound: float, sentence: str) -> Finding:
    place = {name: cell[name] for name in ("table", "name", "class", "metric")}
    return {**place, "printed": printed, "bound": bound, "excess": abs(printed - bound), "finding": sentence}
