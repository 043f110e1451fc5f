"""Tables of the paper with a measured line below each published one, and a summary of any study.

One code path serves every table: the file of published numbers says where a cell stands and which records it is
computed from. A measured number is, per seed, the mean over cases of the defined values of a class, then the mean over
classes; over seeds it is given as mean ± sample standard deviation. Below stand its difference to the published number
and to the baseline objective, with intervals. What is undefined or missing is counted.

What is measured on another dataset, or on test cases that training data show as well, stands there twice: over all
cases, as in the paper, and over those that the leakage audit leaves (:mod:`spectralseg.data.leakage`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from spectralseg.data.leakage import Audit
from spectralseg.errors import InputError
from spectralseg.files import csv_text, replacing
from spectralseg.metrics.catalogue import label_of, metric_of
from spectralseg.metrics.records import MEAN
from spectralseg.published.tables import COLUMNS, PLACE, SELECTION, PublishedTable, read_published
from spectralseg.reporting import rendering
from spectralseg.reporting.labels import objective_label
from spectralseg.reporting.measurements import MEASURED, Measurements
from spectralseg.reporting.results import Results
from spectralseg.statistics.significance import LEVEL, holm

SUMMARY_METRICS = ("dsc", "iou", "hd95", "false_structure", "ece")
# What the paper's tables lack, by kind.
FURTHER_METRICS = {
    "Surfaces": ("nsd", "assd", "boundary_iou"),
    "Empty references": ("false_structure",),
    "Calibration": ("ace", "brier", "nll", "pooled_ece", "band_ece", "band_mce"),
    "Class activation maps": tuple(
        f"{prefix}_{name}"
        for name in ("energy", "pointing", "iou", "insertion", "deletion")
        for prefix in ("cam", "cam_random")
    ),
    "Spectra": (
        *("spectral_correlation", "spectral_correlation_detrended", "spectral_similarity"),
        *("frc_low", "frc_mid", "frc_high"),
    ),
}

FALSE_STRUCTURES = (
    "False structures: percentage of the cases without a structure in which one was predicted; no column where every "
    "case has one."
)
LEAK_FREE = "validation"  # of a result that is given twice: no match in training or validation data
_CELL = ("table", "protocol", *PLACE, "line", *SELECTION, "leak_free", "class", "metric", "published", "published_bold")
_COLUMN = ["protocol", "block", "group", "column", "line"]


@dataclass(frozen=True)
class Table:
    """A finished table.

    Attributes:
        page: the table as text.
        cells: its numbers. Of a table of metrics: one row per protocol and printed cell, in printed units:
            ``published``, ``published_bold``, what :data:`spectralseg.reporting.measurements.MEASURED` lists,
            ``measured_best``, ``missing_runs`` and the columns that place and select the cell. ``leak_free`` is empty
            where all cases count; otherwise those with a match in the parts up to the one that it names are left out.
    """

    page: rendering.Page
    cells: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the table and stem of its files."""
        return self.page.name

    def csv(self) -> str:
        """The cells in long format; column ``source`` tells where the data come from."""
        return csv_text(self.cells)

    def markdown(self) -> str:
        """One section per protocol, one pipe table per block."""
        return rendering.markdown(self.page)

    def latex(self) -> str:
        """One ``table`` environment per protocol; needs the packages booktabs and graphicx."""
        return rendering.latex(self.page)

    def html(self) -> str:
        """A self-contained page."""
        return rendering.html(self.page)

    def write(self, folder: Path | str) -> list[Path]:
        """Write ``<name>.csv``, ``.md``, ``.tex`` and ``.html`` into a folder and return their paths."""
        contents = {"csv": self.csv(), "md": self.markdown(), "tex": self.latex(), "html": self.html()}
        files = [Path(folder) / f"{self.name}.{suffix}" for suffix in contents]
        for file, content in zip(files, contents.values(), strict=True):
            with replacing(file) as partial:
                partial.write_text(content, encoding="utf-8")
        return files


def build_table(results: Results, published_file: Path | str) -> Table:
    """Set measured numbers beside the published ones. Without any matching record every measured cell is empty.

    Args:
        results: the results folder.
        published_file: the printed table; see :mod:`spectralseg.published.tables`.

    Raises:
        InputError: a file is missing or malformed.
    """
    return _fill(results, read_published(published_file), _twice)


