"""All objectives of a study against a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from spectralseg.errors import InputError
from spectralseg.files import replacing, write_parquet
from spectralseg.metrics.records import MEAN, read_records
from spectralseg.registry import suggest
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.improvement import share_improved
from spectralseg.statistics.margins import MARGIN, Margins
from spectralseg.statistics.pairing import Paired, Values, pair
from spectralseg.statistics.significance import LEVEL, holm, sign_flip, wilcoxon
from spectralseg.statistics.verdicts import margin_needed

# What is compared, and whether higher values are better.
METRICS = {
    **dict.fromkeys(("dsc", "iou", "sensitivity", "specificity", "accuracy", "nsd", "boundary_iou"), True),
    **dict.fromkeys(("hd95", "assd", "false_structure", "ece", "mce", "ace", "brier"), False),
}
DISTANCES = ("hd95", "assd")  # in millimetres or pixels: a margin in shares says nothing about them

CONDITION = ["dataset", "architecture", "suite", "test_dataset", "corruption", "severity", "protocol", "metric"]
METHOD = ["objective", "lambda"]
_FAMILY = [*(key for key in CONDITION if key != "architecture"), "class"]
COLUMNS = (
    *(*CONDITION, *METHOD, "class", "baseline"),
    *("difference", "low", "high", "improved", "improved_low", "improved_high"),
    *("p_wilcoxon", "p_holm", "p_sign_flip", "p_equivalence", "equivalent", "margin", "margin_needed"),
    *("seeds", "groups", "effective_groups", "cases", "undefined", "unpaired"),
)


def compare(records_file: Path, baseline: str, out: Path, margin: float | Margins = MARGIN) -> None:
    """Compare all objectives with a baseline and write one row per condition, objective, λ, class and metric.

    Differences are values of the objective less those of the baseline, over all test cases, with 95 % intervals over
    seeds and groups; ``improved`` is the share of cases that are better. ``p_holm`` adjusts ``p_wilcoxon`` within the
    objectives and architectures that share all else. ``p_equivalence`` is of two one-sided tests against ``margin``,
    NaN where the metric has none, as distances unless they are given one: a number is the margin of all shares, see
    :class:`~spectralseg.statistics.margins.Margins` for others. ``margin_needed`` is the margin from which on the two
    would be equivalent, NaN with fewer than three seeds. ``seeds`` counts those with a defined difference, ``groups``
    and ``cases`` what has a partner in the baseline, ``undefined`` the pairs without a difference and ``unpaired`` the
    values without a partner. Class ``mean`` is the mean over the foreground classes; classes have rows of their own
    where there are several.

    Raises:
        InputError: no run of the baseline is there, it has several λ, a value is recorded twice, or a case has
            two groups.
    """
    margins = margin if isinstance(margin, Margins) else Margins(margin)
    records = read_records(records_file)
    if not (records["objective"] == baseline).any():
        objectives = sorted(set(records["objective"].astype("str")))
        raise InputError(
            f"{records_file}: there are no records of the baseline objective '{baseline}'; "
            f"{suggest(baseline, objectives)}, or add its runs"
        )
    records = records[records["metric"].isin(METRICS)]
    records = records.astype({name: "str" for name in records.columns if name not in ("seed", "value")})
    reference = records[records["objective"] == baseline]  # empty where all its runs diverged
    _refuse_several_lambdas(reference, baseline)
    _refuse_contradictions(records_file, records)
    references = {keys: Values.of(cell) for keys, cell in reference.groupby(CONDITION)}
    others = records[records["objective"] != baseline].groupby([*CONDITION, *METHOD])
    rows = []
    for keys, cell in tqdm(others, desc="compare", unit="condition", disable=None):
        ours = Values.of(cell)
        partner = references.get(keys[: len(CONDITION)], Values.of(cell.iloc[:0]))
        named = dict(zip([*CONDITION, *METHOD], keys, strict=True))
        metric, tested = str(named["metric"]), (str(named["test_dataset"]), str(named["protocol"]))
        largest = margins.of(metric, *tested, share=metric not in DISTANCES)
        # The mean over classes, and the classes where there are several.
        for name in [MEAN, *ours.classes] if len(ours.classes) > 1 else [MEAN]:
            compared = _compare(pair(ours.of_class(name), partner.of_class(name)), metric, largest)
            rows.append({**named, "class": name, **compared})
    table = pd.DataFrame(rows, columns=list(COLUMNS)).assign(baseline=baseline, p_holm=np.nan)
    for family in table.groupby(_FAMILY).indices.values():
        table.loc[family, "p_holm"] = holm(table.loc[family, "p_wilcoxon"])
    with replacing(out) as partial:
        write_parquet(partial, table)


def _compare(pairs: Paired, metric: str, margin: float | None) -> dict[str, Any]:
    improved = share_improved(pairs.over_classes * (1 if METRICS[metric] else -1), pairs.groups)
    same = None
    if margin is not None:
        same = equivalence(pairs.values, pairs.groups, margin=margin, outcomes=pairs.outcomes)
    interval, narrow = pairs.interval(), same.interval if same else pairs.interval(level=1 - 2 * LEVEL)
    return {
        **dict(zip(("difference", "low", "high"), interval, strict=True)),
        **dict(zip(("improved", "improved_low", "improved_high"), improved, strict=True)),
        "p_wilcoxon": wilcoxon(pairs.over_classes, pairs.groups),
        "p_sign_flip": sign_flip(pairs.over_classes),
        "p_equivalence": same.p if same else float("nan"),
        "equivalent": bool(same and same.equivalent),
        "margin": float("nan") if margin is None else margin,
        "margin_needed": margin_needed(interval, narrow, pairs.informative_seeds, pairs.informative_groups),
        "seeds": pairs.informative_seeds,
        "groups": pairs.informative_groups,
        "effective_groups": round(pairs.effective_groups, 1),
        "cases": len(pairs.cases),
        "undefined": pairs.undefined,
        "unpaired": pairs.unpaired,
    }


def _refuse_contradictions(file: Path, records: pd.DataFrame) -> None:
    """Values that are recorded twice would count twice, and a case with two groups would be paired with itself."""
    repeated = records.duplicated([*CONDITION, *METHOD, "class", "seed", "case"])
    if repeated.any():
        first = records[repeated].iloc[0]
        raise InputError(
            f"{file}: {repeated.sum()} values are recorded twice, the first is {first['metric']} of class "
            f"'{first['class']}' of case '{first['case']}', seed {first['seed']}; keep one record of each"
        )
    cases = records[["test_dataset", "case", "group"]].drop_duplicates()
    contradicting = cases[cases.duplicated(["test_dataset", "case"])]
    if len(contradicting):
        case = contradicting.iloc[0]
        raise InputError(
            f"{file}: case '{case['case']}' of {case['test_dataset']} has several groups; score all methods on the "
            "same prepared data"
        )


def _refuse_several_lambdas(reference: pd.DataFrame, baseline: str) -> None:
    """Which λ of the baseline the others are measured against must not depend on chance."""
    for _, cell in reference.groupby(CONDITION)["lambda"]:
        lambdas = sorted(map(str, cell.unique()))
        if len(lambdas) > 1:
            raise InputError(
                f"the baseline objective '{baseline}' has several λ ({', '.join(lambdas)}); "
                "choose a baseline with one λ or remove the others from the grid"
            )
