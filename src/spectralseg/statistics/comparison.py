"""Objectives against a baseline, case by case and seed by seed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from spectralseg.errors import InputError
from spectralseg.files import replacing
from spectralseg.statistics.bootstrap import paired_interval

METRICS = ("dsc", "iou", "sensitivity", "specificity", "accuracy", "hd95", "ece", "mce")
_PAIRING = ["dataset", "architecture", "suite", "test_dataset", "corruption", "severity", "class", "protocol", "metric"]


def paired_differences(records: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Value of each objective minus the baseline's, for the same case, class, seed and condition.

    Raises:
        InputError: no run of the baseline is there.
    """
    records = records[records["metric"].isin(METRICS)]
    keys = [*_PAIRING, "seed", "case", "group"]
    reference = records[records["objective"] == baseline]
    if reference.empty:
        raise InputError(f"there are no records of the baseline objective '{baseline}'; add it to the grid")
    others = records[records["objective"] != baseline]
    paired = others.merge(reference[[*keys, "value"]], on=keys, suffixes=("", "_baseline"))
    paired["difference"] = paired["value"] - paired["value_baseline"]
    return paired


def compare(records_file: Path, baseline: str, out: Path) -> None:
    """Write mean paired differences with 95 % intervals, one row per objective, λ, condition, class and metric."""
    paired = paired_differences(pd.read_parquet(records_file), baseline)
    rows = []
    for keys, cell in paired.groupby([*_PAIRING, "objective", "lambda"], observed=True):
        table = cell.pivot_table(index="seed", columns="case", values="difference", observed=True, dropna=False)
        groups = cell.drop_duplicates("case").set_index("case")["group"].astype(str)[table.columns.astype(str)]
        interval = paired_interval(table.to_numpy(), groups.to_numpy())
        rows.append(
            dict(zip([*_PAIRING, "objective", "lambda"], keys, strict=True))
            | {"baseline": baseline, "difference": interval.estimate, "low": interval.low, "high": interval.high}
            | {"seeds": len(table), "cases": table.shape[1], "undefined": int(cell["difference"].isna().sum())}
        )
    with replacing(out) as partial:
        pd.DataFrame(rows).to_parquet(partial, index=False)