def build_summary(results: Results) -> Table:
    """All runs of a study on their own test sets and partners, without published numbers beside them."""
    cells = _all_runs(results, SUMMARY_METRICS)
    notes = (
        "Mean over foreground classes. HD95 in millimetres or pixels, see the protocol.",
        FALSE_STRUCTURES,
    )
    return _fill(results, PublishedTable("summary", "All runs of this study", "Method", notes, cells), _twice)


def build_metrics(results: Results) -> Table:
    """All runs of a study in the metrics that the paper does not have: a block for each kind and test set.

    A kind of which there are no records has no block.
    """
    kinds = [
        found.assign(block=f"{kind}: " + found["group"], group="")
        for kind, metrics in FURTHER_METRICS.items()
        if len(found := _all_runs(results, metrics))
    ]
    cells = pd.concat(kinds or [_all_runs(results, ())])
    notes = (
        "Mean over foreground classes; of class activation maps over the foreground as a whole. NSD: within 2 mm, or 2 "
        "pixels where the spacing is not known; ASSD in the same unit. Near boundaries: within 10 pixels. Definitions: "
        "docs/metrics-policy.md and docs/interpretation.md.",
        FALSE_STRUCTURES,
        "A class activation map follows the segmentation: what it is worth is its distance to a random map.",
    )
    title = "All runs of this study in further metrics"
    return _fill(results, PublishedTable("metrics", title, "Method", notes, cells), _twice)


def build_leakage_effect(results: Results) -> Table:
    """What leaks do to the Dice coefficient: every run that is tested on another dataset, or on cases that leak.

    Raises:
        InputError: there was no audit.
    """
    cells = _all_runs(results, ("dsc",)).assign(column="DSC, all")
    cells = cells[_pairs(cells).isin(_reported_twice(results.require_audit()))]
    reading = (
        "Columns from left to right: all test cases; without those that match training data; nor validation data; nor "
        "the test data of the training dataset, so that nothing is shared with the results on its own test set."
    )
    nothing = "No run is tested on another dataset, or on test cases that match its training or validation data."
    title = "DSC with and without test cases that the training dataset shows as well"
    return _fill(
        results,
        PublishedTable("leakage_effect", title, "Method", (nothing if cells.empty else reading,), cells),
        _step_by_step,
    )


def _all_runs(results: Results, metrics: Sequence[str]) -> pd.DataFrame:
    """Cells for every run of a study on its own test set and its partners, a column for each metric."""
    found = results.different([*SELECTION, "metric"], metric=set(metrics), suite={"iid", "ood"})
    order = {metric: place for place, metric in enumerate(metrics)}
    found = found.sort_values([*SELECTION, "metric"], key=lambda c: c.map(order) if c.name == "metric" else c)
    cells = found.assign(
        row=[
            f"{architecture} {objective_label(objective, weight)}"
            for architecture, objective, weight in found[["architecture", "objective", "lambda"]].to_numpy()
        ],
        block="",
        group=found["dataset"].where(found["suite"] == "iid", found["dataset"] + " → " + found["test_dataset"]),
        column=found["metric"].map(label_of),
        value=np.nan,
        bold=False,
        **{"class": MEAN},
    )
    return cells[list(COLUMNS)]


def _twice(cells: pd.DataFrame) -> pd.DataFrame:
    """The same cells once more, on a line of their own, over leak-free cases."""
    return cells.assign(line="leak-free", leak_free=LEAK_FREE)


def _step_by_step(cells: pd.DataFrame) -> pd.DataFrame:
    """The same cells over ever fewer cases, a column for each part that is left out."""
    names = {"train": "not in training", "validation": "nor validation", "test": "nor test"}
    return pd.concat([cells.assign(column=name, leak_free=part) for part, name in names.items()])


def _reported_twice(audit: Audit) -> set[tuple[str, str]]:
    """Training and test datasets of :attr:`~spectralseg.data.leakage.Audit.reported_twice`."""
    pairs = audit.reported_twice
    return set(zip(pairs["train_dataset"], pairs["test_dataset"], strict=True))


