"""The answer of a study: its leaderboard as a table of the report page, and the settled differences as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.reporting.contrasts import to_settle
from spectralseg.reporting.labels import method_label, tested_on
from spectralseg.reporting.rendering import counted, limits
from spectralseg.reporting.rendering.html_table import DASH, Cell, Grid, columns, number
from spectralseg.reporting.report.leaderboard_groups import ALL_CASES, with_groups
from spectralseg.reporting.rows import rows_where
from spectralseg.statistics.verdicts import BETTER, OPEN, SAME, WORSE

MAIN = {"metric": "dsc", "protocol": "sound", "leak_free": ""}
_MOST = 6  # sentences
_SENTENCES = {
    BETTER: "{method} is better than {reference} on {test}: {limits} pp of Dice.",
    WORSE: "{method} is worse than {reference} on {test}: {limits} pp of Dice.",
    SAME: "{method} and {reference} are the same on {test} within {margin:g} pp of Dice: {limits} pp.",
}


def answer(cells: pd.DataFrame) -> tuple[dict[str, int], list[str]]:
    """Number of differences with each verdict, in Dice on clean images under the sound protocol, and sentences.

    The sentences are on the settled differences, the largest first; if none is settled, one says what is missing.

    Args:
        cells: of the table ``leaderboard``.
    """
    clean = rows_where(cells, **MAIN)
    clean = clean[clean["suite"].isin(["iid", "ood"]) & (clean["reference"] != "")]
    counts = {verdict: int((clean["verdict"] == verdict).sum()) for verdict in (BETTER, WORSE, SAME, OPEN)}
    settled = clean[clean["verdict"] != OPEN]
    settled = settled.loc[settled["difference"].abs().sort_values(ascending=False, kind="stable").index]
    sentences = [
        _SENTENCES[cell["verdict"]].format(
            method=method_label(cell),
            reference=cell["reference"],
            test=tested_on(cell),
            margin=cell["margin"],
            limits=limits(cell["difference"], cell["low"], cell["high"]),
        )
        for cell in settled.to_dict("records")
    ]
    more = len(sentences) - _MOST
    rest = (
        [f"{counted(more, 'more settled difference')} {'is' if more == 1 else 'are'} in the table."] if more > 0 else []
    )
    return counts, [*sentences[:_MOST], *rest, *_open(clean[clean["verdict"] == OPEN], settled=len(settled))]


def _open(cells: pd.DataFrame, settled: int) -> Iterator[str]:
    if cells.empty:
        return
    needed = dict.fromkeys(filter(None, map(to_settle, cells.to_dict("records"))))
    what = f"{len(cells)} of {len(cells) + settled} differences" if settled else "No difference"
    verb = "is settled" if not settled else "is not settled" if len(cells) == 1 else "are not settled"
    few = [text for text in needed if text.startswith("at least")]
    if few:
        yield f"{what} {verb}: a verdict needs {few[0]}."
    elif needed:
        yield f"{what} {verb}; the column 'To settle' says what would."
    else:
        yield f"{what} {verb}, and neither more seeds nor more patients alone are estimated to do so."


def leaderboard_grid(cells: pd.DataFrame, groups: pd.DataFrame) -> Grid:
    """One row per method, test condition, metric, protocol and group of cases.

    Intervals are drawn on one scale per test condition and attribute.

    Args:
        cells: of the table ``leaderboard``.
        groups: cells of the table ``strata``.
    """
    cells = with_groups(cells, groups)
    ends = cells[["low", "high", "difference"]].abs().max(axis=1)
    place = ["dataset", "suite", "test_dataset", "corruption", "severity", "metric", "protocol", "attribute"]
    widest = ends.groupby([cells[name] for name in place]).transform("max")
    return Grid(
        name="leaderboard-table",
        caption="Every method on every test set, the best first",
        columns=columns(
            *(("Method", "Test set"), ("Mean ± sd", "Difference")),
            ("95 % interval", "Verdict", "To settle", "Worst group"),
            ("False structures, %", "p (Holm)", "Seeds", "Patients", "Cases", "Undefined"),
            ("Reference", "Group of cases", "Images", "Metric", "Protocol"),
        ),
        rows=[_row(row, scale) for row, scale in zip(cells.to_dict("records"), widest, strict=True)],
        choices={
            **{"Test set": "", "Group of cases": ALL_CASES, "Verdict": ""},
            **{"Images": "clean", "Metric": "DSC", "Protocol": "sound"},
        },
        keys=2,
    )


def _row(row: Mapping[Any, Any], scale: float) -> list[Cell]:
    metric = metric_of(row["metric"])
    interval = row["low"], row["difference"], row["high"]
    low, middle, high = (number(value, metric.digits, sign=True) for value in interval)
    bar: Any = tuple(value / scale for value in interval) if np.isfinite(interval).all() and scale > 0 else None
    mean, sd = number(row["mean"], metric.digits), number(row["sd"], metric.digits)
    spread = "" if sd.text == DASH else f" ± {sd.text}"
    compared = bool(row["reference"])
    return [
        Cell(method_label(row)),
        Cell(tested_on(row) + (", leak-free" if row["leak_free"] else "")),
        Cell(mean.text + (row["mean_interval"] or spread), key=mean.key),
        middle,
        Cell(f"{low.text} to {high.text}" if bar else DASH, key=low.key, bar=bar),
        Cell(row["verdict"] if compared else "reference", kind=f"reading {row['verdict'].replace(' ', '-')}"),
        Cell(to_settle(row) if compared else ""),
        Cell(row["worst_group"], key=row["gap"] if np.isfinite(row["gap"]) else None, prefix=row["worst_prefix"]),
        number(row["false_structures"], 1),
        number(row["p_adjusted"], 3),
        *(number(row[name], 0) for name in ("seeds", "groups", "cases", "undefined")),
        Cell(row["reference"] or DASH),
        Cell(row["group"]),
        Cell("clean" if row["corruption"] == "none" else f"{row['corruption']} {row['severity']}"),
        Cell(metric.label),
        Cell(row["protocol"]),
    ]
