"""Leaked test cases.

Test cases that also occur in a training dataset: same id, same bytes, near-duplicate by perceptual hash, same patient
or family; and the number of test cases without a match. Above it, validation cases that match training cases, and
duplicates within training data. The CSV has one row for each compared pair of datasets.

Every test set is compared with every training dataset of equal channels. A result on a test image that the model was
trained on is no evidence for new images.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pandas as pd

from spectralseg.data.audit import KINDS, Audit, count_by_part
from spectralseg.data.splits import PARTS
from spectralseg.outputs import title_of
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.rendering import Block, Entry, Line, Page, Section, counted
from spectralseg.reporting.results import Results
from spectralseg.reporting.table import Table

ANY = "any"
LABELS = {
    "id": "same id",
    "bytes": "same bytes",
    "near_duplicate": "near-duplicate",
    "group": "same patient",
    ANY: "any of these",
}
ROLES = {"ood": "Out of distribution", "own": "Own test set", "other": "Matching, but not tested together"}
LEGEND = (
    "Test cases that match a case of the training dataset, as the sum over its training + validation + test part; each "
    "is counted under the first part that matches. Right: test cases without a match in the training part; in the "
    "training and validation part; in any part. Bold: leaks from training or validation data. Datasets with different "
    "numbers of channels are not compared."
)


def build(results: Results) -> Table:
    """One row per pair of datasets that the study uses, and per other pair with a match.

    The cells have one row for each compared pair, with columns ``<kind>_<part>`` (test cases whose first match of this
    kind is in that part), ``any_<part>`` and ``left_<part>`` (without a match up to that part).

    Raises:
        InputError: there was no audit.
    """
    audit = results.require_audit()
    cells = pd.DataFrame([_counts(pair, audit) for pair in audit.pairs.to_dict("records")])
    visible_pairs = cells[(cells["role"] != "other") | (cells["finding"] != "")]
    roles = [role for role in ROLES if role in set(visible_pairs["role"])]
    page = Page(
        name="leakage",
        title=title_of(__doc__),
        warnings=(*results.banner, *(f"Leakage audit. {finding}." for finding in audit.findings())),
        row_headings=("Training dataset", "Test dataset"),
        sections=(
            Section("", "", tuple(_block(ROLES[role], visible_pairs[visible_pairs["role"] == role]) for role in roles)),
        ),
        legend=LEGEND,
        notes=(*_notes(cells, visible_pairs), _development_note(audit.development)),
    )
    return Table(page, cells.assign(source=cells["test_dataset"].map(results.origin)))


def _counts(pair: dict[Any, Any], audit: Audit) -> dict[str, Any]:
    leaks = audit.between(pair["train_dataset"], pair["test_dataset"])
    by_kind = {kind: count_by_part(leaks[leaks["kind"] == kind]) for kind in KINDS} | {ANY: count_by_part(leaks)}
    left = pair["cases"] - pd.Series(by_kind[ANY]).cumsum()
    return {
        **{name: pair[name] for name in ("train_dataset", "test_dataset", "role", "cases", "not_hashed")},
        **{f"{kind}_{part}": count for kind, counts in by_kind.items() for part, count in counts.items()},
        **{f"left_{part}": int(left[part]) for part in PARTS},
        "finding": pair["finding"],
    }


def _block(title: str, cells: pd.DataFrame) -> Block:
    groups = ("", *("Test cases with",) * len(LABELS), *("Left without a match in",) * len(PARTS))
    headings = ("Test cases", *LABELS.values(), "training", "+ validation", "+ test")
    rows = (
        Line(
            dataset_label(pair["train_dataset"]),
            dataset_label(pair["test_dataset"]),
            (
                Entry(str(pair["cases"])),
                *(_entry([pair[f"{kind}_{part}"] for part in PARTS]) for kind in LABELS),
                *(Entry(str(pair[f"left_{part}"])) for part in PARTS),
            ),
        )
        for pair in cells.to_dict("records")
    )
    return Block(title, groups, headings, tuple(rows))


def _entry(counts: list[int]) -> Entry:
    """``529 = 108 + 61 + 360``, or ``0``."""
    total = sum(counts)
    return Entry(f"{total} = {' + '.join(map(str, counts))}" if total else "0", bold=counts[-1] < total)


def _notes(cells: pd.DataFrame, visible_pairs: pd.DataFrame) -> Iterable[str]:
    for pair in cells.to_dict("records"):
        by_id = [pair[f"id_{part}"] for part in PARTS]
        if any(by_id):
            left = ", ".join(str(pair["cases"] - leaks) for leaks in itertools.accumulate(by_id))
            names = f"{dataset_label(pair['train_dataset'])} → {dataset_label(pair['test_dataset'])}"
            yield f"{names}: by ids alone, {left} test cases would remain."
    not_hashed = visible_pairs[visible_pairs["not_hashed"] > 0].drop_duplicates("test_dataset")
    for pair in not_hashed.to_dict("records"):
        yield f"{dataset_label(pair['test_dataset'])}: {counted(pair['not_hashed'], 'blank test case')} not hashed."
    rest = len(cells) - len(visible_pairs)
    if rest:
        yield f"Also compared, without any match: {counted(rest, 'pair')} not tested together; see the CSV."


def _development_note(development: pd.DataFrame) -> str:
    if development.empty:
        return "Training and validation cases were not compared with each other; rerun 'spectralseg leakage'."
    matching = development.loc[development["matching"] > 0, "dataset"].nunique()
    return (
        "Training and validation cases of each training dataset were also compared with each other: "
        f"{matching} of {development['dataset'].nunique()} datasets have matches."
    )
