"""Measured cells of tables, beside published cells where available.

Per seed a cell is the mean over cases of the defined values of a class, then the mean over classes. Over seeds it is
reported as mean ± sample standard deviation, with its differences to the published number and to the baseline
objective, and their intervals. Undefined values and missing runs are counted.

Results on another dataset, or on test cases that overlap with the training data, are reported twice: over all cases, as
in the paper, and over leak-free cases (:mod:`spectralseg.data.audit`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from spectralseg.data.audit import Audit
from spectralseg.errors import InputError
from spectralseg.metrics.catalogue import label_of, metric_of
from spectralseg.metrics.records import MEAN
from spectralseg.published.tables import COLUMNS, PLACE, SELECTION, PublishedTable
from spectralseg.reporting import rendering
from spectralseg.reporting.labels import method_label
from spectralseg.reporting.measurements import LEAK_FREE, MEASURED, Measurements
from spectralseg.reporting.results import Results
from spectralseg.reporting.table import Table
from spectralseg.statistics.significance import LEVEL, holm

FALSE_STRUCTURES = (
    "False structures: percentage of the cases without a structure in which one was predicted; no column where every "
    "case has one."
)
_CELL = (
    *("table", "paper", "protocol", *PLACE, "line", *SELECTION),
    *("leak_free", "class", "metric", "published", "published_bold"),
)
_COLUMN = ["protocol", "block", "group", "column", "line"]


def blocks_by_kind(results: Results, kinds: Mapping[str, Sequence[str]]) -> list[pd.DataFrame]:
    """Cells of :func:`all_runs` in a block for each kind of metric and test set; a kind without records has none."""
    return [
        cells.assign(block=f"{kind}: " + cells["group"], group="")
        for kind, metrics in kinds.items()
        if len(cells := all_runs(results, metrics))
    ]


def all_runs(results: Results, metrics: Sequence[str]) -> pd.DataFrame:
    """Cells for every run of a study on its own test set and its partners, a column for each metric."""
    rows = results.different([*SELECTION, "metric"], metric=set(metrics), suite={"iid", "ood"})
    order = {metric: place for place, metric in enumerate(metrics)}
    rows = rows.sort_values([*SELECTION, "metric"], key=lambda c: c.map(order) if c.name == "metric" else c)
    cells = rows.assign(
        row=[method_label(row) for row in rows.to_dict("records")],
        block="",
        group=rows["dataset"].where(rows["suite"] == "iid", rows["dataset"] + " → " + rows["test_dataset"]),
        column=rows["metric"].map(label_of),
        value=np.nan,
        bold=False,
        **{"class": MEAN},
    )
    return cells[list(COLUMNS)]


def leak_free(cells: pd.DataFrame) -> pd.DataFrame:
    """The same cells over leak-free cases, on a separate line."""
    return cells.assign(line="leak-free", leak_free=LEAK_FREE)


def step_by_step(cells: pd.DataFrame) -> pd.DataFrame:
    """The same cells over decreasing subsets of the cases, one column for each part whose matches are left out."""
    names = {"train": "not in training", "validation": "nor validation", "test": "nor test"}
    return pd.concat([cells.assign(column=name, leak_free=part) for part, name in names.items()])


def reported_twice(audit: Audit) -> set[tuple[str, str]]:
    """Training and test datasets of :attr:`~spectralseg.data.audit.Audit.reported_twice`."""
    pairs = audit.reported_twice
    return set(zip(pairs["train_dataset"], pairs["test_dataset"], strict=True))


def fill(results: Results, published: PublishedTable, again: Callable[[pd.DataFrame], pd.DataFrame]) -> Table:
    """Measure every cell, and the cells of :func:`reported_twice` again as changed by ``again``."""
    audit, cells = results.leakage, published.cells.reset_index(drop=True).assign(line="measured", leak_free="")
    more = again(cells[pairs_of(cells).isin(reported_twice(audit))]).assign(value=np.nan, bold=False)
    cells = pd.concat([cells, more]).sort_index(kind="stable", ignore_index=True)
    records = results.read(**{name: set(cells[name]) for name in ("dataset", "suite", "test_dataset", "metric")})
    unknown = sorted(set(records["protocol"].unique()) - set(rendering.PROTOCOLS))
    if unknown:
        raise InputError(f"{results.root}: protocol '{unknown[0]}' of the records is unknown; collect them again")
    measurements = Measurements(records, audit, results.baseline)
    missing = _missing_metrics(records)
    paper = published.paper
    cells = cells.assign(table=published.name, paper=paper.id if paper else "")
    cells = cells.assign(published=cells["value"], published_bold=cells["bold"])
    selected = [
        {**cell, "protocol": protocol}
        for protocol, cell in itertools.product(rendering.PROTOCOLS, cells.to_dict("records"))
        if (cell["metric"], protocol) not in missing
    ]
    rows = [cell | measured for cell, measured in zip(selected, measurements.measure_all(selected), strict=True)]
    frame = _complete(pd.DataFrame(rows, columns=[*_CELL, *MEASURED]), measurements)
    page = rendering.Page(
        name=published.name,
        title=published.title,
        warnings=(*results.banner, *leak_warnings(audit, cells)),
        row_headings=(published.row_heading, ""),
        sections=rendering.protocol_sections(frame),
        legend=rendering.LEGEND,
        notes=(
            *([f"Published numbers: {paper.name}, {paper.citation}."] if paper else []),
            *published.notes,
            *rendering.few_patients(frame["effective_groups"]),
            *_remarks(audit, cells),
        ),
    )
    pairs = zip(frame["dataset"], frame["test_dataset"], strict=True)
    return Table(page, frame.assign(source=[results.origin(*pair) for pair in pairs]))


def _missing_metrics(records: pd.DataFrame) -> set[tuple[str, str]]:
    """Metrics with records under one protocol only, each with the other protocol, which gets no column."""
    recorded = set(records[["metric", "protocol"]].drop_duplicates().itertuples(index=False, name=None))
    return set(itertools.product({metric for metric, _ in recorded}, rendering.PROTOCOLS)) - recorded


def pairs_of(frame: pd.DataFrame) -> pd.MultiIndex:
    """Training and test dataset of each row."""
    return pd.MultiIndex.from_frame(frame[["dataset", "test_dataset"]])


def leak_warnings(audit: Audit, cells: pd.DataFrame) -> Iterable[str]:
    """Leakage-audit findings for the datasets of a table."""
    return (f"Leakage audit. {finding}." for finding in audit.findings(set(pairs_of(cells))))


def _remarks(audit: Audit, cells: pd.DataFrame) -> Iterable[str]:
    if (cells["leak_free"] != "").any():
        yield (
            "Leak-free: without test cases that match training or validation data in id, bytes, appearance or patient. "
            "The number of remaining cases is given below the columns."
        )
    audited = set(zip(audit.pairs["train_dataset"], audit.pairs["test_dataset"], strict=True))
    missing = [" → ".join(pair) for pair in dict.fromkeys(pairs_of(cells)) if pair not in audited]
    if missing:
        yield f"Not audited for leakage: {', '.join(missing)}; run 'spectralseg leakage' on the prepared datasets."


def _complete(frame: pd.DataFrame, measurements: Measurements) -> pd.DataFrame:
    """Add the values that depend on the whole column: the best measured cell and the number of missing runs.

    A column has a best cell if its lead is significant after Holm's adjustment for all columns of its protocol.
    """
    frame = frame.assign(measured_best=False, missing_runs=0)
    cells, leads = frame.to_dict("records"), np.full(len(frame), np.nan)
    for places in frame.groupby(_COLUMN, sort=False).indices.values():
        column = {place: cells[place] for place in places}
        seeds = {seed for cell in column.values() for seed in measurements.seeds(cell)}
        frame.loc[places, "missing_runs"] = max(len(seeds), 1) - frame.loc[places, "seeds"]
        sign = metric_of(cells[places[0]]["metric"]).sign
        measured = {place: cell for place, cell in column.items() if not np.isnan(cell["measured"])}
        if len(measured) > 1:
            best, *others = sorted(measured, key=lambda place: -sign * measured[place]["measured"])
            leads[best] = measurements.lead(measured[best], [measured[place] for place in others])
    for places in frame.groupby("protocol").indices.values():
        frame.loc[places, "measured_best"] = holm(leads[places]) <= LEVEL  # the columns of a protocol are one family
    return frame
