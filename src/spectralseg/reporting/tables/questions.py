"""Architectures compared.

A block for each question of the configuration: differences between architectures with the same objective, seeds and
cases, with their 95 % intervals and verdicts.

Is a part of a network worth its parameters, and is it the part, or what the part is fed with? A network with several
parts is compared with its backbone, and with controls in which one part is missing or gets no information.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.config.comparison import Question
from spectralseg.metrics.catalogue import metric_of
from spectralseg.outputs import title_of
from spectralseg.reporting.labels import architecture_label, objective_label, tested_on
from spectralseg.reporting.measurements import Measurements
from spectralseg.reporting.rendering import (
    MINUS,
    NO_RUN,
    UNDEFINED,
    Block,
    Entry,
    Line,
    Page,
    few_patients,
    limits,
    protocol_sections,
)
from spectralseg.reporting.results import Results
from spectralseg.reporting.table import Table
from spectralseg.reporting.tables._cells import all_runs, leak_free, leak_warnings, pairs_of, reported_twice
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.pairing import Paired, pair
from spectralseg.statistics.significance import LEVEL, holm
from spectralseg.statistics.verdicts import FEWEST, enough

RUNS = {"compared": ("questions",)}

OPEN, BETTER, WORSE, SAME = VERDICTS = ("not settled", "better", "worse", "same")
COLUMNS = (
    *("protocol", "question", "reference", "architecture", "objective", "lambda"),
    *("suite", "dataset", "test_dataset", "leak_free", "metric", "unit", "difference", "low", "high"),
    *("p", "p_adjusted", "p_equivalence", "margin", "verdict", "seeds", "groups", "effective_groups", "cases"),
    "undefined",
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
    for family in cells.groupby(_FAMILY).indices.values():
        cells.loc[family, "p_adjusted"] = holm(cells.loc[family, "p"])
    cells["verdict"] = [_verdict(cell) for cell in cells.to_dict("records")]
    page = Page(
        name="questions",
        title=title_of(__doc__),
        warnings=(*results.banner, *leak_warnings(results.leakage, cells)),
        row_headings=("Compared", "Test set"),
        sections=protocol_sections(cells, lambda part: _blocks(part, questions)) if len(cells) else (),
        legend=(
            "Architecture less its reference, both with the same objective, seeds and cases: mean difference with its "
            "95 % interval over seeds and patients, and a verdict. Better or worse: p at most 5 %, by Holm over all "
            "comparisons of a question in one metric. Same: the difference is within the margin of the study, by "
            f"two one-sided tests. A verdict needs {FEWEST}. {NO_RUN} no run of one of the two."
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
    measurements = Measurements(
        results.read(metric=set(metrics), suite={"iid", "ood"}), results.leakage, results.baseline
    )
    for name, question in questions.items():
        asked = conditions[
            conditions["metric"].isin(question.metrics) & conditions["architecture"].isin(question.methods)
        ]
        for protocol in ("published", "sound"):
            for cell in asked.assign(protocol=protocol).to_dict("records"):
                values = measurements.values(cell)
                reference = measurements.values({**cell, "architecture": question.reference})
                if values is None:  # the metric has no values under this protocol
                    continue
                keys = {key: cell[key] for key in COLUMNS if key in cell}
                yield {
                    **keys,
                    **{"question": name, "reference": question.reference, "unit": metric_of(cell["metric"]).unit},
                    **({} if reference is None else _compare(pair(values, reference), cell, results)),
                }


def _compare(pairs: Paired, cell: Mapping[Any, Any], results: Results) -> dict[str, Any]:
    metric = metric_of(cell["metric"])
    margin = results.margins.of(cell["metric"], cell["test_dataset"], cell["protocol"], share=metric.share)
    same = None
    if margin is not None:
        same = equivalence(pairs.values, pairs.members, margin=margin, outcomes=pairs.outcomes)
    p = min(pairs.p_values(direction=direction).holds for direction in ("higher", "lower"))
    return {
        **dict(zip(("difference", "low", "high"), metric.factor * np.array(pairs.interval()), strict=True)),
        **{"p": p if enough(pairs.informative_seeds, pairs.informative_groups) else np.nan},
        "p_equivalence": same.p if same else np.nan,
        "margin": np.nan if margin is None else metric.factor * margin,
        **{"seeds": pairs.informative_seeds, "groups": pairs.informative_groups, "cases": len(pairs.cases)},
        **{"effective_groups": round(pairs.effective_groups, 1), "undefined": pairs.undefined},
    }


def _verdict(cell: Mapping[Any, Any]) -> str:
    if cell["p_adjusted"] <= LEVEL:
        return BETTER if cell["difference"] * metric_of(cell["metric"]).sign > 0 else WORSE
    return SAME if np.isfinite(cell["p"]) and cell["p_equivalence"] <= LEVEL else OPEN


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
    entries = [_entry(by_metric[metric], metric) if metric in by_metric else Entry("") for metric in metrics]
    counts = (_range(cells["seeds"]), _range(cells["cases"]))
    where = tested_on(first) + (", leak-free" if first["leak_free"] else "")
    return Line(f"{label}, {objective_label(first['objective'], first['lambda'])}", where, (*entries, *counts))


def _entry(cell: Mapping[Any, Any], metric: str) -> Entry:
    if np.isnan(cell["seeds"]):
        return Entry(NO_RUN)
    if np.isnan(cell["difference"]):
        return Entry(UNDEFINED)
    text = limits(cell["difference"], cell["low"], cell["high"], digits=metric_of(metric).digits)
    return Entry(f"{text} {cell['verdict']}", bold=cell["verdict"] in (BETTER, WORSE))


def _range(counts: pd.Series) -> Entry:
    defined = counts.dropna().astype(int)
    if defined.empty:
        return Entry(NO_RUN)
    least, most = defined.min(), defined.max()
    return Entry(f"{least}" if least == most else f"{least}–{most}")
