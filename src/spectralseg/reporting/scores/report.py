"""Tables of scored predictions, and their page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from spectralseg.errors import InputError
from spectralseg.files import csv_text, write_texts
from spectralseg.metrics.records import METHOD_KEYS
from spectralseg.registry import suggest
from spectralseg.reporting import rendering
from spectralseg.reporting.scores import sections
from spectralseg.reporting.scores.differences import Method, differences
from spectralseg.reporting.scores.means import case_table, mean_of_cases, means, values_by_method
from spectralseg.statistics.margins import Margins

NAME = "scores"
AUDIT = ("where", "finding", "name")
Findings = Sequence[tuple[str, str, tuple[str, ...]]]  # where, clause, names


@dataclass(frozen=True)
class ScoreReport:
    """Scores of one or more methods on one test set.

    Attributes:
        page: all sections.
        means: see :func:`spectralseg.reporting.scores.means.means`.
        differences: see :func:`spectralseg.reporting.scores.differences.differences`.
        cases: see :func:`spectralseg.reporting.scores.means.case_table`.
        audit: findings, one row per name, columns :data:`AUDIT`.
    """

    page: rendering.Page
    means: pd.DataFrame
    differences: pd.DataFrame
    cases: pd.DataFrame
    audit: pd.DataFrame

    def text(self) -> str:
        """The page as plain text, with aligned columns and at most :data:`sections.MOST_CASES` cases."""
        return sections.plain_text(self.page)

    def write(self, folder: Path) -> list[Path]:
        """Write ``scores.html``, ``.md`` and ``.json`` and a CSV file of each table into a folder."""
        tables = {name: getattr(self, name) for name in ("means", "differences", "cases", "audit")}
        texts = {
            **{f"{name}.csv": csv_text(table) for name, table in tables.items()},
            f"{NAME}.md": rendering.markdown(self.page),
            f"{NAME}.json": rendering.json_text(self.page),
            f"{NAME}.html": rendering.html(self.page),
        }
        return write_texts(folder, texts)


def build_score_report(
    records: pd.DataFrame,
    findings: Findings,
    *,
    baseline: str | None = None,
    margins: Margins | None = None,
    leaks: Iterable[str] = (),
    in_mm: bool = False,
    remarks: Sequence[str] = (),
) -> ScoreReport:
    """Report metric records of one test set under one condition.

    Args:
        records: of one or more methods.
        findings: of the audit of the files.
        baseline: architecture that the others are compared with; default the first one.
        margins: largest differences that do not matter.
        leaks: test cases that match training data; means are also given without them.
        in_mm: whether distances under ``sound`` are in millimetres.
        remarks: further remarks for the page.

    Raises:
        InputError: the baseline has no records.
    """
    methods = [Method(*map(str, keys)) for keys in records[list(METHOD_KEYS)].drop_duplicates().to_numpy()]
    first = _baseline(methods, baseline)
    test_dataset = str(records["test_dataset"].iloc[0])
    by_method = values_by_method(records)
    averages = means(by_method, frozenset(leaks), in_mm)
    compared = differences(by_method, first, margins or Margins(), test_dataset, in_mm)
    per_case = pd.DataFrame(mean_of_cases(by_method, sections.CASE_METRICS))
    page = sections.score_page(NAME, test_dataset, averages, compared, per_case, findings)
    page = dataclasses.replace(page, notes=(*page.notes, *remarks, *sections.few(compared, averages)))
    audit = [(where, what, name) for where, what, names in findings for name in (names or ("",))]
    return ScoreReport(page, averages, compared, case_table(records), pd.DataFrame(audit, columns=list(AUDIT)))


def _baseline(methods: Sequence[Method], name: str | None) -> Method:
    by_name = {method.architecture: method for method in methods}
    if name is None:
        return methods[0]
    if name not in by_name:
        raise InputError(f"--baseline '{name}': no folder of predictions has this name; {suggest(name, by_name)}")
    return by_name[name]
