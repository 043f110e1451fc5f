"""Compare all methods of one or several files of metric records with a baseline."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from spectralseg.errors import InputError
from spectralseg.files import replacing, write_parquet
from spectralseg.metrics.catalogue import COMPARED, metric_of
from spectralseg.metrics.records import CONDITION_KEYS, LABORATORY, MEAN, RUN_KEYS, read_merged
from spectralseg.statistics.baseline import CONDITION, KEYS, METHOD, Baseline, unpaired
from spectralseg.statistics.bootstrap import KEPT, draw_together
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.improvement import improvements, share_improved
from spectralseg.statistics.margins import MARGIN, Margins
from spectralseg.statistics.pairing import Columns, Paired, pair
from spectralseg.statistics.significance import LEVEL, holm, sign_flip, wilcoxon
from spectralseg.statistics.verdicts import margin_needed

_FAMILY = [*(key for key in CONDITION if key != "architecture"), "class"]
COLUMNS = (
    *(*CONDITION, *METHOD, "class", "baseline"),
    *("difference", "low", "high", "improved", "improved_low", "improved_high"),
    *("p_wilcoxon", "p_holm", "p_sign_flip", "p_equivalence", "equivalent", "margin", "margin_needed"),
    *("seeds", "groups", "effective_groups", "cases", "undefined", "unpaired"),
)


def compare(
    records_files: Path | Sequence[Path], baseline: str, out: Path, margin: float | Margins = MARGIN
) -> tuple[str, ...]:
    """Compare all methods with a baseline and write one row per condition, method, class and metric.

    Differences are values of the method less those of the baseline, over all test cases, with 95 % intervals over
    seeds and groups; ``improved`` is the share of cases that are better. ``p_holm`` adjusts ``p_wilcoxon`` within the
    methods that share all other keys. ``p_equivalence`` is of two one-sided tests against
    ``margin``, NaN for metrics without a margin: a number is the margin of all metrics between 0 and 1, see
    :class:`~spectralseg.statistics.margins.Margins` for others. ``margin_needed`` is the smallest margin of
    equivalence, NaN with fewer than three seeds. ``seeds`` counts those with a defined difference, ``groups`` and
    ``cases`` those with a partner in the baseline, ``undefined`` the pairs without a difference and ``unpaired`` the
    values without a partner. Class ``mean`` is the mean over the foreground classes; several classes also have rows of
    their own. The runs of several laboratories (:data:`~spectralseg.metrics.records.LABORATORY`) count as seeds of one
    study; a run is paired with a run of its own laboratory.

    Args:
        records_files: files of metric records, whose records are compared as if they were in one file.
        baseline: see :meth:`Baseline.of`.
        out: parquet file.
        margin: largest difference that does not matter.

    Returns:
        Sentences about methods, seeds and cases that have no partner, with their numbers.

    Raises:
        InputError: there are no records of the baseline, it has several λ, a method is in two files, a value is
            recorded twice, or a case has two groups.
    """
    margins = margin if isinstance(margin, Margins) else Margins(margin)
    files = [records_files] if isinstance(records_files, Path) else list(records_files)
    where = ", ".join(map(str, files))
    records = _seeds_by_laboratory(_read(files))
    first = Baseline.of(baseline, records, where)
    reference, others = sides(records, first, where)
    rows = []
    pairs_of_cells = paired_cells(reference, others, first.condition)
    while block := list(itertools.islice(pairs_of_cells, KEPT // 4)):
        draw_together(sample for keys, pairs in block for sample in _samples(pairs, str(keys["metric"])))
        for keys, pairs in block:
            metric, test_dataset, protocol = (str(keys[name]) for name in ("metric", "test_dataset", "protocol"))
            metric_margin = margins.of(metric, test_dataset, protocol, share=metric_of(metric).share)
            rows.append({**keys, **_compare(pairs, metric, metric_margin)})
    table = pd.DataFrame(rows, columns=list(COLUMNS)).assign(baseline=baseline, p_holm=np.nan)
    for family in table.groupby(_FAMILY).indices.values():
        table.loc[family, "p_holm"] = holm(table.loc[family, "p_wilcoxon"])
    with replacing(out) as partial:
        write_parquet(partial, table)
    return tuple(unpaired(reference, others, first))


def sides(records: pd.DataFrame, baseline: Baseline, where: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records of the baseline and of the methods that are compared with it, of all compared metrics.

    Args:
        records: metric records.
        baseline: the baseline.
        where: name of the records in messages.

    Raises:
        InputError: the baseline has several λ, a value is recorded twice, or a case has two groups.
    """
    records = _categorical(records[records["metric"].isin(COMPARED)])
    selected = baseline.selects(records)
    reference, others = records[selected], records[~selected]  # the first is empty if all its runs diverged
    _refuse_several_lambdas(reference, baseline)
    _refuse_contradictions(where, records)
    return reference, others


def _seeds_by_laboratory(records: pd.DataFrame) -> pd.DataFrame:
    """Records in which the seeds of several laboratories have names of their own, ``laboratory/seed``."""
    if not (records[LABORATORY] != "").any():
        return records
    seeds = records[LABORATORY].astype("str") + "/" + records["seed"].astype("str")
    return records.assign(seed=seeds.astype("category"))


