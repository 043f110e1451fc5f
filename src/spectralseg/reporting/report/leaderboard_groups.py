"""Groups of cases on the leaderboard, from the table ``strata``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import CONDITION_KEYS
from spectralseg.reporting.rendering import signed
from spectralseg.reporting.rows import METHOD
from spectralseg.reporting.tables.strata import DIFFERENCE

ALL_CASES = "all cases"
LEGEND = (
    "Group of cases: the test cases with one value of an attribute, or of one size. In a group, brackets contain the "
    "95 % interval of the mean, and verdicts are adjusted for all methods and groups of the attribute. Worst group: "
    "the group in which the method lies most below its mean over all cases, and by how much; its attribute is in the "
    "tooltip and in the CSV file, and the rows of a group have their own deviation. By chance alone, one of several "
    "groups is worst, most often one with few cases."
)
_CELL = ["protocol", "metric", "dataset", *CONDITION_KEYS, "leak_free", *METHOD]
_CLEAN = {"corruption": "none", "severity": "0", "leak_free": ""}


def with_groups(cells: pd.DataFrame, strata: pd.DataFrame) -> pd.DataFrame:
    """Cells of the leaderboard, followed by those of the groups, within each group the best method first.

    Five columns are added: ``attribute`` (empty for all cases), ``group``, ``mean_interval`` as text (empty for all
    cases), ``worst_group`` as text with the deviation ``gap`` of this group from all cases in printed units, and
    ``worst_prefix``, the start of this text that names the attribute.

    Args:
        cells: of the table ``leaderboard``.
        strata: cells of the table ``strata``.
    """
    groups = strata.assign(**_CLEAN, group=strata["attribute"] + " = " + strata["value"])
    worst = _worst(groups)
    keys = pd.MultiIndex.from_frame(cells[_CELL])
    cells = cells.assign(
        **{"attribute": "", "group": ALL_CASES, "mean_interval": ""},
        worst_group=[worst["text"].get(key, "") for key in keys],
        worst_prefix=[worst["prefix"].get(key, "") for key in keys],
        gap=[worst["gap"].get(key, np.nan) for key in keys],
    )
    return pd.concat([cells, _ranked(groups)[cells.columns]], ignore_index=True) if len(groups) else cells


def _worst(groups: pd.DataFrame) -> pd.DataFrame:
    """Text, its start that names the attribute, and gap of the worst group of each method and test condition."""
    worst = groups[groups["worst"].astype(bool)]
    worst = worst.loc[(worst["gap"] * _sign(worst)).sort_values(kind="stable").index].drop_duplicates(_CELL)
    text = worst["group"] + worst["gap"].map(lambda gap: f" ({signed(gap)})")
    prefix = worst["attribute"] + " = "
    return worst.assign(text=text, prefix=prefix).set_index(_CELL)[["text", "prefix", "gap"]]


def _ranked(groups: pd.DataFrame) -> pd.DataFrame:
    """Groups with the columns of the leaderboard, in the order of the table, within each the best method first."""
    compared = groups["reference"] != ""
    differences = {name: groups[column].where(compared, groups[name]) for name, column in DIFFERENCE.items()}
    text = ["worst: " * bool(worst) + signed(gap) for worst, gap in zip(groups["worst"], groups["gap"], strict=True)]
    place = groups.groupby(["metric", "dataset", *CONDITION_KEYS, "attribute", "value"], sort=False).ngroup()
    groups = groups.assign(
        mean_interval=list(map(_limits, groups["metric"], groups["low"], groups["high"])),
        worst_group=text,
        worst_prefix="",
        false_structures=np.nan,
        place=place,
        merit=-groups["mean"] * _sign(groups),
        **differences,
    )
    return groups.sort_values(["place", "merit"], kind="stable")


def _sign(cells: pd.DataFrame) -> pd.Series[float]:
    return cells["metric"].map(lambda name: metric_of(name).sign).astype(float)


def _limits(metric: str, low: float, high: float) -> str:
    digits = metric_of(metric).digits
    return f" [{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite(low) else ""
