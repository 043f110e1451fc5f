"""Scores and anomalies of external predictions."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectralseg.data import PreparedDataset
from spectralseg.data.audit import Audit
from spectralseg.data.fit import FITTINGS
from spectralseg.errors import InputError
from spectralseg.evaluation.conditions import Condition
from spectralseg.evaluation.lesions import LesionRule
from spectralseg.evaluation.score import Score, score_labels
from spectralseg.exchange.case_matching import pair
from spectralseg.exchange.inspection import Inspection
from spectralseg.exchange.label_files import file_endings, file_name, read_labels
from spectralseg.files import replacing, write_parquet
from spectralseg.grid import Run
from spectralseg.metrics.policy import FALSE_STRUCTURE, POLICY
from spectralseg.metrics.records import COLUMNS, WHOLE_CASE
from spectralseg.progress import progress_bar

_log = logging.getLogger(__name__)


class Scored(NamedTuple):
    """Means of the scores, see :func:`summarise`, and anomalies of the predictions, in sentences."""

    summary: pd.DataFrame
    findings: tuple[str, ...]


def score(
    predictions: Path,
    data: PreparedDataset,
    method: Run,
    out: Path,
    *,
    allow_missing: bool = False,
    audit: Audit | None = None,
) -> Scored:
    """Score external predictions, report anomalies, and write metric records to the parquet file ``out``.

    Each test case has one file, named by its id, in native geometry and with labels 0..K: NIfTI for volumes, PNG for
    images. :func:`spectralseg.exchange.case_matching.pair` defines which names match, and
    :func:`spectralseg.exchange.label_files.read_labels` which orientations of volumes are accepted. Metrics and
    protocols are those of the evaluation, without calibration, which needs probabilities. Under ``published``, images
    are brought to network resolution like the masks of the dataset; volumes are scored as they are.

    Args:
        predictions: folder of the label maps; files with other suffixes than those of the dataset are ignored and
            counted in the log.
        data: the dataset whose test cases were predicted.
        method: run keys of the records.
        out: parquet file.
        allow_missing: exclude cases without a file; a warning counts them.
        audit: leakage audit; the summary then has a second mean, over cases that match no training or validation data.

    Returns:
        The summary of the records; and findings, see :class:`spectralseg.exchange.inspection.Inspection`.

    Raises:
        InputError: a case has no file, a file no case, or a file cannot be scored; see
            :func:`spectralseg.exchange.label_files.read_labels`.
    """
    with replacing(out) as partial:  # fails before the work if the file cannot be written
        scores = score_prepared(predictions, data, method, allow_missing=allow_missing, audit=audit)
        write_parquet(partial, scores.records)
    summary = summarise(scores.records)
    if scores.leaks is None:
        return Scored(summary, scores.findings)
    leak_free = summarise(scores.records[~scores.records["case"].isin(scores.leaks)])
    means = leak_free.set_index(["protocol", "metric"])["mean"].rename("leak_free")
    return Scored(summary.join(means, on=["protocol", "metric"]), scores.findings)


class PreparedScores(NamedTuple):
    """Metric records, anomalies in sentences, and leaked test cases; None without an audit."""

    records: pd.DataFrame
    findings: tuple[str, ...]
    leaks: set[str] | None


def score_prepared(
    predictions: Path,
    data: PreparedDataset,
    method: Run,
    *,
    allow_missing: bool = False,
    audit: Audit | None = None,
) -> PreparedScores:
    """As :func:`score`, without writing the records."""
    condition = Condition("iid" if method.dataset == data.name else "ood", data)
    cases = condition.cases()
    files = _files(predictions, data, cases, allow_missing)
    keys = (*method.keys.values(), *condition.keys.values())
    names, lesions = [WHOLE_CASE, *data.classes], LesionRule.of(data)
    rows: list[tuple[Any, ...]] = []
    inspection = Inspection(data.classes)
    leaks = None if audit is None else _leaked_cases(audit, method.dataset, data.name, set(files))
    selected = cases[cases["case"].isin(files)]
    for name in progress_bar(files, desc=f"check {data.name}", unit="case"):
        read_labels(files[name], data, name)  # check all files first, as scoring takes far longer
    for _, case in progress_bar(selected.iterrows(), desc=f"score {data.name}", unit="case", total=len(selected)):
        name, group = str(case["case"]), str(case["group"])
        labels, native = read_labels(files[name], data, name), data.native_labels(name)
        inspection.add(name, labels, native)
        for label, protocol, metric, value, flag in _scores(labels, native, data, case, lesions):
            rows.append((*keys, name, group, names[label], protocol, metric, value, flag))
    records, findings = pd.DataFrame(rows, columns=list(COLUMNS)), tuple(inspection.findings())
    if leaks:
        leakage = f"{len(leaks)} of {len(files)} test cases match training or validation data of '{method.dataset}'"
        findings = (*findings, leakage)
    return PreparedScores(records, findings, leaks)


def _leaked_cases(audit: Audit, training: str, test: str, cases: set[str]) -> set[str]:
    """Test cases that overlap with training or validation data.

    Raises:
        InputError: the audit did not compare the two datasets.
    """
    pairs = audit.pairs
    if not ((pairs["train_dataset"] == training) & (pairs["test_dataset"] == test)).any():
        raise InputError(
            f"the leakage audit has not compared '{training}' with '{test}'; audit both with 'spectralseg leakage'"
        )
    return {case for *pair, case in audit.leaked_cases("validation") if pair == [training, test] and case in cases}


def _files(predictions: Path, data: PreparedDataset, cases: pd.DataFrame, allow_missing: bool) -> dict[str, Path]:
    """The file of each case.

    Raises:
        InputError: the folder does not exist, a file matches no case, or a case has no file and this is not allowed.
    """
    if not predictions.is_dir():
        raise InputError(f"{predictions}: the folder does not exist; give the folder of the predictions")
    endings, ids = file_endings(data), [str(case) for case in cases["case"]]
    pairing = pair(predictions, data.cases["case"].tolist(), endings)
    files = {case: pairing.files[case] for case in ids if case in pairing.files}
    missing = [file_name(case, endings[0]) for case in ids if case not in files]
    if pairing.unmatched:
        example = f", such as {missing[0]}" if missing else ""
        raise InputError(
            f"{pairing.unmatched[0]}: {len(pairing.unmatched)} files, this one first, belong to no test case; remove "
            f"them, or name them as the test cases{example}"
        )
    untested = {case: path for case, path in pairing.files.items() if case not in files}
    if untested:
        case, path = next(iter(untested.items()))
        raise InputError(
            f"{path}: {len(untested)} files, this one first, belong to no test case, as '{case}' is a "
            f"{data.cases.set_index('case')['part'][case]} case; remove them"
        )
    if missing and (not allow_missing or len(missing) == len(ids)):
        raise InputError(
            f"{predictions}: {len(missing)} of {len(ids)} test cases have no file, the first is {missing[0]}; "
            + _remedy_for_missing(missing[0].removesuffix(endings[0]), endings, pairing.others, bool(files))
        )
    if missing:
        _log.warning(
            "%d of %d test cases have no file and are left out, the first is %s", len(missing), len(ids), missing[0]
        )
    if any(pairing.affixes):
        case, path = max(files.items(), key=lambda file: len(file[1].name) - len(file[0]))
        _log.warning("file names have more text than case ids: %s is matched to case '%s'", path.name, case)
    if pairing.others:
        _log.info(
            "ignored %d files without the suffix %s, such as %s",
            len(pairing.others),
            " or ".join(endings),
            pairing.others[0].name,
        )
    return files


def _remedy_for_missing(case: str, endings: Sequence[str], others: Sequence[Path], some: bool) -> str:
    convertible = [path.name for path in others if path.name.startswith(f"{case}.")]
    if convertible:
        return f"convert {convertible[0]} and the other files to {endings[0]}"
    if some:
        return "add them or give --allow-missing"
    if others:
        return f"give a folder with one {' or '.join(endings)} file per case; this one holds {others[-1].name}"
    return "the folder is empty; give the folder of the predictions"


def _scores(
    labels: NDArray[np.uint8],
    native: NDArray[np.uint8],
    data: PreparedDataset,
    case: pd.Series,
    lesions: LesionRule | None,
) -> Iterator[Score]:
    masks: NDArray[np.uint8] = np.asarray(data.masks[case["first"] : case["first"] + case["slices"]])
    published = labels if data.volumes else FITTINGS[data.fit].labels(labels, (masks.shape[1], masks.shape[2]))
    spacing, rule = data.spacing(case["case"]), lesions and lesions.of_case(data, case["case"])
    return score_labels(published, labels, masks, native, spacing, len(data.classes), rule)


def summarise(records: pd.DataFrame) -> pd.DataFrame:
    """Mean of each metric of the policy and of false structures, over cases with a defined value, then over classes.

    Args:
        records: metric records of one run under one condition.

    Returns:
        One row per protocol and metric, in the order of :data:`spectralseg.metrics.policy.POLICY`: ``protocol``,
        ``metric``, ``mean``, ``cases``, the number of cases with a record, and ``undefined``, the number of excluded
        values, one per class and case. Metrics without a record have no row; ``false_structure`` is recorded only where
        the reference is empty.
    """
    return pd.DataFrame(
        [
            {"protocol": protocol, "metric": metric, **_mean(selected)}
            for protocol, metrics in POLICY.items()
            for metric in (*metrics, FALSE_STRUCTURE)
            if len(selected := records[(records["protocol"] == protocol) & (records["metric"] == metric)])
        ],
        columns=["protocol", "metric", "mean", "cases", "undefined"],
    )


def _mean(records: pd.DataFrame) -> Mapping[str, float | int]:
    return {
        "mean": float(records.groupby("class", observed=True)["value"].mean().mean()),
        "cases": int(records["case"].nunique()),
        "undefined": int(records["value"].isna().sum()),
    }
