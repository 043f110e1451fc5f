"""The leakage audit: which test cases does training data show as well?

Four kinds of match are looked for between every training dataset and every test dataset of equal channels, and within
every dataset:

==================  ============================================================================================
``id``              the same case id, between datasets of one id namespace
``bytes``           image files with the same SHA-256
``near_duplicate``  images that look the same: perceptual hash, confirmed by the correlation of thumbnails
``group``           another picture of the same patient or family, between datasets of one id namespace
==================  ============================================================================================

A match with the training part is a leak, with the validation part one by way of model selection. A match with the
test part of another training dataset is none, but results in and out of distribution then rest on the same images.

Within the training and validation part of a dataset, the same bytes and near-duplicates are looked for as well. They
are no test leaks: a validation case that matches a training case biases model selection and early stopping, and a case
that a part holds twice has twice the weight there.

Two slices look the same if their perceptual hashes (256 bits, from the lowest frequencies of 64 x 64 grey pixels)
differ in at most 32 bits and their grey thumbnails (32 x 32) correlate with at least 0.95. ``docs/leakage.md`` gives
the measurements behind these limits, and what they cannot find: mirrored, rotated and cropped copies. A case counts as
near-duplicate of another if that one matches at least half of its slices that show anything; an image is one slice.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from spectralseg.data.prepared import PreparedDataset
from spectralseg.data.splits import PARTS, read_list
from spectralseg.errors import InputError
from spectralseg.files import csv_text, replacing_all, write_parquet
from spectralseg.loading import read_csv, read_parquet
from spectralseg.progress import progress_bar

EXACT = {"id": "case", "bytes": "image_sha256", "group": "group"}  # kinds of match, and the column that agrees
KINDS = ("id", "bytes", "near_duplicate", "group")
LEAKS = ("train_dataset", "test_dataset", "test_case", "kind", "train_case", "train_part", "distance")
PAIRS = ("train_dataset", "test_dataset", "role", "cases", "not_hashed", *PARTS, "finding")
REPEATS = ("dataset", "case", "part", "kind", "match", "match_part", "distance")
DEVELOPMENT = ("dataset", "part", "match_part", "cases", "not_hashed", "matching", "finding")
_DEVELOPMENT = {  # which parts of a dataset are compared, and what a match does
    ("validation", "train"): ("validation cases match training cases", "biases model selection"),
    ("validation", "validation"): ("validation cases match other validation cases", "weigh more in model selection"),
    ("train", "train"): ("training cases match other training cases", "weigh more in training"),
}
_NAMED = 3  # matches that a finding names
HASH_SIDE, HASH_BITS, CORRELATION, SLICES = 16, 32, 0.95, 0.5
_THUMBNAIL = 32
_FLAT = 2.0  # standard deviation in grey levels of 255, below which a slice shows nothing
_BLOCK = 1 << 20  # pairs of slices that are compared at a time


@dataclass(frozen=True)
class Audit:
    """What was compared and what was found.

    Attributes:
        pairs: one row per compared pair of datasets, columns :data:`PAIRS`. ``role`` is ``own`` (a dataset with
            itself), ``ood`` (the training dataset names the other as its partner) or ``other``. ``cases`` counts the
            test cases, ``not_hashed`` those without an informative slice. ``train``, ``validation`` and ``test``
            count the test cases with a match, each under the first of these parts that it matches. ``finding`` says
            the same in a sentence, empty where nothing was found.
        leaks: one row per match, columns :data:`LEAKS`. ``distance`` is the number of hash bits that differ, over the
            matching slices the median; NaN for other kinds.
        development: one row per dataset with a training part and pair of parts, columns :data:`DEVELOPMENT`; none
            where an older version audited.
            ``matching`` counts the cases of ``part`` that match another case in ``match_part``, ``cases`` all of them,
            ``not_hashed`` those without an informative slice. ``finding`` as above.
        repeats: one row per match within training and validation part of a dataset, columns :data:`REPEATS`; two
            cases of one part are in one row, in the order of their ids.
    """

    pairs: pd.DataFrame
    leaks: pd.DataFrame
    development: pd.DataFrame = field(default_factory=lambda: _no_rows(DEVELOPMENT))
    repeats: pd.DataFrame = field(default_factory=lambda: _no_rows(REPEATS))

    def between(self, training: str, test: str) -> pd.DataFrame:
        """The matches of one pair of datasets."""
        return self.leaks[(self.leaks["train_dataset"] == training) & (self.leaks["test_dataset"] == test)]

    def findings(self, pairs: Collection[tuple[str, str]] | None = None) -> list[str]:
        """What was found, in sentences: on test cases first, then within training and validation data.

        Args:
            pairs: training and test datasets; what was found between these, and within these training datasets.
                Everything by default.
        """
        tested, developed = self.pairs, self.development
        if pairs is not None:
            tested = tested[pd.MultiIndex.from_frame(tested[["train_dataset", "test_dataset"]]).isin(list(pairs))]
            developed = developed[developed["dataset"].isin({training for training, _ in pairs})]
        return [finding for finding in (*tested["finding"], *developed["finding"]) if finding]

    def among(self, datasets: Collection[str]) -> Audit:
        """The audit of some datasets only."""

        def rows(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
            return table[table[list(columns)].isin(list(datasets)).all(axis=1)].reset_index(drop=True)

        tested = ("train_dataset", "test_dataset")
        return Audit(
            rows(self.pairs, *tested),
            rows(self.leaks, *tested),
            rows(self.development, "dataset"),
            rows(self.repeats, "dataset"),
        )

    @property
    def matching(self) -> pd.DataFrame:
        """The pairs with any match."""
        return self.pairs[(self.pairs[list(PARTS)] > 0).any(axis=1)]

    @property
    def used(self) -> pd.DataFrame:
        """The pairs that are tested together, with how many test cases were ``seen`` in training or model selection,
        those with most first.
        """
        pairs = self.pairs[self.pairs["role"] != "other"]
        pairs = pairs.assign(seen=pairs["train"] + pairs["validation"])
        return pairs.sort_values(["seen", "test"], ascending=False, kind="stable")

    def seen(self, beyond: str) -> pd.MultiIndex:
        """(training dataset, test dataset, test case) of every match in the parts up to ``beyond``."""
        found = self.leaks[self.leaks["train_part"].isin(_up_to(beyond))]
        return pd.MultiIndex.from_frame(found[["train_dataset", "test_dataset", "test_case"]].drop_duplicates())

    @property
    def reported_twice(self) -> pd.DataFrame:
        """The pairs whose results are reported with and without leaked test cases: training and test dataset differ, or
        test cases match training or validation data.
        """
        differ = self.pairs["train_dataset"] != self.pairs["test_dataset"]
        return self.pairs[differ | (self.pairs["train"] + self.pairs["validation"] > 0)]

    def refuse(self) -> None:
        """Stop where datasets that are tested together have test cases that match training or validation data.

        Raises:
            InputError: names the pair with the most of them.
        """
        findings = self.used.loc[self.used["seen"] > 0, "finding"].tolist()
        if findings:
            more = f" (further pairs that leak: {len(findings) - 1})" if findings[1:] else ""
            raise InputError(
                f"{findings[0]}{more}; choose other splits or test data, or drop --fail-on-leakage "
                "('fail_on_leakage: false' in a configuration)"
            )

    def write(self, file: Path) -> None:
        """Write the matches as parquet and the pairs beside it as ``.csv`` of the same name.

        What was found within training and validation data is written alike, see :func:`development_file`.
        """
        within = development_file(file)
        files = (file, file.with_suffix(".csv"), within, within.with_suffix(".csv"))
        with replacing_all(*files) as (leaks, pairs, repeats, development):
            write_parquet(leaks, self.leaks)
            pairs.write_text(csv_text(self.pairs), encoding="utf-8")
            write_parquet(repeats, self.repeats)
            development.write_text(csv_text(self.development), encoding="utf-8")


def development_file(file: Path) -> Path:
    """Where the matches within training and validation data are written: ``leakage_development.parquet``."""
    return file.with_name(f"{file.stem}_development{file.suffix}")


def read_audit(file: Path) -> Audit:
    """Read what :meth:`Audit.write` wrote.

    Raises:
        InputError: a file is missing, damaged or has other columns.
    """
    leaks, pairs = _read(file, LEAKS, PAIRS)
    within = development_file(file)
    if not within.exists() and not within.with_suffix(".csv").exists():
        return Audit(pairs, leaks)  # by a version that did not compare training with validation cases
    repeats, development = _read(within, REPEATS, DEVELOPMENT)
    return Audit(pairs, leaks, development, repeats)


def _read(file: Path, matching: Sequence[str], counted: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    told = "a leakage audit", "run 'spectralseg leakage' again"
    matches = read_parquet(file, *told, matching, exact=True).to_pandas()
    counts = read_csv(file.with_suffix(".csv"), *told, counted, exact=True, dtype=None)
    return matches, counts


def audit(datasets: Sequence[PreparedDataset]) -> Audit:
    """Compare every dataset that has a training part with every one that has a test part, and each with itself.

    Training and validation cases of a dataset are compared with each other as well. Pairs of datasets whose images
    differ in channels are not compared.

    Raises:
        InputError: two datasets have one name.
    """
    names = [data.name for data in datasets]
    if len(set(names)) < len(names):
        raise InputError(f"dataset '{max(names, key=names.count)}' is given twice; give each prepared dataset once")
    prints = {data.name: fingerprint(data) for data in datasets}
    pairs, leaks = [], []
    development: list[dict[str, str | int]] = []
    repeats: list[pd.DataFrame] = []
    for training, test in itertools.product(datasets, datasets):
        trains, tests = "train" in set(training.cases["part"]), "test" in set(test.cases["part"])
        if tests and (trains or training is test) and training.info["channels"] == test.info["channels"]:
            leaks.append(_matches(training, test, prints))
            pairs.append(_summary(training, test, prints[test.name], leaks[-1]))
    for data in datasets:
        if "train" in set(data.cases["part"]):
            repeats.append(_repeats(data, prints[data.name]))
            development += _development(data, prints[data.name], repeats[-1])
    empty = no_audit()
    return Audit(
        pd.DataFrame(pairs, columns=list(PAIRS)) if pairs else empty.pairs,
        pd.concat(leaks, ignore_index=True) if leaks else empty.leaks,
        pd.DataFrame(development, columns=list(DEVELOPMENT)) if development else empty.development,
        pd.concat(repeats, ignore_index=True) if repeats else empty.repeats,
    )


def no_audit() -> Audit:
    """An audit that compared nothing."""
    return Audit(_no_rows(PAIRS), _no_rows(LEAKS))


def leak_free(leaks: pd.DataFrame, cases: Iterable[str], beyond: str) -> list[str]:
    """Test cases without a match in any part up to ``beyond``, in their order.

    Args:
        leaks: matches of one pair of datasets.
        cases: ids of the test cases.
        beyond: ``train`` leaves out what training shows, ``validation`` also what model selection saw, ``test`` also
            what the test part of the training dataset holds.
    """
    seen = set(leaks.loc[leaks["train_part"].isin(_up_to(beyond)), "test_case"])
    return [case for case in cases if case not in seen]


def count_by_part(leaks: pd.DataFrame) -> dict[str, int]:
    """How many test cases match each part; every one counts under the first of :data:`PARTS` that it matches."""
    first = leaks["train_part"].map(PARTS.index).groupby(leaks["test_case"]).min().value_counts()
    return {part: int(first.get(index, 0)) for index, part in enumerate(PARTS)}


def listed(name: str) -> pd.DataFrame:
    """Cases of a published split list as :func:`exact_matches` takes them: columns ``case`` and ``part``."""
    parts = read_list(name).parts
    return pd.DataFrame({"case": parts.keys(), "part": parts.values()}, dtype="str")


def exact_matches(
    kind: str, training: pd.DataFrame, test: pd.DataFrame, parts: Collection[str] = ("test",)
) -> pd.DataFrame:
    """Test cases that agree with cases of another table in what a kind compares. Empty values never agree.

    Args:
        kind: a key of :data:`EXACT`.
        training: cases of any part, with columns ``case``, ``part`` and the one that is compared.
        test: the same; only its test cases are looked at, or those of other parts.
        parts: these parts.

    Returns:
        Columns ``test_case``, ``kind``, ``train_case``, ``train_part`` and ``distance``.
    """
    left, right = (frame.assign(key=frame[EXACT[kind]])[["key", "case", "part"]] for frame in (test, training))
    both = left[left["part"].isin(parts) & (left["key"] != "")].merge(right, on="key", suffixes=("_test", "_train"))
    return _rows(kind, both["case_test"], both["case_train"], both["part_train"], np.nan)


@dataclass(frozen=True)
class Fingerprints:
    """What the cases of a dataset look like, slice by slice; slices that show nothing are left out.

    Attributes:
        cases: the case table.
        case: row of each slice's case in that table, int64 (n,).
        bits: perceptual hashes, uint64 (n, 4).
        thumbnail: grey thumbnails without their mean and of unit length, float32 (n, 1024).
    """

    cases: pd.DataFrame
    case: NDArray[np.int64]
    bits: NDArray[np.uint64]
    thumbnail: NDArray[np.float32]

    def of(self, *parts: str) -> Fingerprints:
        """Those of some parts; the case table stays whole."""
        here = self.cases["part"].isin(parts).to_numpy()[self.case]
        return Fingerprints(self.cases, self.case[here], self.bits[here], self.thumbnail[here])


def fingerprint(data: PreparedDataset) -> Fingerprints:
    """Hash every slice of a prepared dataset that is not nearly constant."""
    case, bits, thumbnail = [], [], []
    spans = list(zip(data.cases["first"], data.cases["slices"], strict=True))
    for index, (first, slices) in enumerate(progress_bar(spans, desc=f"hash {data.name}", unit="case")):
        for image in data.images[first : first + slices]:
            grey = _grey(image)
            if grey.std() < _FLAT:
                continue
            small = cv2.resize(grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
            small -= small.mean()
            case.append(index)
            bits.append(np.packbits(imagehash.phash(Image.fromarray(grey), HASH_SIDE).hash))
            thumbnail.append(small.ravel() / max(float(np.linalg.norm(small)), 1e-6))
    return Fingerprints(
        data.cases,
        np.array(case, np.int64),
        np.array(bits, np.uint8).reshape(len(case), HASH_SIDE**2 // 8).view(np.uint64),
        np.array(thumbnail, np.float32).reshape(len(case), _THUMBNAIL**2),
    )


def near_duplicates(training: Fingerprints, test: Fingerprints, parts: Collection[str] = ("test",)) -> pd.DataFrame:
    """Cases of the test part, or of other parts, that look like a case of another dataset.

    Columns are those of :func:`exact_matches`.
    """
    test = test.of(*parts)
    found = [np.empty((0, 3), np.int64)]
    rows = max(1, _BLOCK // max(1, len(training.bits)))
    for start in range(0, len(test.bits), rows):
        block = slice(start, start + rows)
        distance = np.zeros((len(test.bits[block]), len(training.bits)), np.uint16)
        for left, right in zip(test.bits[block].T, training.bits.T, strict=True):
            distance += np.bitwise_count(left[:, None] ^ right[None, :])
        i, j = np.nonzero(distance <= HASH_BITS)
        (rows_here, row), (columns_here, column) = (np.unique(one, return_inverse=True) for one in (i, j))
        correlation = test.thumbnail[block][rows_here] @ training.thumbnail[columns_here].T
        alike = correlation[row, column] >= CORRELATION
        i, j = i[alike], j[alike]
        found.append(np.column_stack([start + i, training.case[j], distance[i, j]]))
    slices = pd.DataFrame(np.concatenate(found), columns=["slice", "train", "distance"])
    nearest = slices.groupby(["slice", "train"], as_index=False)["distance"].min()
    pairs = (
        nearest.assign(test=test.case[nearest["slice"]])
        .groupby(["test", "train"], as_index=False)
        .agg(distance=("distance", "median"), slices=("slice", "size"))
    )
    informative = np.bincount(test.case, minlength=1)
    pairs = pairs[pairs["slices"] >= SLICES * informative[pairs["test"]]]
    cases, twins = test.cases["case"].iloc[pairs["test"]], training.cases.iloc[pairs["train"]]
    return _rows("near_duplicate", cases, twins["case"], twins["part"], pairs["distance"])


def _matches(training: PreparedDataset, test: PreparedDataset, prints: Mapping[str, Fingerprints]) -> pd.DataFrame:
    kinds = EXACT if training.id_namespace == test.id_namespace else ("bytes",)
    found = [exact_matches(kind, training.cases, test.cases) for kind in kinds]
    leaks = pd.concat([*found, near_duplicates(prints[training.name], prints[test.name])])
    # Another picture of the patient, not the one that the id has found already.
    leaks = leaks[(leaks["kind"] != "group") | (leaks["test_case"] != leaks["train_case"])]
    if training is test:
        # That a test set holds each case once, and several pictures of a patient, is no finding.
        group = test.cases.set_index("case")["group"]
        alike = group[leaks["test_case"]].to_numpy() == group[leaks["train_case"]].to_numpy()
        leaks = leaks[~(alike & (leaks["train_part"] == "test").to_numpy())]
    leaks = leaks.assign(train_dataset=training.name, test_dataset=test.name)
    return leaks[list(LEAKS)].sort_values(["test_case", "kind", "train_case"], ignore_index=True)


def _repeats(data: PreparedDataset, prints: Fingerprints) -> pd.DataFrame:
    """Matches within training and validation part; see :attr:`Audit.repeats`."""
    parts = ("train", "validation")
    developed = data.cases[data.cases["part"].isin(parts)]
    matches = exact_matches("bytes", developed, developed, parts), near_duplicates(prints.of(*parts), prints, parts)
    found = pd.concat(matches, ignore_index=True)
    cases = data.cases.set_index("case")
    found = found.assign(part=cases["part"][found["test_case"]].to_numpy())
    # Several pictures of a patient in one part look alike, which is no finding; the same file twice is one.
    group = cases["group"]
    alike = (group[found["test_case"]].to_numpy() == group[found["train_case"]].to_numpy()) & (
        found["part"] == found["train_part"]
    )
    found = found[(found["test_case"] != found["train_case"]) & ~(alike & (found["kind"] == "near_duplicate"))]
    # Each of two cases may match the other. They are put in one order: validation before training, then by id.
    turn = (found["part"] == "train") & (found["train_part"] == "validation")
    turn |= (found["part"] == found["train_part"]) & (found["test_case"] > found["train_case"])
    found = found.rename(columns={"test_case": "case", "train_case": "match", "train_part": "match_part"})
    for one, other in (("case", "match"), ("part", "match_part")):
        found[one], found[other] = found[one].mask(turn, found[other]), found[other].mask(turn, found[one])
    repeats: pd.DataFrame = found.assign(dataset=data.name)[list(REPEATS)].sort_values(list(REPEATS))
    return repeats.drop_duplicates(list(REPEATS[:-1]), ignore_index=True)


def _development(data: PreparedDataset, prints: Fingerprints, repeats: pd.DataFrame) -> Iterator[dict[str, str | int]]:
    """Rows of :attr:`Audit.development` of one dataset."""
    for part, match_part in _DEVELOPMENT:
        here = repeats[(repeats["part"] == part) & (repeats["match_part"] == match_part)]
        matching = set(here["case"]) | (set(here["match"]) if part == match_part else set())
        cases = int((data.cases["part"] == part).sum())
        pairs = list(dict.fromkeys(zip(here["case"], here["match"], strict=True)))
        yield {
            "dataset": data.name,
            "part": part,
            "match_part": match_part,
            "cases": cases,
            "not_hashed": cases - len(np.unique(prints.of(part).case)),
            "matching": len(matching),
            "finding": _within(data.name, part, match_part, cases, len(matching), pairs),
        }


def _within(
    dataset: str, part: str, match_part: str, cases: int, matching: int, pairs: Sequence[tuple[str, str]]
) -> str:
    """How many cases of a part match others within training and validation data; empty where none does."""
    if not matching:
        return ""
    named = ", ".join(" = ".join(pair) for pair in pairs[:_NAMED])
    more = f" and {len(pairs) - _NAMED} more" if pairs[_NAMED:] else ""
    names, effect = _DEVELOPMENT[part, match_part]
    return f"{dataset}: {matching} of {cases} {names} ({named}{more}), which {effect}"


def _rows(
    kind: str, test: pd.Series[str], train: pd.Series[str], part: pd.Series[str], distance: pd.Series[float] | float
) -> pd.DataFrame:
    cases = {"test_case": test.to_numpy(), "train_case": train.to_numpy(), "train_part": part.to_numpy()}
    found = pd.DataFrame(cases, dtype="str").assign(kind=kind, distance=np.asarray(distance))
    return found.astype({"kind": "str", "distance": "float64"})


def _summary(
    training: PreparedDataset, test: PreparedDataset, prints: Fingerprints, leaks: pd.DataFrame
) -> dict[str, str | int]:
    cases = test.cases.loc[test.cases["part"] == "test", "case"]
    counts = count_by_part(leaks)
    partner = "ood" if test.name in training.info["ood"] else "other"
    return {
        "train_dataset": training.name,
        "test_dataset": test.name,
        "role": "own" if training is test else partner,
        "cases": len(cases),
        "not_hashed": len(cases) - len(np.unique(prints.of("test").case)),
        **counts,
        "finding": finding(training.name, test.name, len(cases), counts),
    }


def finding(training: str, test: str, cases: int, counts: Mapping[str, int]) -> str:
    """How many test cases match which parts of a training dataset, as a sentence; empty where none does."""
    matches = ", ".join(f"{counts[part]} {part}" for part in PARTS if counts[part])
    if not matches:
        return ""
    subject, other = (training, "other ") if training == test else (f"{training} → {test}", "")
    total = sum(counts[part] for part in PARTS)
    return f"{subject}: {total} of {cases} test cases match {other}cases of {training} ({matches})"


def _no_rows(columns: Sequence[str]) -> pd.DataFrame:
    numbers = {"distance": "float64", **dict.fromkeys(("cases", "not_hashed", "matching", *PARTS), "int64")}
    return pd.DataFrame({name: pd.Series(dtype=numbers.get(name, "str")) for name in columns})


def _up_to(part: str) -> tuple[str, ...]:
    return PARTS[: PARTS.index(part) + 1]


def _grey(image: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
    """A slice (S, S, 1 or 3) of any unsigned type as 8-bit grey (S, S)."""
    eight = image if image.dtype == np.uint8 else (image >> 8 * (image.itemsize - 1)).astype(np.uint8)
    return eight[..., 0] if eight.shape[-1] == 1 else np.asarray(Image.fromarray(eight).convert("L"))