def _read(files: Sequence[Path]) -> pd.DataFrame:
    """The records of several files.

    Raises:
        InputError: a run has records of one test condition in two files.
    """
    frames, keys = [], [LABORATORY, *RUN_KEYS, *CONDITION_KEYS]
    runs: dict[tuple[Any, ...], Path] = {}
    for file in files:
        frame = read_merged(file)
        for run in frame[keys].drop_duplicates().itertuples(index=False, name=None):
            if run in runs:
                names = dict(zip(keys, run, strict=True))
                method = f"{names['architecture']}/{names['objective']}, λ {names['lambda']}, seed {names['seed']}"
                raise InputError(
                    f"{file}: has records of {method} on '{names['test_dataset']}', as {runs[run]} has; remove one of "
                    "the files, or score one of the methods under another name"
                )
            runs[run] = file
        frames.append(frame)
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _categorical(records: pd.DataFrame) -> pd.DataFrame:
    """The records with texts as alphabetical categories, which are faster to group."""
    texts = {name: records[name].astype("category") for name in records.columns if name not in ("seed", "value")}
    ordered = {name: text.cat.set_categories(sorted(text.cat.categories)) for name, text in texts.items()}
    return records.assign(**ordered)


def _cells(records: pd.DataFrame, keys: list[str]) -> dict[tuple[str, ...], NDArray[np.int64]]:
    """Row indices of each combination of keys, sorted by these."""
    rows: dict[Any, NDArray[np.int64]] = records.groupby(keys, observed=True).indices  # type: ignore[assignment]
    return {key: rows[key] for key in sorted(rows)}


def paired_cells(
    reference: pd.DataFrame, others: pd.DataFrame, condition: list[str]
) -> Iterator[tuple[dict[str, Any], Paired]]:
    """Keys and differences of each row of the comparisons: of the mean over classes, and of each of several classes.

    Args:
        reference: records of the baseline, see :func:`sides`.
        others: those of the compared methods.
        condition: columns in which a method and the baseline agree.
    """
    reference_columns, reference_cells = Columns(reference), _cells(reference, condition)
    no_rows = np.empty(0, np.int64)
    reference_values = functools.lru_cache(1)(lambda cell: reference_columns.values(reference_cells.get(cell, no_rows)))
    columns, cells = Columns(others), _cells(others, KEYS)
    places = [KEYS.index(key) for key in condition]
    for cell, rows in tqdm(cells.items(), desc="compare", unit="condition", disable=None):
        values, partner = columns.values(rows), reference_values(tuple(cell[place] for place in places))
        for name in [MEAN, *values.classes] if len(values.classes) > 1 else [MEAN]:
            yield (
                {**dict(zip(KEYS, cell, strict=True)), "class": name},
                pair(values.of_class(name), partner.of_class(name)),
            )


def _improvements(pairs: Paired, metric: str) -> NDArray[np.float64]:
    """Differences of the mean over classes, positive where better."""
    return pairs.over_classes * metric_of(metric).sign


def _samples(pairs: Paired, metric: str) -> Iterator[tuple[ArrayLike, ArrayLike, bool]]:
    """The samples that :func:`_compare` draws for."""
    yield pairs.values, pairs.members, pairs.outcomes
    yield improvements(_improvements(pairs, metric)), pairs.members, True


def _compare(pairs: Paired, metric: str, margin: float | None) -> dict[str, Any]:
    improved = share_improved(_improvements(pairs, metric), pairs.members)
    tost = None
    if margin is not None:
        tost = equivalence(pairs.values, pairs.members, margin=margin, outcomes=pairs.outcomes)
    interval, narrow = pairs.interval(), tost.interval if tost else pairs.interval(level=1 - 2 * LEVEL)
    return {
        **dict(zip(("difference", "low", "high"), interval, strict=True)),
        **dict(zip(("improved", "improved_low", "improved_high"), improved, strict=True)),
        "p_wilcoxon": wilcoxon(pairs.over_classes, pairs.members),
        "p_sign_flip": sign_flip(pairs.over_classes),
        "p_equivalence": tost.p if tost else float("nan"),
        "equivalent": bool(tost and tost.equivalent),
        "margin": float("nan") if margin is None else margin,
        "margin_needed": margin_needed(interval, narrow, pairs.informative_seeds, pairs.informative_groups),
        "seeds": pairs.informative_seeds,
        "groups": pairs.informative_groups,
        "effective_groups": round(pairs.effective_groups, 1),
        "cases": len(pairs.cases),
        "undefined": pairs.undefined,
        "unpaired": pairs.unpaired,
    }


def _refuse_contradictions(where: str, records: pd.DataFrame) -> None:
    """Refuse duplicate values and cases with several groups."""
    repeated = records.duplicated([*CONDITION, *METHOD, "class", "seed", "case"])
    if repeated.any():
        first = records[repeated].iloc[0]
        raise InputError(
            f"{where}: {repeated.sum()} values are recorded twice, the first is {first['metric']} of class "
            f"'{first['class']}' of case '{first['case']}', seed {first['seed']}; keep one record of each"
        )
    cases = records[["test_dataset", "case", "group"]].drop_duplicates()
    contradicting = cases[cases.duplicated(["test_dataset", "case"])]
    if len(contradicting):
        case = contradicting.iloc[0]
        raise InputError(
            f"{where}: case '{case['case']}' of {case['test_dataset']} has several groups; score all methods on the "
            "same prepared data"
        )


def _refuse_several_lambdas(reference: pd.DataFrame, baseline: Baseline) -> None:
    """Refuse a baseline with several λ under one condition, as the reference would be ambiguous."""
    for _, cell in reference.groupby(baseline.condition, observed=True)["lambda"]:
        lambdas = sorted(map(str, cell.unique()))
        if len(lambdas) > 1:
            raise InputError(
                f"the baseline objective '{baseline.name}' has several λ ({', '.join(lambdas)}); "
                "choose a baseline with one λ or remove the others from the grid"
            )
