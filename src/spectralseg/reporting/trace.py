"""From a number in a table back to the runs and records that it was computed from."""

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
    """Where a cell comes from.

    Attributes:
        cell: its row in the CSV of the table.
        runs: the runs that were measured.
        records: their metric records, one for each seed, case and class, without the cases that the cell leaves out.
    """

    cell: pd.Series
    runs: tuple[Run, ...]
    records: pd.DataFrame

    @property
    def recomputed(self) -> float:
        """The measured number in printed units once more, from the records; NaN without any."""
        per_class = self.records.groupby(["seed", "class"])["value"].mean()
        return float(per_class.groupby("seed").mean().mean()) * metric_of(self.cell["metric"]).factor

    def text(self) -> str:
        """Cell, runs and records for reading."""
        cell, rule = self.cell, metric_of(self.cell["metric"])
        condition = (f"{name} {cell[name]}" for name in (*CONDITION, "class"))
        lines = [
            " · ".join(part for part in (cell["table"], cell["row"], _heading(cell), cell["line"]) if part),
            f"published {rule.text(cell['published'])}" if pd.notna(cell["published"]) else "not published",
            f"measured {rule.text(cell['measured'])}, from these records {rule.text(self.recomputed)}",
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
        column: heading of the column, with the headings above it where it is there more than once, e.g. ``ACDC DSC``.
        protocol: ``published`` or ``sound``.
        line: ``measured`` or ``leak-free``.

    Raises:
        InputError: there is no such table, row, column, protocol or line, or there are several such columns.
    """
    file = results.root / "tables" / f"{table}.csv"
    known = [path.stem for path in results.study.pages("tables", ".csv")]
    if table not in known:
        raise InputError(f"{file}: there is no such table; {suggest(table, known)}")
    options: dict[str, Any] = {"dtype": {"lambda": "str", "severity": "str"}, "na_values": _NUMBERS}
    cells = read_csv(file, "a table", "make the table again", **options)
    if not {"measured", "line"} <= set(cells):
        raise InputError(f"{file}: does not hold measured metrics; trace a cell of another table")
    for name, wanted in {"row": row, "protocol": protocol, "line": line}.items():
        if wanted not in set(cells[name]):
            raise InputError(f"{file}: {name} '{wanted}' is unknown; {suggest(wanted, dict.fromkeys(cells[name]))}")
        cells = cells[cells[name] == wanted]
    headings = cells.apply(_heading, axis=1)
    found = cells[[f" {heading}".endswith(f" {column}") for heading in headings]]
    if len(found) != 1:
        problem = "stands there several times" if len(found) else "is unknown"
        valid = headings[found.index] if len(found) else headings
        raise InputError(f"{file}: column '{column}' {problem}; valid: {', '.join(valid)}")
    cell = found.iloc[0]
    records = _records(results, cell)
    runs = records[list(RUN_KEYS)].drop_duplicates().itertuples(index=False, name=None)
    shown = records[["seed", "group", "case", "class", "value", "flag"]]
    return Trace(cell, tuple(sorted(Run(*run) for run in runs)), shown.sort_values(["seed", "case", "class"]))


_NUMBERS = {name: [""] for name in ("published", "measured")}


def _heading(cell: pd.Series) -> str:
    return " ".join(part for part in (cell["block"], cell["group"], cell["column"]) if part)


def _records(results: Results, cell: pd.Series) -> pd.DataFrame:
    records = results.read(**{name: [cell[name]] for name in CONDITION})
    if cell["class"] != MEAN:
        records = records[records["class"] == cell["class"]]
    elif (records["class"] != WHOLE_CASE).any():
        records = records[records["class"] != WHOLE_CASE]
    if not cell["leak_free"]:
        return records
    cases = pd.MultiIndex.from_frame(records[["dataset", "test_dataset", "case"]])
    return records[
        ~cases.isin(results.leakage.leaked_cases(cell["leak_free"])) & (records["case"] != POOLED).to_numpy()
    ]
