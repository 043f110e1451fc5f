"""Scores of folders of predictions against a folder of references, and an audit of both. Needs no prepared dataset."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectralseg.corruptions import CLEAN
from spectralseg.errors import InputError
from spectralseg.evaluation.lesions import LesionRule
from spectralseg.evaluation.score import score_labels
from spectralseg.exchange.case_matching import Pairing, pair
from spectralseg.exchange.inspection import Inspection
from spectralseg.exchange.prediction_folders import PredictionFolder
from spectralseg.exchange.references import References
from spectralseg.grid import Run
from spectralseg.metrics.lesions import tercile_limits
from spectralseg.metrics.records import COLUMNS, WHOLE_CASE
from spectralseg.progress import progress_bar


class Finding(NamedTuple):
    """A result of the audit.

    Attributes:
        where: the references, or a folder of predictions.
        what: the finding, a clause with its number.
        names: of the cases or files, if there are any.
    """

    where: str
    what: str
    names: tuple[str, ...] = ()


class FolderScores(NamedTuple):
    """Metric records, and the findings of the audit."""

    records: pd.DataFrame
    findings: tuple[Finding, ...]


def score_folders(
    references: References,
    folders: Sequence[PredictionFolder],
    *,
    objective: str,
    trained_on: str | None = None,
    allow_missing: bool = False,
    lesions: bool = False,
) -> FolderScores:
    """Score every folder under both protocols; all files are checked before the first one is scored.

    Files are scored in the geometry of the references. Under ``published``, too, as the resolution of the network is
    unknown: only the values for missing structures, the definition of HD95 and its unit differ.

    Args:
        references: the references.
        folders: the predictions.
        objective: recorded for every method.
        trained_on: dataset that the methods were trained on; default the name of the references.
        allow_missing: leave out cases without a file and files without a case; the audit counts them.
        lesions: also compute lesion metrics, with terciles of the lesions of the references as limits of their size.

    Raises:
        InputError: a case has no file, a file no case, or a file cannot be scored.
    """
    pairings = {folder: _pairing(references, folder, allow_missing) for folder in folders}
    digests = {folder: _check(references, pairing.files, folder.label) for folder, pairing in pairings.items()}
    rule = None
    if lesions:
        rule = LesionRule(None, tercile_limits(references.lesion_sizes()), references.in_mm)
    inspections = {folder: Inspection(references.classes.names) for folder in folders}
    rows: dict[PredictionFolder, list[tuple[Any, ...]]] = {folder: [] for folder in folders}
    names = [WHOLE_CASE, *references.classes.names]
    for case, details in progress_bar(references.cases.items(), desc="score", unit="case", total=len(references.cases)):
        reference, spacing = references.labels(case), references.spacing(case)
        for folder, pairing in pairings.items():
            if case not in pairing.files:
                continue
            labels = references.prediction(case, pairing.files[case])
            inspections[folder].add(case, labels, reference)
            scores = score_labels(labels, labels, reference[None], reference, spacing, len(names) - 1, rule)
            keys = (*_keys(references, folder, objective, trained_on), case, details.group)
            rows[folder] += [(*keys, names[label], *rest) for label, *rest in scores]
    records = pd.DataFrame(list(itertools.chain.from_iterable(rows.values())), columns=list(COLUMNS))
    findings = (
        *_of_references(references),
        *(finding for folder in folders for finding in _of_folder(references, folder, pairings[folder])),
        *_identical(digests),
        *(Finding(folder.label, text) for folder, inspection in inspections.items() for text in inspection.findings()),
    )
    return FolderScores(records, findings)


def _keys(references: References, folder: PredictionFolder, objective: str, trained_on: str | None) -> tuple[Any, ...]:
    dataset = trained_on or references.name
    run = Run(dataset, folder.method, objective, "0", folder.seed)
    return *run.keys.values(), "iid" if dataset == references.name else "ood", references.name, CLEAN, "0"


def _pairing(references: References, folder: PredictionFolder, allow_missing: bool) -> Pairing:
    """The files of a folder.

    Raises:
        InputError: a case has no file or a file no case and this is not allowed, or no case has a file.
    """
    cases, endings = list(references.cases), references.endings
    pairing = pair(folder.path, cases, endings)
    missing = [case for case in cases if case not in pairing.files]
    if not pairing.files:
        raise InputError(f"{folder.path}: {_why_no_file(pairing, cases, endings)}")
    if pairing.unmatched and not allow_missing:
        raise InputError(
            f"{pairing.unmatched[0]}: {len(pairing.unmatched)} files, this one first, belong to no reference; remove "
            "them, name them as the references, or give --allow-missing"
        )
    if missing and not allow_missing:
        raise InputError(
            f"{folder.path}: {len(missing)} of {len(cases)} references have no prediction, the first is "
            f"'{missing[0]}'; add them or give --allow-missing"
        )
    return pairing


def _why_no_file(pairing: Pairing, cases: Sequence[str], endings: Sequence[str]) -> str:
    accepted = " or ".join(endings)
    if pairing.unmatched:
        return (
            f"none of its {len(pairing.unmatched)} files, such as {pairing.unmatched[0].name}, belongs to one of the "
            f"{len(cases)} references, such as '{cases[0]}'; name them as the references"
        )
    inner = [path.name for path in pairing.others if path.is_dir()]
    if inner:
        return (
            f"has no {accepted} file but folders such as {inner[-1]}; give the folder with the files, or name folders "
            "of seeds seed0, seed1 and so on"
        )
    if pairing.others:
        example = pairing.others[-1].name
        return f"has no {accepted} file, but {example}; convert the predictions to the kind of the references"
    return "is empty; give the folder of the predictions"


def _check(references: References, files: Mapping[str, Path], label: str) -> dict[str, bytes]:
    """Read all predictions of a folder; returns a checksum of each that is not empty."""
    digests = {}
    for case, path in progress_bar(files.items(), desc=f"check {label}", unit="case", total=len(files)):
        labels = references.prediction(case, path)
        if labels.any():
            digests[case] = _digest(labels)
    return digests


def _digest(labels: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(repr(labels.shape).encode() + np.ascontiguousarray(labels).tobytes()).digest()


def _of_references(references: References) -> Iterator[Finding]:
    where, cases = references.name, references.cases
    first: dict[str, str] = {}
    duplicates = [
        f"{case} = {first[details.sha256]}"
        for case, details in cases.items()
        if not details.empty and first.setdefault(details.sha256, case) != case
    ]
    yield from _some(where, "references with the bytes of another one", duplicates)
    empty = [case for case, details in cases.items() if details.empty]
    yield from _some(where, f"of {len(cases)} references without foreground", empty)
    yield from _some(where, "entries ignored", [path.name for path in references.ignored])


def _of_folder(references: References, folder: PredictionFolder, pairing: Pairing) -> Iterator[Finding]:
    where, cases = folder.label, references.cases
    missing = [case for case in cases if case not in pairing.files]
    yield from _some(where, f"of {len(cases)} references without a prediction, left out", missing)
    yield from _some(where, "files without a reference, left out", [path.name for path in pairing.unmatched])
    ignored = [path.name for path in (*pairing.others, *folder.ignored)]
    yield from _some(where, f"entries without the suffix {' or '.join(references.endings)}, ignored", ignored)
    if any(pairing.affixes):
        before, after = pairing.affixes
        example = max((path.name for path in pairing.files.values()), key=len)
        yield Finding(where, f"names have '{before}' before and '{after}' after the id of the case", (example,))


def _identical(digests: Mapping[PredictionFolder, Mapping[str, bytes]]) -> Iterator[Finding]:
    """Predictions that are equal, and not empty, in two folders."""
    for first, second in itertools.combinations(digests, 2):
        common = [case for case in digests[first] if case in digests[second]]
        equal = [case for case in common if digests[first][case] == digests[second][case]]
        where = f"{first.label} and {second.label}"
        yield from _some(where, f"of {len(common)} predictions are identical", equal)


def _some(where: str, what: str, names: Sequence[str]) -> Iterator[Finding]:
    if names:
        yield Finding(where, f"{len(names)} {what}", tuple(names))
