"""The leakage audit: compare test cases with training data, and training with validation cases.

Every training dataset is compared with every test dataset of equal channels, and every dataset with itself. There are
four kinds of match:

==================  ============================================================================================
``id``              the same case id, between datasets of one id namespace
``bytes``           image files with the same SHA-256
``near_duplicate``  near-duplicate images: perceptual hash, confirmed by the correlation of thumbnails
``group``           another image of the same patient or family, between datasets of one id namespace
==================  ============================================================================================

A test case that matches the training part, or the validation part by way of model selection, is leaked. A match with
the test part of another training dataset is not a leak, but results in and out of distribution then use the same
images.

Within the training and validation part of a dataset, equal bytes and near-duplicates are reported, too. They are not
leaked test cases: a validation case that matches a training case biases model selection and early stopping, and
duplicates within a part have twice the weight there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from spectralseg.data.audit import DEVELOPMENT, LEAKS, PAIRS, REPEATS, Audit, count_by_part, finding, no_audit
from spectralseg.data.duplicates import EXACT, ImageHashes, exact_matches, hash_images, near_duplicates
from spectralseg.data.prepared import PreparedDataset
from spectralseg.errors import InputError

_DEVELOPMENT = {  # (part, part it is compared with): what matches mean, and their effect
    ("validation", "train"): ("validation cases match training cases", "biases model selection"),
    ("validation", "validation"): ("validation cases match other validation cases", "weigh more in model selection"),
    ("train", "train"): ("training cases match other training cases", "weigh more in training"),
}
_LISTED = 3  # matches that a finding names


def audit_datasets(datasets: Sequence[PreparedDataset]) -> Audit:
    """Compare every dataset that has a training part with every one that has a test part, and each with itself.

    Training and validation cases of a dataset are compared with each other, too. Pairs of datasets whose images differ
    in channels are not compared.

    Raises:
        InputError: two datasets have one name.
    """
    names = [data.name for data in datasets]
    if len(set(names)) < len(names):
        raise InputError(f"dataset '{max(names, key=names.count)}' is given twice; give each prepared dataset once")
    hashes = {data.name: hash_images(data) for data in datasets}
    pairs, leaks = [], []
    development: list[dict[str, str | int]] = []
    repeats: list[pd.DataFrame] = []
    for training, test in itertools.product(datasets, datasets):
        trains, tests = "train" in set(training.cases["part"]), "test" in set(test.cases["part"])
        if tests and (trains or training is test) and training.info["channels"] == test.info["channels"]:
            leaks.append(_leaks(training, test, hashes))
            pairs.append(_summary(training, test, hashes[test.name], leaks[-1]))
    for data in datasets:
        if "train" in set(data.cases["part"]):
            repeats.append(_repeats(data, hashes[data.name]))
            development += _development(data, hashes[data.name], repeats[-1])
    empty = no_audit()
    return Audit(
        pd.DataFrame(pairs, columns=list(PAIRS)) if pairs else empty.pairs,
        pd.concat(leaks, ignore_index=True) if leaks else empty.leaks,
        pd.DataFrame(development, columns=list(DEVELOPMENT)) if development else empty.development,
        pd.concat(repeats, ignore_index=True) if repeats else empty.repeats,
    )


def _leaks(training: PreparedDataset, test: PreparedDataset, hashes: Mapping[str, ImageHashes]) -> pd.DataFrame:
    """Matches of one pair of datasets; see :attr:`Audit.leaks`."""
    kinds = EXACT if training.id_namespace == test.id_namespace else ("bytes",)
    exact = [exact_matches(kind, training.cases, test.cases) for kind in kinds]
    leaks = pd.concat([*exact, near_duplicates(hashes[training.name], hashes[test.name])])
    # The same case of the same patient already counts as a match of ids.
    leaks = leaks[(leaks["kind"] != "group") | (leaks["test_case"] != leaks["train_case"])]
    if training is test:
        # Within a test set, a case matches itself and may match other cases of its patient: no leak.
        group = test.cases.set_index("case")["group"]
        same_group = group[leaks["test_case"]].to_numpy() == group[leaks["train_case"]].to_numpy()
        leaks = leaks[~(same_group & (leaks["train_part"] == "test").to_numpy())]
    leaks = leaks.assign(train_dataset=training.name, test_dataset=test.name)
    return leaks[list(LEAKS)].sort_values(["test_case", "kind", "train_case"], ignore_index=True)


def _summary(
    training: PreparedDataset, test: PreparedDataset, hashes: ImageHashes, leaks: pd.DataFrame
) -> dict[str, str | int]:
    """A row of :attr:`Audit.pairs`."""
    cases = test.cases.loc[test.cases["part"] == "test", "case"]
    counts = count_by_part(leaks)
    partner = "ood" if test.name in training.info["ood"] else "other"
    return {
        "train_dataset": training.name,
        "test_dataset": test.name,
        "role": "own" if training is test else partner,
        "cases": len(cases),
        "not_hashed": len(cases) - len(np.unique(hashes.of("test").case)),
        **counts,
        "finding": finding(training.name, test.name, len(cases), counts),
    }


def _repeats(data: PreparedDataset, hashes: ImageHashes) -> pd.DataFrame:
    """Matches within training and validation part; see :attr:`Audit.repeats`."""
    parts = ("train", "validation")
    table = data.cases[data.cases["part"].isin(parts)]
    kinds = exact_matches("bytes", table, table, parts), near_duplicates(hashes.of(*parts), hashes, parts)
    matches = pd.concat(kinds, ignore_index=True)
    cases = data.cases.set_index("case")
    matches = matches.assign(part=cases["part"][matches["test_case"]].to_numpy())
    # Near-duplicates of one patient in one part are expected and not reported; equal files are.
    group = cases["group"]
    same_group = (group[matches["test_case"]].to_numpy() == group[matches["train_case"]].to_numpy()) & (
        matches["part"] == matches["train_part"]
    )
    expected = same_group & (matches["kind"] == "near_duplicate")
    matches = matches[(matches["test_case"] != matches["train_case"]) & ~expected]
    # Either of two cases may match the other. Order each pair: validation before training, then by id.
    swap = (matches["part"] == "train") & (matches["train_part"] == "validation")
    swap |= (matches["part"] == matches["train_part"]) & (matches["test_case"] > matches["train_case"])
    matches = matches.rename(columns={"test_case": "case", "train_case": "match", "train_part": "match_part"})
    for a, b in (("case", "match"), ("part", "match_part")):
        matches[a], matches[b] = matches[a].mask(swap, matches[b]), matches[b].mask(swap, matches[a])
    repeats: pd.DataFrame = matches.assign(dataset=data.name)[list(REPEATS)].sort_values(list(REPEATS))
    return repeats.drop_duplicates(list(REPEATS[:-1]), ignore_index=True)


def _development(data: PreparedDataset, hashes: ImageHashes, repeats: pd.DataFrame) -> Iterator[dict[str, str | int]]:
    """Rows of :attr:`Audit.development` of one dataset."""
    for part, match_part in _DEVELOPMENT:
        matches = repeats[(repeats["part"] == part) & (repeats["match_part"] == match_part)]
        matching = set(matches["case"]) | (set(matches["match"]) if part == match_part else set())
        cases = int((data.cases["part"] == part).sum())
        pairs = list(dict.fromkeys(zip(matches["case"], matches["match"], strict=True)))
        yield {
            "dataset": data.name,
            "part": part,
            "match_part": match_part,
            "cases": cases,
            "not_hashed": cases - len(np.unique(hashes.of(part).case)),
            "matching": len(matching),
            "finding": _development_finding(data.name, part, match_part, cases, len(matching), pairs),
        }


def _development_finding(
    dataset: str, part: str, match_part: str, cases: int, matching: int, pairs: Sequence[tuple[str, str]]
) -> str:
    """Sentence with the number of cases of a part that match others; empty without matches."""
    if not matching:
        return ""
    examples = ", ".join(" = ".join(pair) for pair in pairs[:_LISTED])
    more = f" and {len(pairs) - _LISTED} more" if pairs[_LISTED:] else ""
    subject, effect = _DEVELOPMENT[part, match_part]
    return f"{dataset}: {matching} of {cases} {subject} ({examples}{more}), which {effect}"
