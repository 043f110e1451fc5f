"""Published splits as data, and the rules that assign cases to train, validation and test."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources

from spectralseg.data.cases import Case
from spectralseg.data.specification import Split
from spectralseg.errors import InputError

PARTS = ("train", "validation", "test")


def available() -> list[str]:
    """Names of the published lists."""
    return sorted(p.name.removesuffix(".csv") for p in resources.files(__name__).iterdir() if p.name.endswith(".csv"))


def read_list(name: str) -> dict[str, str]:
    """A published list as {id: part}. Lines that start with ``#`` give its provenance."""
    file = resources.files(__name__) / f"{name}.csv"
    if not file.is_file():
        raise InputError(f"split list '{name}' is unknown; available: {', '.join(available())}")
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {row["id"]: row["part"] for row in csv.DictReader(lines)}


def assign(
    cases: Sequence[Case], rule: Split, *, dataset: str, validation: float = 0.1, allow_partial: bool = False
) -> dict[str, str]:
    """Give every case a part of :data:`PARTS`; groups never straddle parts.

    Args:
        cases: the cases that were found, without excluded ones.
        rule: the rule of the dataset's specification.
        dataset: name that seeds the order in which groups are drawn.
        validation: share of training groups that becomes the validation part where the rule names none.
        allow_partial: accept that cases of a published list are missing.

    Raises:
        InputError: cases are missing or unknown, or a group would straddle two parts.
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
    return parts


def _from_list(cases: Sequence[Case], name: str, key: str, allow_partial: bool) -> dict[str, str]:
    listed = read_list(name)
    found = {case.id: getattr(case, "id" if key == "case" else "group") for case in cases}
    unknown = sorted(set(found.values()) - set(listed))
    if unknown:
        raise InputError(
            f"split list '{name}' does not name {_few(unknown)}; exclude them with a reason or choose another list"
        )
    missing = sorted(set(listed) - set(found.values()))
    if missing and not allow_partial:
        raise InputError(
            f"{len(missing)} of {len(listed)} cases of split list '{name}' are missing: {_few(missing)}; "
            "complete the data or set 'allow_partial: true' for this dataset"
        )
    return {case_id: listed[value] for case_id, value in found.items()}


def _from_attribute(cases: Sequence[Case], rule: Split, dataset: str) -> dict[str, str]:
    """A group that the attribute divides goes where most of its cases lie; of equals, the first of :data:`PARTS`."""
    votes: dict[str, Counter[str]] = {}
    for case in cases:
        value = case.attributes.get(str(rule.attribute))
        if value is None:
            raise InputError(f"{dataset}: case '{case.id}' has no attribute '{rule.attribute}' to split by")
        part = "test" if value in rule.test else "validation" if value in rule.validation else "train"
        votes.setdefault(case.group, Counter())[part] += 1
    return {case.id: max(PARTS, key=lambda part: votes[case.group][part]) for case in cases}


def _draw(groups: Iterable[str], share: float, dataset: str, purpose: str) -> set[str]:
    """A share of groups, at least one but never all, in an order fixed by name: others that join move few groups."""
    ranked = sorted(groups, key=lambda group: hashlib.sha256(f"{dataset}/{purpose}/{group}".encode()).hexdigest())
    return set(ranked[: min(max(1, round(share * len(ranked))), len(ranked) - 1)])


def _refuse_straddling(cases: Sequence[Case], parts: dict[str, str], dataset: str) -> None:
    seen: dict[str, str] = {}
    for case in cases:
        if seen.setdefault(case.group, parts[case.id]) != parts[case.id]:
            raise InputError(
                f"{dataset}: group '{case.group}' lies in two parts ({seen[case.group]} and "
                f"{parts[case.id]}); mend the split list"
            )


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