def _fill(results: Results, published: PublishedTable, again: Callable[[pd.DataFrame], pd.DataFrame]) -> Table:
    """Measure every cell, and those of :func:`_reported_twice` once more as ``again`` says."""
    audit, cells = results.leakage, published.cells.reset_index(drop=True).assign(line="measured", leak_free="")
    more = again(cells[_pairs(cells).isin(_reported_twice(audit))]).assign(value=np.nan, bold=False)
    cells = pd.concat([cells, more]).sort_index(kind="stable", ignore_index=True)
    records = results.read(**{name: set(cells[name]) for name in ("dataset", "suite", "test_dataset", "metric")})
    unknown = sorted(set(records["protocol"].unique()) - set(rendering.PROTOCOLS))
    if unknown:
        raise InputError(f"{results.root}: protocol '{unknown[0]}' of the records is unknown; collect them again")
    measurements = Measurements(records, audit, results.baseline)
    lacking = _lacking(records)
    told = [
        {**cell, "protocol": protocol}
        for protocol, cell in itertools.product(rendering.PROTOCOLS, cells.to_dict("records"))
        if (cell["metric"], protocol) not in lacking
    ]
    rows = [
        {"table": published.name, "published": cell["value"], "published_bold": cell["bold"]}
        | {name: cell[name] for name in (*PLACE, "protocol", "line", *SELECTION, "leak_free", "class", "metric")}
        | measured
        for cell, measured in zip(told, measurements.measure_all(told), strict=True)
    ]
    frame = _complete(pd.DataFrame(rows, columns=[*_CELL, *MEASURED]), measurements)
    page = rendering.Page(
        name=published.name,
        title=published.title,
        warnings=(*results.banner, *_found(audit, cells)),
        row_headings=(published.row_heading, ""),
        sections=rendering.protocol_sections(frame),
        legend=rendering.LEGEND,
        notes=(*published.notes, *rendering.few_patients(frame["effective_groups"]), *_remarks(audit, cells)),
    )
    pairs = zip(frame["dataset"], frame["test_dataset"], strict=True)
    return Table(page, frame.assign(source=[results.origin(*pair) for pair in pairs]))


def _lacking(records: pd.DataFrame) -> set[tuple[str, str]]:
    """Metrics that one protocol has and the other does not, with the latter: no columns there."""
    found = set(records[["metric", "protocol"]].drop_duplicates().itertuples(index=False, name=None))
    return set(itertools.product({metric for metric, _ in found}, rendering.PROTOCOLS)) - found


def _pairs(frame: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(frame[["dataset", "test_dataset"]])


def _found(audit: Audit, cells: pd.DataFrame) -> Iterable[str]:
    """What the audit found between the datasets of a table, and within their training and validation data."""
    return (f"Leakage audit. {finding}." for finding in audit.findings(set(_pairs(cells))))


def _remarks(audit: Audit, cells: pd.DataFrame) -> Iterable[str]:
    if (cells["leak_free"] != "").any():
        yield (
            "Leak-free: without test cases that match training or validation data in id, bytes, looks or patient; how "
            "many are left is said below the columns."
        )
    audited = set(zip(audit.pairs["train_dataset"], audit.pairs["test_dataset"], strict=True))
    missing = [" → ".join(pair) for pair in dict.fromkeys(_pairs(cells)) if pair not in audited]
    if missing:
        yield f"Not audited for leakage: {', '.join(missing)}; run 'spectralseg leakage' on the prepared datasets."


def _complete(frame: pd.DataFrame, measurements: Measurements) -> pd.DataFrame:
    """Add what depends on the whole column: the best measured cell and how many runs are missing.

    A column has a best cell where its lead is beyond chance after Holm's adjustment for all columns of its protocol.
    """
    frame = frame.assign(measured_best=False, missing_runs=0)
    told, leads = frame.to_dict("records"), np.full(len(frame), np.nan)
    for places in frame.groupby(_COLUMN, sort=False).indices.values():
        column = {place: told[place] for place in places}
        seeds = {seed for cell in column.values() for seed in measurements.seeds(cell)}
        frame.loc[places, "missing_runs"] = max(len(seeds), 1) - frame.loc[places, "seeds"]
        sign = metric_of(told[places[0]]["metric"]).sign
        found = {place: cell for place, cell in column.items() if not np.isnan(cell["measured"])}
        if len(found) > 1:
            best, *others = sorted(found, key=lambda place: -sign * found[place]["measured"])
            leads[best] = measurements.lead(found[best], [found[place] for place in others])
    for places in frame.groupby("protocol").indices.values():
        frame.loc[places, "measured_best"] = holm(leads[places]) <= LEVEL  # the columns of a protocol are one family
    return frame
