"""All objectives of a study against a baseline."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from spectralseg.errors import InputError
from spectralseg.files import replacing, write_parquet
from spectralseg.metrics.catalogue import COMPARED, metric_of
from spectralseg.metrics.records import MEAN, read_records
from spectralseg.registry import suggest
from spectralseg.statistics.bootstrap import KEPT, draw_together
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.improvement import improvements, share_improved
from spectralseg.statistics.margins import MARGIN, Margins
from spectralseg.statistics.pairing import Columns, Paired, pair
from spectralseg.statistics.significance import LEVEL, holm, sign_flip, wilcoxon
from spectralseg.statistics.verdicts import margin_needed

# What is compared, and whether higher values are better.
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
    records = _categorical(records[records["metric"].isin(COMPARED)])
    reference = records[records["objective"] == baseline]  # empty where all its runs diverged
    _refuse_several_lambdas(reference, baseline)
    _refuse_contradictions(records_file, records)
    rows = []
    compared = _pairs(reference, records[records["objective"] != baseline])
    while block := list(itertools.islice(compared, KEPT // 4)):
        draw_together(sample for named, pairs in block for sample in _samples(pairs, str(named["metric"])))
        for named, pairs in block:
            metric, tested = str(named["metric"]), (str(named["test_dataset"]), str(named["protocol"]))
            largest = margins.of(metric, *tested, share=metric_of(metric).share)
            rows.append({**named, **_compare(pairs, metric, largest)})
    table = pd.DataFrame(rows, columns=list(COLUMNS)).assign(baseline=baseline, p_holm=np.nan)
    for family in table.groupby(_FAMILY).indices.values():
        table.loc[family, "p_holm"] = holm(table.loc[family, "p_wilcoxon"])
    with replacing(out) as partial:
        write_parquet(partial, table)


def _categorical(records: pd.DataFrame) -> pd.DataFrame:
    """The same records with categories in alphabetical order for texts, as groups of rows are found by them faster."""
    texts = {name: records[name].astype("category") for name in records.columns if name not in ("seed", "value")}
    ordered = {name: text.cat.set_categories(sorted(text.cat.categories)) for name, text in texts.items()}
    return records.assign(**ordered)


def _cells(records: pd.DataFrame, keys: list[str]) -> dict[tuple[str, ...], NDArray[np.int64]]:
    """Rows of each cell, in the order of its keys."""
    found: dict[Any, NDArray[np.int64]] = records.groupby(keys, observed=True).indices  # type: ignore[assignment]
    return {key: found[key] for key in sorted(found)}


def _pairs(reference: pd.DataFrame, others: pd.DataFrame) -> Iterator[tuple[dict[str, Any], Paired]]:
    """What each row of the comparisons is about, and its differences: of the mean over classes, and of the classes
    where there are several.
    """
    columns, cells = Columns(reference), _cells(reference, CONDITION)
    nothing = np.empty(0, np.int64)
    partners = functools.lru_cache(1)(lambda condition: columns.values(cells.get(condition, nothing)))
    ours_columns = Columns(others)
    ours_cells = _cells(others, [*CONDITION, *METHOD])
    for keys, rows in tqdm(ours_cells.items(), desc="compare", unit="condition", disable=None):
        ours, partner = ours_columns.values(rows), partners(keys[: len(CONDITION)])
        for name in [MEAN, *ours.classes] if len(ours.classes) > 1 else [MEAN]:
            named = {**dict(zip([*CONDITION, *METHOD], keys, strict=True)), "class": name}
            yield named, pair(ours.of_class(name), partner.of_class(name))


def _improvements(pairs: Paired, metric: str) -> NDArray[np.float64]:
    """Differences over classes, positive where better."""
    return pairs.over_classes * metric_of(metric).sign


def _samples(pairs: Paired, metric: str) -> Iterator[tuple[ArrayLike, ArrayLike, bool]]:
    """What :func:`_compare` draws for."""
    yield pairs.values, pairs.members, pairs.outcomes
    yield improvements(_improvements(pairs, metric)), pairs.members, True


def _compare(pairs: Paired, metric: str, margin: float | None) -> dict[str, Any]:
    improved = share_improved(_improvements(pairs, metric), pairs.members)
    same = None
    if margin is not None:
        same = equivalence(pairs.values, pairs.members, margin=margin, outcomes=pairs.outcomes)
    interval, narrow = pairs.interval(), same.interval if same else pairs.interval(level=1 - 2 * LEVEL)
    return {
        **dict(zip(("difference", "low", "high"), interval, strict=True)),
        **dict(zip(("improved", "improved_low", "improved_high"), improved, strict=True)),
        "p_wilcoxon": wilcoxon(pairs.over_classes, pairs.members),
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
    for _, cell in reference.groupby(CONDITION, observed=True)["lambda"]:
        lambdas = sorted(map(str, cell.unique()))
        if len(lambdas) > 1:
            raise InputError(
                f"the baseline objective '{baseline}' has several λ ({', '.join(lambdas)}); "
                "choose a baseline with one λ or remove the others from the grid"
            )
