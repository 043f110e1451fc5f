"""Architectures compared.

A block for each question of the configuration: differences between architectures with the same objective, seeds and
cases, with their 95 % intervals and verdicts.

Is a part of a network worth its parameters, and is it the part, or what the part is fed with? A network with several
parts is compared with its backbone, and with controls in which one part is missing or gets no information.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from spectralseg.config.comparison import Question
from spectralseg.metrics.catalogue import metric_of
from spectralseg.outputs import title_of
from spectralseg.reporting.contrasts import COLUMNS as CONTRAST
from spectralseg.reporting.contrasts import RULE, Contrast, contrasts, entry, with_verdicts
from spectralseg.reporting.labels import architecture_label, objective_label, tested_on
from spectralseg.reporting.measurements import Measurements
from spectralseg.reporting.rendering import (
    MINUS,
    NO_RUN,
    PROTOCOLS,
    Block,
    Entry,
    Line,
    Page,
    few_patients,
    protocol_sections,
)
from spectralseg.reporting.results import Results
from spectralseg.reporting.table import Table
from spectralseg.reporting.tables._cells import all_runs, leak_free, leak_warnings, pairs_of, reported_twice

RUNS = {"compared": ("questions",)}

COLUMNS = (
    *("protocol", "question", "reference", "architecture", "objective", "lambda"),
    *("suite", "dataset", "test_dataset", "leak_free", "metric", "unit"),
    *CONTRAST,
)
_FAMILY = ["protocol", "question", "leak_free", "metric"]
_NONE = "The configuration asks no question; add 'questions' to 'comparison'."


def build(results: Results) -> Table:
    """One block per question, one line per compared architecture, objective and test set.

    Raises:
        InputError: there are no metric records.
    """
    questions = results.config.comparison.questions if results.config else {}
    cells = pd.DataFrame(_cells(results, questions), columns=list(COLUMNS))
    cells = with_verdicts(cells, _FAMILY)
    page = Page(
        name="questions",
        title=title_of(__doc__),
        warnings=(*results.banner, *leak_warnings(results.leakage, cells)),
        row_headings=("Compared", "Test set"),
        sections=protocol_sections(cells, lambda part: _blocks(part, questions)) if len(cells) else (),
        legend=(
            "Architecture less its reference, both with the same objective, seeds and cases: mean difference with its "
            "95 % interval over seeds and patients, and a verdict. "
            f"{RULE.format(family='comparisons of a question in one metric')} {NO_RUN} no run of one of the two."
        )
        if len(cells)
        else _NONE,
        notes=few_patients(cells["effective_groups"]),
    )
    pairs = zip(cells["dataset"], cells["test_dataset"], strict=True)
    return Table(page, cells.assign(source=[results.origin(*pair) for pair in pairs]))


def _cells(results: Results, questions: Mapping[str, Question]) -> Iterator[dict[str, Any]]:
    """The row of each comparison; a comparison without runs of one side has no seeds."""
    metrics = dict.fromkeys(metric for question in questions.values() for metric in question.metrics)
    if not metrics:
        return
    conditions = all_runs(results, list(metrics)).assign(leak_free="")
    twice = conditions[pairs_of(conditions).isin(reported_twice(results.leakage))]
    conditions = pd.concat([conditions, leak_free(twice)])
    records = results.read(metric=set(metrics), suite={"iid", "ood"})
    measurements = Measurements(records, results.leakage, results.baseline)
    pairs: list[Contrast] = []
    for name, question in questions.items():
        asked = conditions["metric"].isin(question.metrics) & conditions["architecture"].isin(question.methods)
        for protocol, cell in itertools.product(PROTOCOLS, conditions[asked].to_dict("records")):
            cell = {**cell, "protocol": protocol, "question": name, "reference": question.reference}
            reference = measurements.values({**cell, "architecture": question.reference})
            if (values := measurements.values(cell)) is not None:  # the metric has values under this protocol
                pairs.append((cell, values, reference))
    for (cell, *_), columns in zip(pairs, contrasts(pairs, results.margins), strict=True):
        yield {**cell, "unit": metric_of(cell["metric"]).unit, **columns}


def _blocks(cells: pd.DataFrame, questions: Mapping[str, Question]) -> Iterator[Block]:
    for name, part in cells.groupby("question", sort=False):
        metrics = [metric for metric in questions[str(name)].metrics if (part["metric"] == metric).any()]
        headings = tuple(f"Δ {metric_of(metric).label} {metric_of(metric).arrow}" for metric in metrics)
        keys = ["architecture", "objective", "lambda", "dataset", "test_dataset", "leak_free"]
        rows = (_row(lines.set_index("metric"), metrics) for _, lines in part.groupby(keys, sort=False))
        yield Block(questions[str(name)].title, ("",) * (len(metrics) + 2), (*headings, "Seeds", "Cases"), tuple(rows))


def _row(cells: pd.DataFrame, metrics: list[str]) -> Line:
    by_metric = cells.to_dict("index")
    first = next(iter(by_metric.values()))
    label = f"{architecture_label(first['architecture'])} {MINUS} {architecture_label(first['reference'])}"
    entries = [
        entry({**by_metric[metric], "metric": metric}) if metric in by_metric else Entry("") for metric in metrics
    ]
    counts = (_range(cells["seeds"]), _range(cells["cases"]))
    where = tested_on(first) + (", leak-free" if first["leak_free"] else "")
    return Line(f"{label}, {objective_label(first['objective'], first['lambda'])}", where, (*entries, *counts))


def _range(counts: pd.Series) -> Entry:
    defined = counts.dropna().astype(int)
    if defined.empty:
        return Entry(NO_RUN)
    least, most = defined.min(), defined.max()
    return Entry(f"{least}" if least == most else f"{least}–{most}")
