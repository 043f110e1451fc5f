"""Sections of the page of scored predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.policy import FALSE_STRUCTURE
from spectralseg.metrics.records import MEAN
from spectralseg.reporting.rendering import (
    MINUS,
    UNDEFINED,
    Block,
    Entry,
    Line,
    Page,
    Section,
    few_patients,
    limits,
    p_text,
    signed,
)
from spectralseg.reporting.scores.differences import PREDICTIONS
from spectralseg.statistics.verdicts import BETTER, FEWEST, FEWEST_SEEDS, WORSE

CASE_METRICS = ("dsc", "iou", "sensitivity", "nsd", "hd95", "assd", FALSE_STRUCTURE)
_MAIN = ("dsc", "nsd", "hd95")  # in the verdict
MOST_CASES = 20  # in plain text
_CASES, _MEANS = "cases", "means-{}"  # keys of sections
_MEAN_OF_CLASSES = "Mean over classes"
_PROTOCOLS = {
    "sound": "missing structures as in Metrics Reloaded; distances in millimetres where the spacing is known",
    "published": "missing structures and HD95 as in TransUNet, traps included; distances in pixels",
}
_LEGEND = (
    "Means: over cases with a defined value, then over classes, then over seeds; ± standard deviation over seeds; 95 % "
    "interval over seeds and patients. n: defined values of all seeds, classes and cases. Undefined: values that the "
    "metric does not have, left out of the mean. False structures: predictions of a class in cases whose reference has "
    "none, of all such cases. NSD: tolerance of 2 mm, or 2 pixels without spacing. Detectable: the smallest true "
    "difference that as many seeds and patients find with a probability of 80 %. Verdict: better or worse if p, by "
    "Holm over the compared methods, is at most 5 %; same if the difference is within the margin, by two one-sided "
    f"tests; it needs {FEWEST}."
)


def score_page(
    name: str,
    title: str,
    means: pd.DataFrame,
    differences: pd.DataFrame,
    cases: pd.DataFrame,
    findings: Sequence[tuple[str, str, tuple[str, ...]]],
) -> Page:
    """The page: means and differences of each protocol, then the cases; the audit is its lead."""
    parts = [section for protocol in _PROTOCOLS for section in _protocol(protocol, means, differences)]
    return Page(
        name=name,
        title=title,
        warnings=_warnings(differences),
        row_headings=("Metric or case", "Unit or method"),
        sections=(
            *parts,
            Section(_CASES, "Cases (protocol sound, mean over classes and seeds)", (_case_block(cases),)),
        ),
        legend=_LEGEND + "".join(f" Protocol {name}: {text}." for name, text in _PROTOCOLS.items()),
        notes=(),
        lead=(*_verdicts(differences), ("Audit", _audit_text(findings), tuple(_sentence(*f) for f in findings))),
    )


def _verdicts(differences: pd.DataFrame) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The differences of the main metrics as a paragraph; nothing with a single method."""
    main = differences[(differences["protocol"] == "sound") & (differences["class"] == MEAN)]
    points = [
        f"{names[0]} {MINUS} {names[1]}: {'; '.join(map(_verdict_text, part.to_dict('records')))}."
        for names, part in main[main["metric"].isin(_MAIN)].groupby(["architecture", "baseline"], sort=False)
    ]
    if points:
        yield "Verdict", "Mean over classes, protocol sound, with 95 % intervals.", tuple(points)


def _verdict_text(row: Mapping[Any, Any]) -> str:
    rule = metric_of(row["metric"])
    detectable = "" if np.isnan(row["detectable"]) else f", detectable from {rule.text(row['detectable'])}"
    return f"{rule.label} {_difference_text(row)} {row['unit']}, {row['verdict']}{detectable}"


def _audit_text(findings: Sequence[Any]) -> str:
    return f"{len(findings)} findings; none changes a score." if findings else "No findings."


def _sentence(where: str, what: str, names: tuple[str, ...]) -> str:
    examples = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"{where}: {what}" + (f": {examples}." if names else ".")


