"""Objectives against a baseline, case by case and seed by seed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from spectralseg.errors import InputError
from spectralseg.files import replacing
from spectralseg.metrics.records import read_records
from spectralseg.statistics.bootstrap import paired_interval

METRICS = ("dsc", "iou", "sensitivity", "specificity", "accuracy", "hd95", "ece", "mce")
_PAIRING = ["dataset", "architecture", "suite", "test_dataset", "corruption", "severity", "class", "protocol", "metric"]
_CELL = [*_PAIRING, "objective", "lambda"]
COLUMNS = (*_CELL, "baseline", "difference", "low", "high", "seeds", "cases", "undefined", "unpaired")


def paired_differences(records: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Value of each objective minus the baseline's, for the same case, class, seed and condition.

    Returns:
        The records of the other objectives with ``value_baseline``, ``difference`` and ``paired``, which is False
        where the baseline has no such record.

    Raises:
        InputError: no run of the baseline is there, or the baseline has several λ.
    """
    records = records[records["metric"].isin(METRICS)]
    reference = records[records["objective"] == baseline]
    if reference.empty:
        raise InputError(f"there are no records of the baseline objective '{baseline}'; add it to the grid")
    _refuse_several_lambdas(reference, baseline)
    keys = [*_PAIRING, "seed", "case", "group"]
    others = records[records["objective"] != baseline]
    joined = others.merge(
        reference[[*keys, "value"]], "left", keys, suffixes=("", "_baseline"), indicator="paired", validate="m:1"
    )
    joined["paired"] = joined["paired"] == "both"
    joined["difference"] = joined["value"] - joined["value_baseline"]
    return joined


def compare(records_file: Path, baseline: str, out: Path) -> None:
    """Write mean paired differences with 95 % intervals, one row per objective, λ, condition, class and metric.

    ``seeds`` and ``cases`` count what has a partner in the baseline, ``undefined`` the pairs without a difference and
    ``unpaired`` the values without a partner.
    """
    differences = paired_differences(read_records(records_file), baseline)
    rows = []
    for keys, cell in differences.groupby(_CELL, observed=True):
        paired = cell[cell["paired"]]
        table = paired.pivot_table(index="seed", columns="case", values="difference", observed=True, dropna=False)
        groups = paired.drop_duplicates("case").set_index("case")["group"].astype(str)[table.columns.astype(str)]
        interval = paired_interval(table.to_numpy(), groups.to_numpy())
        rows.append(
            dict(zip(_CELL, keys, strict=True))
            | {"baseline": baseline, "difference": interval.estimate, "low": interval.low, "high": interval.high}
            | {"seeds": len(table), "cases": table.shape[1], "undefined": int(paired["difference"].isna().sum())}
            | {"unpaired": len(cell) - len(paired)}
        )
    with replacing(out) as partial:
        pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(partial, index=False)


def _refuse_several_lambdas(reference: pd.DataFrame, baseline: str) -> None:
    """Which λ of the baseline the others are measured against must not depend on chance."""
    for _, cell in reference.groupby(_PAIRING, observed=True)["lambda"]:
        lambdas = sorted(map(str, cell.unique()))
        if len(lambdas) > 1:
            raise InputError(
                f"the baseline objective '{baseline}' has several λ ({', '.join(lambdas)}); "
                "choose a baseline with one λ or remove the others from the grid"
            )
