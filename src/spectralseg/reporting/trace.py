"""Trace a number in a table back to its runs and records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from spectralseg.errors import InputError
from spectralseg.grid import Run
from spectralseg.loading import read_csv
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import MEAN, POOLED, RUN_KEYS, WHOLE_CASE
from spectralseg.registry import suggest
from spectralseg.reporting.measurements import CONDITION
from spectralseg.reporting.results import Results


@dataclass(frozen=True)
class Trace:
    """The origin of a cell.

    Attributes:
        cell: its row in the CSV of the table.
        runs: the runs behind the cell.
        records: their metric records, one for each seed, case and class, without the cases that the cell excludes.
    """

    cell: pd.Series
    runs: tuple[Run, ...]
    records: pd.DataFrame

    @property
    def recomputed(self) -> float:
        """The measured number recomputed from the records, in displayed units; NaN without records."""
        per_class = self.records.groupby(["seed", "class"])["value"].mean()
        return float(per_class.groupby("seed").mean().mean()) * metric_of(self.cell["metric"]).factor

    def text(self) -> str:
        """Cell, runs and records as text."""
        cell, metric = self.cell, metric_of(self.cell["metric"])
        condition = (f"{name} {cell[name]}" for name in (*CONDITION, "class"))
        lines = [
            " · ".join(part for part in (cell["table"], cell["row"], _heading(cell), cell["line"]) if part),
            f"published {metric.text(cell['published'])}{_of_paper(cell)}"
            if pd.notna(cell["published"])
            else "not published",
            f"measured {metric.text(cell['measured'])}, from these records {metric.text(self.recomputed)}",
            "",
            f"{len(self.records)} records: {', '.join(condition)}",
            *(["", self.records.to_string(index=False)] if len(self.records) else []),
            "",
            f"{len(self.runs)} runs",
            *(f"runs/{run.folder}" for run in self.runs),
        ]
        return "\n".join(lines)


def trace(
    results: Results, table: str, row: str, column: str, *, protocol: str = "sound", line: str = "measured"
) -> Trace:
    """Find the records of a cell.

    Args:
        results: the results folder.
        table: name of a table in it, e.g. ``table_1``.
        row: heading of the row, e.g. ``UNet(ours)``.
        column: heading of the column, with the headings above it if it is ambiguous, e.g. ``ACDC DSC``.
        protocol: ``published`` or ``sound``.
        line: ``measured`` or ``leak-free``.

    Raises:
        InputError: the table, row, column, protocol or line does not exist, or the column is ambiguous.
    """
    file = results.root / "tables" / f"{table}.csv"
    tables = [path.stem for path in results.study.pages("tables", ".csv")]
    if table not in tables:
        raise InputError(f"{file}: there is no such table; {suggest(table, tables)}")
    empty = {name: [""] for name in ("published", "measured")}
    options: dict[str, Any] = {"dtype": {"lambda": "str", "severity": "str"}, "na_values": empty}
    cells = read_csv(file, "a table", "make the table again", **options)
    if not {"measured", "line"} <= set(cells):
        raise InputError(f"{file}: contains no measured metrics; trace a cell of another table")
    for name, value in {"row": row, "protocol": protocol, "line": line}.items():
        if value not in set(cells[name]):
            raise InputError(f"{file}: {name} '{value}' is unknown; {suggest(value, dict.fromkeys(cells[name]))}")
        cells = cells[cells[name] == value]
    headings = cells.apply(_heading, axis=1)
    matches = cells[[f" {heading}".endswith(f" {column}") for heading in headings]]
    if len(matches) != 1:
        problem = "is ambiguous" if len(matches) else "is unknown"
        valid = headings[matches.index] if len(matches) else headings
        raise InputError(f"{file}: column '{column}' {problem}; valid: {', '.join(valid)}")
    cell = matches.iloc[0]
    records = _records(results, cell)
    runs = records[list(RUN_KEYS)].drop_duplicates().itertuples(index=False, name=None)
    rows = records[["seed", "group", "case", "class", "value", "flag"]].sort_values(["seed", "case", "class"])
    return Trace(cell, tuple(sorted(Run(*run) for run in runs)), rows)


def _heading(cell: pd.Series) -> str:
    return " ".join(part for part in (cell["block"], cell["group"], cell["column"]) if part)


def _of_paper(cell: pd.Series) -> str:
    """The paper of a published number; empty for tables of notebooks that do not name one."""
    return f" ({cell['paper']})" if cell.get("paper") else ""


def _records(results: Results, cell: pd.Series) -> pd.DataFrame:
    records = results.read(**{name: [cell[name]] for name in CONDITION})
    if cell["class"] != MEAN:
        records = records[records["class"] == cell["class"]]
    elif (records["class"] != WHOLE_CASE).any():
        records = records[records["class"] != WHOLE_CASE]
    if not cell["leak_free"]:
        return records
    cases = pd.MultiIndex.from_frame(records[["dataset", "test_dataset", "case"]])
    leaked = cases.isin(results.leakage.leaked_cases(cell["leak_free"]))
    return records[~leaked & (records["case"] != POOLED).to_numpy()]
