"""Tables of the paper with a measured line below each published one, and a summary of any study.

One code path serves every table: the file of published numbers says where a cell stands and which records it is
computed from. A measured number is, per seed, the mean over cases of the defined values of a class, then the mean over
classes; over seeds it is given as mean ± sample standard deviation. What is undefined or missing is counted below.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.errors import InputError
from spectralseg.files import replacing
from spectralseg.reporting import rendering
from spectralseg.reporting.published import COLUMNS, PLACE, SELECTION, PublishedTable, read_published
from spectralseg.reporting.quantities import quantity
from spectralseg.reporting.results import BANNER, Results

SUMMARY_METRICS = {"dsc": "DSC", "iou": "IOU", "hd95": "HD95", "ece": "ECE"}
MEAN = "mean"
WHOLE_CASE = "all"

_CONDITION = [*SELECTION, "metric"]
_COLUMN = ["protocol", "block", "group", "column"]


@dataclass(frozen=True)
class Table:
    """A finished table.

    Attributes:
        published: the printed table that it follows.
        banner: what a reader must know before any number, or None.
        cells: one row per protocol and printed cell, in printed units: ``published``, ``published_bold``,
            ``measured``, ``measured_sd``, ``measured_best``, ``cases``, ``values``, ``undefined``, ``seeds``,
            ``missing_runs`` and the columns that place and select the cell.
    """

    published: PublishedTable
    banner: str | None
    cells: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the table and stem of its files."""
        return self.published.name

    def csv(self) -> str:
        """The cells in long format; column ``source`` tells where the data come from."""
        return self.cells.to_csv(index=False, lineterminator="\n")

    def markdown(self) -> str:
        """One section per protocol, one pipe table per block."""
        return rendering.markdown(self)

    def latex(self) -> str:
        """One ``table`` environment per protocol; needs the packages booktabs and graphicx."""
        return rendering.latex(self)

    def html(self) -> str:
        """A self-contained page."""
        return rendering.html(self)

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
        published_file: the printed table; see :mod:`spectralseg.reporting.published`.

    Raises:
        InputError: a file is missing or malformed.
    """
    return _fill(results, read_published(published_file))


def build_summary(results: Results) -> Table:
    """All runs of a study on their own test sets and partners, without published numbers beside them."""
    records = results.read(metric=set(SUMMARY_METRICS), suite={"iid", "ood"})
    found = records.drop_duplicates([*SELECTION, "metric"])[[*SELECTION, "metric"]]
    order = {metric: place for place, metric in enumerate(SUMMARY_METRICS)}
    found = found.sort_values([*SELECTION, "metric"], key=lambda c: c.map(order) if c.name == "metric" else c)
    weights = found["lambda"].where(found["lambda"] != "0", "").map(lambda lam: f", λ = {lam}" if lam else "")
    cells = found.assign(
        row=found["architecture"] + " " + found["objective"] + weights,
        block="",
        group=found["dataset"].where(found["suite"] == "iid", found["dataset"] + " → " + found["test_dataset"]),
        column=found["metric"].map(SUMMARY_METRICS),
        value=np.nan,
        bold=False,
        **{"class": MEAN},
    )
    notes = ("Mean over foreground classes. HD95 in millimetres or pixels, see the protocol.",)
    return _fill(results, PublishedTable("summary", "All runs of this study", "Method", notes, cells[list(COLUMNS)]))


def _fill(results: Results, published: PublishedTable) -> Table:
    cells = published.cells
    records = results.read(**{name: set(cells[name]) for name in ("dataset", "suite", "test_dataset", "metric")})
    unknown = sorted(set(records["protocol"]) - set(rendering.PROTOCOLS))
    if unknown:
        raise InputError(f"{results.root}: protocol '{unknown[0]}' of the records is unknown; collect them again")
    per_seed = _per_class_and_seed(records)
    rows = [
        {
            "table": published.name,
            "protocol": protocol,
            **{name: cell[name] for name in (*PLACE, *SELECTION, "class", "metric")},
            "published": cell["value"],
            "published_bold": cell["bold"],
            **_measure(per_seed.get((*(cell[name] for name in _CONDITION), protocol)), cell["class"], cell["metric"]),
        }
        for protocol, cell in itertools.product(rendering.PROTOCOLS, cells.to_dict("records"))
    ]
    frame = _complete(pd.DataFrame(rows))
    banner = BANNER if results.demonstration else None
    return Table(published, banner, frame.assign(source=banner or _sources(results, frame)))


def _sources(results: Results, frame: pd.DataFrame) -> list[str]:
    """Per cell the sources of training and test dataset, once where they agree."""
    pairs = zip(frame["dataset"], frame["test_dataset"], strict=True)
    known = results.sources
    return [", ".join(dict.fromkeys(known.get(name, "not prepared") for name in pair)) for pair in pairs]


def _per_class_and_seed(records: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    """Per condition and protocol: one row per class and seed with mean, number of cases, of values and of defined."""
    keys = [*_CONDITION, "protocol"]
    summary = records.groupby([*keys, "class", "seed"], as_index=False).agg(
        mean=("value", "mean"), cases=("case", "nunique"), values=("value", "size"), defined=("value", "count")
    )
    return dict(iter(summary.groupby(keys)))


def _measure(summary: pd.DataFrame | None, wanted: str, metric: str) -> dict[str, Any]:
    """The measured part of a cell, in printed units; without records everything is empty or zero."""
    chosen = _of_class(summary, wanted) if summary is not None else None
    if chosen is None or chosen.empty:
        return {"measured": np.nan, "measured_sd": np.nan, "cases": 0, "values": 0, "undefined": 0, "seed_list": ()}
    seeds = chosen.groupby("seed")["mean"].mean() * quantity(metric).factor
    return {
        "measured": float(seeds.mean()),
        "measured_sd": float(seeds.std(ddof=1)),
        "cases": int(chosen["cases"].max()),
        "values": int(chosen["values"].sum()),
        "undefined": int((chosen["values"] - chosen["defined"]).sum()),
        "seed_list": tuple(int(seed) for seed in seeds.index),
    }


def _of_class(summary: pd.DataFrame, wanted: str) -> pd.DataFrame:
    """Rows of a class; ``mean`` takes all foreground classes, or the whole case where a metric has no classes."""
    if wanted != MEAN:
        return summary[summary["class"] == wanted]
    foreground = summary[summary["class"] != WHOLE_CASE]
    return foreground if len(foreground) else summary


def _complete(frame: pd.DataFrame) -> pd.DataFrame:
    """Add what depends on the whole column: the best measured cell and how many runs are missing."""
    frame = frame.assign(measured_best=False, seeds=frame["seed_list"].map(len), missing_runs=0)
    for _, column in frame.groupby(_COLUMN, sort=False):
        expected = set().union(*column["seed_list"])
        frame.loc[column.index, "missing_runs"] = max(len(expected), 1) - column["seeds"]
        rule = quantity(column["metric"].iloc[0])
        printed = column["measured"].round(rule.digits)
        if printed.nunique() > 1:  # one value, or the same for all, is no best
            best = printed.max() if rule.higher_is_better else printed.min()
            frame.loc[column.index, "measured_best"] = printed == best
    return frame.drop(columns="seed_list")