def _warnings(differences: pd.DataFrame) -> tuple[str, ...]:
    if differences.empty or differences["seeds"].min() >= FEWEST_SEEDS:
        return ()
    fewest = int(differences["seeds"].min())
    if (differences["about"] == PREDICTIONS).any():
        return (
            "One seed: intervals are over patients only. They are about these predictions, not about the methods: the "
            "same method trained again can differ by more. An interval without zero says that these predictions differ "
            f"for other patients, too. A verdict on the methods needs {FEWEST_SEEDS} seeds of each.",
        )
    return (f"{fewest} seeds: there is no verdict, which needs {FEWEST_SEEDS} seeds of each method.",)


def few(differences: pd.DataFrame, means: pd.DataFrame) -> tuple[str, ...]:
    """A note on intervals of the Dice over few patients."""
    table, column = (differences, "effective_groups") if len(differences) else (means, "groups")
    return few_patients(table.loc[table["metric"] == "dsc", column])


def _protocol(protocol: str, means: pd.DataFrame, differences: pd.DataFrame) -> Iterator[Section]:
    title = f"protocol {protocol}"
    averages = means[means["protocol"] == protocol]
    blocks = [_means_block(label, part) for label, part in _by_class(averages)]
    yield Section(_MEANS.format(protocol), f"Means, {title}", tuple(blocks))
    compared = differences[differences["protocol"] == protocol]
    if len(compared):
        blocks = [_differences_block(label, part) for label, part in _by_class(compared)]
        yield Section(f"differences-{protocol}", f"Differences, {title}", tuple(blocks))


