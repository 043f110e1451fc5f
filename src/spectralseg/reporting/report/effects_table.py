"""Effects (differences to the baseline) as a table of the report page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.loading import read_parquet
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import MEAN
from spectralseg.reporting.labels import objective_label, pair_label
from spectralseg.reporting.rendering.html_table import DASH, Cell, Grid, columns, number
from spectralseg.statistics.verdicts import side

METRICS = ("dsc", "nsd", "hd95", "lesion_f1", "false_structure", "ece")
BETTER, WORSE, OPEN = "better", "worse", "not settled"
_READINGS = {1: BETTER, -1: WORSE, 0: OPEN}
_CONDITION = ("dataset", "architecture", "suite", "test_dataset", "corruption", "severity", "protocol", "metric")
_COUNTS = ("seeds", "groups", "cases", "undefined", "unpaired")
_EFFECTS = (
    *(*_CONDITION, "objective", "lambda", "class", "baseline"),
    *("difference", "low", "high", "improved", "p_holm", "margin_needed", "effective_groups", *_COUNTS),
)


def read_effects(file: Path) -> pd.DataFrame | None:
    """Comparisons of the main metrics, mean over classes, in printed units; None if there is no file.

    Column ``reading`` says whether the interval lies on one side of zero: ``better``, ``worse`` or ``not settled``.
    With too few seeds, all are not settled; see :func:`spectralseg.statistics.verdicts.judge`.

    Raises:
        InputError: the file is damaged or lacks a column.
    """
    if not file.is_file():
        return None
    frame: pd.DataFrame = read_parquet(file, "comparisons", "run 'spectralseg compare' again", _EFFECTS).to_pandas()
    frame = frame[frame["metric"].isin(METRICS) & (frame["class"] == MEAN)].reset_index(drop=True)
    for metric in METRICS:
        rows = frame["metric"] == metric
        frame.loc[rows, ["difference", "low", "high", "margin_needed"]] *= metric_of(metric).factor
    reading = [
        _READINGS[side(*interval) * metric_of(metric).sign]
        for metric, *interval in frame[["metric", "low", "high", "seeds", "groups"]].itertuples(index=False, name=None)
    ]
    return frame.assign(reading=reading)


def headline(effects: pd.DataFrame) -> dict[str, int]:
    """Number of comparisons of Dice on clean images, under the sound protocol, with each reading."""
    clean = effects["suite"].isin(["iid", "ood"]) & (effects["metric"] == "dsc") & (effects["protocol"] == "sound")
    counts = Counter(effects.loc[clean, "reading"])
    return {reading: counts[reading] for reading in (BETTER, WORSE, OPEN)}


def effects_grid(effects: pd.DataFrame) -> Grid:
    """One row per comparison; intervals are drawn on one scale per metric and protocol."""
    ends = effects[["low", "high", "difference"]].abs().max(axis=1)
    widest = ends.groupby([effects["metric"], effects["protocol"]]).transform("max")
    return Grid(
        name="effects-table",
        caption="Differences to the baseline, mean over classes",
        columns=columns(
            *(("Data", "Images", "Architecture", "Objective"), ("Difference", "95 % interval"), ("Reading",)),
            ("Cases improved", "p (Holm)", "Same from ±", *(name.capitalize() for name in _COUNTS)),
            ("Metric", "Protocol"),
        ),
        rows=[_effect(row, scale) for row, scale in zip(effects.to_dict("records"), widest, strict=True)],
        choices={"Data": "", "Architecture": "", "Metric": "DSC", "Protocol": "sound", "Reading": ""},
    )


def _effect(row: Mapping[Any, Any], scale: float) -> list[Cell]:
    digits = metric_of(row["metric"]).digits
    interval = row["low"], row["difference"], row["high"]
    low, middle, high = (number(value, digits, sign=True) for value in interval)
    bar: Any = tuple(value / scale for value in interval) if np.isfinite(interval).all() and scale > 0 else None
    images = "clean" if row["corruption"] == "none" else f"{row['corruption']} {row['severity']}"
    share = number(100 * row["improved"], 0)
    return [
        Cell(pair_label(row["dataset"], row["test_dataset"])),
        Cell(images),
        Cell(row["architecture"]),
        Cell(objective_label(row["objective"], row["lambda"])),
        middle,
        Cell(f"{low.text} to {high.text}" if bar else DASH, key=low.key, bar=bar),
        Cell(row["reading"], kind=f"reading {row['reading'].replace(' ', '-')}"),
        Cell(f"{share.text} %", key=share.key) if share.key is not None else share,
        number(row["p_holm"], 3),
        number(row["margin_needed"], digits),
        *(number(row[name], 0) for name in _COUNTS),
        Cell(metric_of(row["metric"]).label),
        Cell(row["protocol"]),
    ]
