"""Published splits as data, and rules that assign cases to the training, validation and test part."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from spectralseg import registry
from spectralseg.data.cases import Case
from spectralseg.data.patterns import composed
from spectralseg.data.specification import DatasetSpecification, Split
from spectralseg.errors import InputError

PARTS = ("train", "validation", "test")
ACCEPT_PARTIAL = "accept a subset: --allow-partial on the command line, 'allow_partial: true' in a configuration"


def available() -> list[str]:
    """Names of the published lists."""
    return sorted(p.name.removesuffix(".csv") for p in resources.files(__name__).iterdir() if p.name.endswith(".csv"))


@dataclass(frozen=True)
class SplitList:
    """A list with the part of every case or group.

    Attributes:
        parts: id → part of :data:`PARTS`.
        key: whether ids are of a ``case`` or a ``group``; None if the file leaves it to the specification.
        provenance: source of the list, from its comments.
        sha256: checksum of the file.
    """

    parts: dict[str, str]
    key: str | None
    provenance: str
    sha256: str


def read_list(name: str) -> SplitList:
    """Read a published list by name, or a list of the user by the path of a ``.csv`` file.

    Lines that start with ``#`` give the provenance. A header and one line per id follow. The first column is ``id``,
    ``case`` or ``group``, the second ``part``. Surrounding spaces are ignored.

    Raises:
        InputError: the list is unknown or unreadable, an id is duplicate, or a part is not in :data:`PARTS`.
    """
    own = name.endswith(".csv")
    file = Path(name) if own else resources.files(__name__) / f"{name}.csv"
    if own and not file.is_file():
        problem = "is a folder" if file.is_dir() else "is missing"
        raise InputError(f"{name}: the split list {problem}; check the path of the .csv file")
    if not file.is_file():
        raise InputError(f"split list '{name}' is unknown; give a .csv file, or one of: {', '.join(available())}")
    try:
        content = file.read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: cannot be read as a split list ({error}); give a text file") from None
    try:
        table = csv.reader(line for line in lines if line.strip() and not line.startswith("#"))
        rows = [[composed(cell.strip()) for cell in row] for row in table]
    except csv.Error as error:
        raise InputError(f"{name}: cannot be read as a split list ({error}); give lines of id and part") from None
    if not rows or len(rows[0]) != 2 or rows[0][0] not in ("id", "case", "group") or rows[0][1] != "part":
        raise InputError(f"{name}: a split list starts with the header 'case,part' or 'group,part'; add it")
    parts: dict[str, str] = {}
    for row in rows[1:]:
        if len(row) != 2 or not row[0] or row[1] not in PARTS:
            raise InputError(f"{name}: line '{','.join(row)[:100]}' is not an id and one of {', '.join(PARTS)}; fix it")
        if row[0] in parts:
            raise InputError(f"{name}: '{row[0]}' is listed twice; keep one line")
        parts[row[0]] = row[1]
    provenance = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    key = None if rows[0][0] == "id" else rows[0][0]
    return SplitList(parts, key, provenance, hashlib.sha256(content).hexdigest())


def choose(specification: DatasetSpecification, name: str | None = None) -> Split:
    """The split of a dataset: its default, one of its alternatives, or a list in a ``.csv`` file.

    Raises:
        InputError: there is no such alternative.
    """
    if name is None:
        return specification.split
    if name.endswith(".csv"):
        return Split(list=name, key="group" if read_list(name).key == "group" else "case")
    if name not in specification.alternative_splits:
        alternatives = specification.alternative_splits
        hint = registry.suggest(name, alternatives) if alternatives else "it has no alternatives: use its default"
        raise InputError(f"{specification.name}: there is no split '{name}'; {hint}, or give a .csv file")
    return specification.alternative_splits[name]


def describe(rule: Split) -> dict[str, Any]:
    """A rule as recorded in the prepared dataset, with provenance and checksum of a list."""
    description = rule.model_dump(exclude_defaults=True)
    if rule.list is not None:
        split_list = read_list(rule.list)
        description |= {"provenance": split_list.provenance, "sha256": split_list.sha256}
    return description


def assign(
    cases: Sequence[Case], rule: Split, *, dataset: str, validation: float = 0.1, allow_partial: bool = False
) -> dict[str, str]:
    """Assign every case to a part of :data:`PARTS`; groups are never split between parts.

    Args:
        cases: the cases without excluded ones.
        rule: the rule of the specification.
        dataset: name of the dataset, which seeds random splits.
        validation: share of training groups in the validation part, if the rule has none; at least one group, unless it
            is the only one.
        allow_partial: accept missing cases of a published list, even all cases of a part.

    Raises:
        InputError: cases are missing or unknown, a group is in two parts, or the training or test part is empty.
    """
    if rule.list is not None:
        parts = _from_list(cases, rule.list, rule.key, allow_partial)
    elif rule.attribute is not None:
        parts = _from_attribute(cases, rule, dataset)
    elif rule.random is not None:
        test = _draw({case.group for case in cases}, rule.random, dataset, "test")
        parts = {case.id: "test" if case.group in test else "train" for case in cases}
    else:
        return {case.id: "test" for case in cases}

    if "validation" not in parts.values():
        train = {case.group for case in cases if parts[case.id] == "train"}
        held_out = _draw(train, validation, dataset, "validation")
        parts.update({c.id: "validation" for c in cases if parts[c.id] == "train" and c.group in held_out})
    _refuse_straddling(cases, parts, dataset)
    # A list without training cases is for testing only.
    trains = rule.list is None or "train" in read_list(rule.list).parts.values()
    for part in ("train", "test") if trains else ("test",):
        if part not in parts.values() and not allow_partial:
            raise InputError(
                f"{dataset}: the split leaves none of the {len(cases)} cases for '{part}'; complete the data or choose "
                "another split"
            )
    return parts


def _from_list(cases: Sequence[Case], name: str, key: str, allow_partial: bool) -> dict[str, str]:
    parts = read_list(name).parts
    if "test" not in parts.values():
        raise InputError(f"split list '{name}' has no test case; give at least one the part 'test'")
    ids = {case.id: getattr(case, "id" if key == "case" else "group") for case in cases}
    unknown = sorted(set(ids.values()) - set(parts))
    if unknown:
        raise InputError(
            f"split list '{name}' does not contain {_few(unknown)}; exclude them with a reason or choose another list"
        )
    missing = sorted(set(parts) - set(ids.values()))
    if missing and not allow_partial:
        raise InputError(
            f"{len(missing)} of {len(parts)} cases of split list '{name}' are missing: {_few(missing)}; "
            f"complete the data or {ACCEPT_PARTIAL}"
        )
    return {case_id: parts[value] for case_id, value in ids.items()}


def _from_attribute(cases: Sequence[Case], rule: Split, dataset: str) -> dict[str, str]:
    """Assign each group to the part of most of its cases; ties go to the first of :data:`PARTS`."""
    votes: dict[str, Counter[str]] = {}
    for case in cases:
        value = case.attributes.get(str(rule.attribute))
        if value is None:
            raise InputError(f"{dataset}: case '{case.id}' has no attribute '{rule.attribute}' to split by")
        part = "test" if value in rule.test else "validation" if value in rule.validation else "train"
        votes.setdefault(case.group, Counter())[part] += 1
    return {case.id: max(PARTS, key=lambda part: votes[case.group][part]) for case in cases}


def _draw(groups: Iterable[str], share: float, dataset: str, purpose: str) -> set[str]:
    """A share of groups, at least one but not all, ranked by a hash, so that additional groups move few others."""
    ranked = sorted(groups, key=lambda group: hashlib.sha256(f"{dataset}/{purpose}/{group}".encode()).hexdigest())
    return set(ranked[: min(max(1, round(share * len(ranked))), len(ranked) - 1)])


def _refuse_straddling(cases: Sequence[Case], parts: dict[str, str], dataset: str) -> None:
    part_of: dict[str, str] = {}
    for case in cases:
        if part_of.setdefault(case.group, parts[case.id]) != parts[case.id]:
            raise InputError(
                f"{dataset}: group '{case.group}' is in two parts ({part_of[case.group]} and "
                f"{parts[case.id]}); fix the split list"
            )


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