def _by_class(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    several = table["class"].nunique() > 1
    for name, part in table.groupby("class", sort=False):
        yield (_MEAN_OF_CLASSES if several else "") if name == MEAN else f"Class {name}", part


def _means_block(title: str, means: pd.DataFrame) -> Block:
    methods = list(dict.fromkeys(means["architecture"]))
    leaks = bool(means["leak_free"].notna().any())
    headings = ("Mean", "95 % interval", *(("Leak-free",) if leaks else ()), "n", "Undefined")
    rows = []
    for (metric, unit), part in means.groupby(["metric", "unit"], sort=False):
        by_method = part.set_index("architecture").to_dict("index")
        entries = [
            entry
            for method in methods
            for entry in _mean_entries(str(metric), by_method.get(method), leaks, len(headings))
        ]
        rule = metric_of(str(metric))
        rows.append(Line(f"{rule.label} {rule.arrow}", str(unit), tuple(entries)))
    groups = tuple(method for method in methods for _ in headings)
    counts = _count_lines(means, methods, len(headings))
    return Block(title, groups, headings * len(methods), tuple(rows), counts)


def _mean_entries(metric: str, row: Mapping[Any, Any] | None, leaks: bool, width: int) -> list[Entry]:
    if row is None:
        return [Entry("")] * width
    rule = metric_of(metric)
    if np.isnan(row["mean"]):
        text = interval = UNDEFINED
    else:
        text = rule.text(row["mean"]) + ("" if np.isnan(row["sd"]) else f" ± {rule.text(row['sd'])}")
        defined = not np.isnan([row["low"], row["high"]]).any()
        interval = f"{rule.text(row['low'])} to {rule.text(row['high'])}" if defined else ""
    leak_free = [Entry(UNDEFINED if np.isnan(row["leak_free"]) else rule.text(row["leak_free"]))] if leaks else []
    return [Entry(text), Entry(interval), *leak_free, Entry(str(row["values"])), Entry(str(row["undefined"]))]


def _count_lines(means: pd.DataFrame, methods: Sequence[str], width: int) -> tuple[Line, ...]:
    """Cases, patients, seeds and false structures of each method."""

    def line(label: str, texts: Sequence[str]) -> Line:
        return Line(label, "", tuple(entry for text in texts for entry in (Entry(text), *[Entry("")] * (width - 1))))

    of_dice = means[means["metric"] == "dsc"].set_index("architecture")
    lines = [
        line(label, [str(of_dice[column].get(method, 0)) for method in methods])
        for label, column in (("Cases", "cases"), ("Patients or groups", "groups"), ("Seeds", "seeds"))
    ]
    events = means[means["metric"] == FALSE_STRUCTURE].set_index("architecture")
    if len(events):
        texts = [
            f"{events['false_structures'][method]} of {events['values'][method]}" if method in events.index else ""
            for method in methods
        ]
        lines.append(line("False structures, of empty references", texts))
    return tuple(lines)


def _differences_block(title: str, differences: pd.DataFrame) -> Block:
    headings = (
        *("Compared", "Difference [95 %]", "Verdict", "p (Holm)", "Detectable", "Margin"),
        *("Seeds", "Patients", "Cases", "Undefined", "Unpaired"),
    )
    rows, label = [], ""
    for row in differences.to_dict("records"):
        rule = metric_of(row["metric"])
        name = f"{rule.label} {rule.arrow}"
        rows.append(Line(name if name != label else "", row["unit"], _difference(row)))
        label = name
    return Block(title, ("",) * len(headings), headings, tuple(rows))


def _difference(row: Mapping[Any, Any]) -> tuple[Entry, ...]:
    rule, counts = metric_of(row["metric"]), ("seeds", "groups", "cases", "undefined", "unpaired")
    numbers = [("" if np.isnan(row[name]) else rule.text(row[name])) for name in ("detectable", "margin")]
    verdict = row["verdict"] if row["verdict"] in (BETTER, WORSE) else f"{row['verdict']} ({row['reason']})"
    return (
        Entry(f"{row['architecture']} {MINUS} {row['baseline']}"),
        Entry(_difference_text(row)),
        Entry(verdict, bold=row["verdict"] in (BETTER, WORSE)),
        Entry(p_text(row["p_adjusted"])),
        *map(Entry, numbers),
        *(Entry(str(int(row[name]))) for name in counts),
    )


def _difference_text(row: Mapping[Any, Any]) -> str:
    digits = metric_of(row["metric"]).digits
    if np.isnan(row["difference"]):
        return UNDEFINED
    if np.isnan([row["low"], row["high"]]).any():
        return signed(row["difference"], digits)
    return limits(row["difference"], row["low"], row["high"], digits=digits)


def _case_block(cases: pd.DataFrame) -> Block:
    """One row per case and method, in the order of the cases."""
    metrics = [name for name in CASE_METRICS if name in cases]
    ordered = cases.sort_values("case", kind="stable")
    rows, label = [], ""
    for row in ordered.to_dict("records"):
        entries = [Entry(UNDEFINED if np.isnan(row[m]) else metric_of(m).text(row[m])) for m in metrics]
        rows.append(
            Line(row["case"] if row["case"] != label else "", row["architecture"], (Entry(row["group"]), *entries))
        )
        label = row["case"]
    headings = ("Patient or group", *(f"{metric_of(name).label} {metric_of(name).arrow}" for name in metrics))
    return Block("", ("",) * len(headings), headings, tuple(rows))


def plain_text(page: Page) -> str:
    """A page as text with aligned columns.

    Single classes have their means under ``sound`` only, and of more cases than :data:`MOST_CASES`, the first ones are
    listed.
    """
    lines = [f"Note: {warning}" for warning in page.warnings]
    for word, text, points in page.lead:
        lines += [f"{word}: {text}", *(f"- {point}" for point in points)]
    for section in page.sections:
        blocks = section.blocks if section.key == _MEANS.format("sound") else section.blocks[:1]
        for block in blocks:
            more = max(0, len(block.rows) - MOST_CASES) if section.key == _CASES else 0
            listed = dataclasses.replace(block, rows=block.rows[: len(block.rows) - more])
            title = ". ".join(text for text in (section.title, block.title) if text)
            lines += ["", title, _aligned(listed)]
            lines += [f"… and {more} more rows, which --report writes"] if more else []
    return "\n".join([*lines, "", *page.notes])


def _aligned(block: Block) -> str:
    headings = [f"{group} {name}".strip() for group, name in zip(block.groups, block.headings, strict=True)]
    table = [["", "", *headings]]
    table += [[line.label, line.kind, *(entry.text for entry in line.entries)] for line in (*block.rows, *block.counts)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if place < 2 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )
