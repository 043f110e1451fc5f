"""Result of the leakage audit: test cases that overlap with training data, and duplicates within training data.

:func:`spectralseg.data.audit_datasets.audit_datasets` computes an :class:`Audit`. :meth:`Audit.write` and
:func:`read_audit` store it as two parquet and two CSV files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from spectralseg.data.splits import PARTS
from spectralseg.errors import InputError
from spectralseg.files import csv_text, replacing_all, write_parquet
from spectralseg.loading import read_csv, read_parquet

KINDS = ("id", "bytes", "near_duplicate", "group")
LEAKS = ("train_dataset", "test_dataset", "test_case", "kind", "train_case", "train_part", "distance")
PAIRS = ("train_dataset", "test_dataset", "role", "cases", "not_hashed", *PARTS, "finding")
REPEATS = ("dataset", "case", "part", "kind", "match", "match_part", "distance")
DEVELOPMENT = ("dataset", "part", "match_part", "cases", "not_hashed", "matching", "finding")
_PAIR = ["train_dataset", "test_dataset"]


@dataclass(frozen=True)
class Audit:
    """Compared datasets and their matching cases.

    Attributes:
        pairs: one row per compared pair of datasets, columns :data:`PAIRS`. ``role`` is ``own`` (a dataset with
            itself), ``ood`` (the training dataset names the other as its partner) or ``other``. ``cases`` counts the
            test cases, ``not_hashed`` those without an informative slice. ``train``, ``validation`` and ``test``
            count the test cases with a match, each under the first of these parts that it matches. ``finding`` is
            the same as a sentence, empty without matches.
        leaks: one row per match, columns :data:`LEAKS`. ``distance`` is the median number of differing hash bits over
            the matching slices; NaN for other kinds than near-duplicates.
        development: one row per dataset with a training part and pair of parts, columns :data:`DEVELOPMENT`.
            ``matching`` counts the cases of ``part`` that match another case in ``match_part``, ``cases`` all of them,
            ``not_hashed`` those without an informative slice. ``finding`` as above. Empty for audits by older versions.
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
        """Sentences on leaked test cases, then on duplicates within training and validation data.

        Args:
            pairs: (training dataset, test dataset) to which the sentences are restricted; all by default.
        """
        tested, developed = self.pairs, self.development
        if pairs is not None:
            tested = tested[pd.MultiIndex.from_frame(tested[_PAIR]).isin(list(pairs))]
            developed = developed[developed["dataset"].isin({training for training, _ in pairs})]
        return [finding for finding in (*tested["finding"], *developed["finding"]) if finding]

    def among(self, datasets: Collection[str]) -> Audit:
        """The audit restricted to some datasets."""

        def rows(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
            return table[table[list(columns)].isin(list(datasets)).all(axis=1)].reset_index(drop=True)

        return Audit(
            rows(self.pairs, *_PAIR),
            rows(self.leaks, *_PAIR),
            rows(self.development, "dataset"),
            rows(self.repeats, "dataset"),
        )

    @property
    def matching(self) -> pd.DataFrame:
        """The pairs with any match."""
        return self.pairs[(self.pairs[list(PARTS)] > 0).any(axis=1)]

    @property
    def used(self) -> pd.DataFrame:
        """The pairs that are tested together, those with most leaked test cases first.

        Column ``leaked`` counts the test cases that match training or validation data.
        """
        pairs = self.pairs[self.pairs["role"] != "other"]
        pairs = pairs.assign(leaked=pairs["train"] + pairs["validation"])
        return pairs.sort_values(["leaked", "test"], ascending=False, kind="stable")

    def leaked_cases(self, up_to: str) -> pd.MultiIndex:
        """(training dataset, test dataset, test case) of all leaked test cases; ``up_to`` as for :func:`leak_free`."""
        leaks = self.leaks[self.leaks["train_part"].isin(_parts(up_to))]
        return pd.MultiIndex.from_frame(leaks[[*_PAIR, "test_case"]].drop_duplicates())

    @property
    def reported_twice(self) -> pd.DataFrame:
        """The pairs whose results are reported with and without leaked test cases: training and test dataset differ, or
        test cases match training or validation data.
        """
        differ = self.pairs["train_dataset"] != self.pairs["test_dataset"]
        return self.pairs[differ | (self.pairs["train"] + self.pairs["validation"] > 0)]

    def refuse(self) -> None:
        """Refuse leaked test cases of datasets that are tested together.

        Raises:
            InputError: test cases match training or validation data; names the pair with most of them.
        """
        findings = self.used.loc[self.used["leaked"] > 0, "finding"].tolist()
        if findings:
            more = f" (further pairs that leak: {len(findings) - 1})" if findings[1:] else ""
            raise InputError(
                f"{findings[0]}{more}; choose other splits or test data, or drop --fail-on-leakage "
                "('fail_on_leakage: false' in a configuration)"
            )

    def write(self, file: Path) -> None:
        """Write :attr:`leaks` to a parquet file and :attr:`pairs` to the ``.csv`` file of the same name.

        :attr:`repeats` and :attr:`development` are written alike, see :func:`development_file`.
        """
        within = development_file(file)
        files = (file, file.with_suffix(".csv"), within, within.with_suffix(".csv"))
        with replacing_all(*files) as (leaks, pairs, repeats, development):
            write_parquet(leaks, self.leaks)
            pairs.write_text(csv_text(self.pairs), encoding="utf-8")
            write_parquet(repeats, self.repeats)
            development.write_text(csv_text(self.development), encoding="utf-8")


def development_file(file: Path) -> Path:
    """File of the matches within training and validation data: ``leakage_development.parquet``."""
    return file.with_name(f"{file.stem}_development{file.suffix}")


def read_audit(file: Path) -> Audit:
    """Read the files of :meth:`Audit.write`.

    Raises:
        InputError: a file is missing, damaged or has other columns.
    """
    leaks, pairs = _read(file, LEAKS, PAIRS)
    within = development_file(file)
    if not within.exists() and not within.with_suffix(".csv").exists():
        return Audit(pairs, leaks)  # by a version that did not compare training with validation cases
    repeats, development = _read(within, REPEATS, DEVELOPMENT)
    return Audit(pairs, leaks, development, repeats)


def _read(file: Path, match_columns: Sequence[str], count_columns: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    kind, remedy = "a leakage audit", "run 'spectralseg leakage' again"
    matches = read_parquet(file, kind, remedy, match_columns, exact=True).to_pandas()
    counts = read_csv(file.with_suffix(".csv"), kind, remedy, count_columns, exact=True, dtype=None)
    return matches, counts


def no_audit() -> Audit:
    """An audit without any dataset."""
    return Audit(_no_rows(PAIRS), _no_rows(LEAKS))


def leak_free(leaks: pd.DataFrame, cases: Iterable[str], up_to: str) -> list[str]:
    """Test cases without a match in the parts up to ``up_to``, in their order.

    Args:
        leaks: matches of one pair of datasets.
        cases: ids of the test cases.
        up_to: ``train`` drops matches with the training part, ``validation`` also those with the validation part,
            ``test`` also those with the test part of the training dataset.
    """
    leaked = set(leaks.loc[leaks["train_part"].isin(_parts(up_to)), "test_case"])
    return [case for case in cases if case not in leaked]


def count_by_part(leaks: pd.DataFrame) -> dict[str, int]:
    """Number of test cases that match each part; each counts under the first of :data:`PARTS` that it matches."""
    first = leaks["train_part"].map(PARTS.index).groupby(leaks["test_case"]).min().value_counts()
    return {part: int(first.get(index, 0)) for index, part in enumerate(PARTS)}


def finding(training: str, test: str, cases: int, counts: Mapping[str, int]) -> str:
    """Sentence with the number of test cases that match each part of a training dataset; empty without matches."""
    matches = ", ".join(f"{counts[part]} {part}" for part in PARTS if counts[part])
    if not matches:
        return ""
    subject, other = (training, "other ") if training == test else (f"{training} → {test}", "")
    total = sum(counts[part] for part in PARTS)
    return f"{subject}: {total} of {cases} test cases match {other}cases of {training} ({matches})"


def _no_rows(columns: Sequence[str]) -> pd.DataFrame:
    numbers = {"distance": "float64", **dict.fromkeys(("cases", "not_hashed", "matching", *PARTS), "int64")}
    return pd.DataFrame({name: pd.Series(dtype=numbers.get(name, "str")) for name in columns})


def _parts(up_to: str) -> tuple[str, ...]:
    return PARTS[: PARTS.index(up_to) + 1]
