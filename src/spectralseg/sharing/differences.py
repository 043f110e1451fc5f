"""What the studies of several laboratories do not have in common: versions, settings, data and runs."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from spectralseg.errors import InputError
from spectralseg.grid import Run
from spectralseg.metrics.records import COLUMNS, DIVERGED, RUN_KEYS
from spectralseg.run_folder import CHECKSUM
from spectralseg.sharing.manifest import Manifest

# Settings of the machine and of pages, on which no number depends.
_IRRELEVANT = ("name", "downloads", "runs_per_gpu", "tables", "figures", "studies")
_IRRELEVANT_OF_DATASETS = ("path", "mirrors")
_DEFINITIONS = ("architectures", "objectives", "pretraining")  # what the names of methods stand for
BY_NAME = (*_DEFINITIONS, "datasets")  # sections of entries by name, which a laboratory may lack
_MOST_NAMES = 8
_NOT_SET = "not set"
_REFUSALS = {  # problem and remedy by kind of difference
    "version": (
        "the laboratories used versions whose numbers may differ",
        "train again with one version, or give --allow-different-versions",
    ),
    "setting": ("methods of the same name differ", "rename the method in one of the configurations and run it again"),
    "data": ("the laboratories have different data", "prepare the same data, or give --allow-different-data"),
}


@dataclass(frozen=True)
class Study:
    """The unpacked bundle of a laboratory.

    Attributes:
        bundle: the archive, for messages.
        manifest: its manifest.
        config: its configuration as plain values.
        records: its metric records.
        descriptions: content of ``run.json`` by run.
    """

    bundle: Path
    manifest: Manifest
    config: Mapping[str, Any]
    records: pd.DataFrame
    descriptions: Mapping[Run, Mapping[str, Any]]

    @cached_property
    def by_run(self) -> dict[Run, pd.DataFrame]:
        """The records of each run, sorted."""
        order = [name for name in COLUMNS if name != "value"]
        ordered = self.records.sort_values(order, ignore_index=True)
        rows = ordered.groupby(list(RUN_KEYS), observed=True).indices
        parts = (ordered.iloc[places].reset_index(drop=True) for places in rows.values())
        return {Run.of({key: part[key].tolist()[0] for key in RUN_KEYS}): part for part in parts}

    @property
    def laboratory(self) -> str:
        """Name of the laboratory."""
        return self.manifest.laboratory


@dataclass(frozen=True)
class Difference:
    """One thing in which laboratories differ.

    Attributes:
        what: ``version``, ``setting`` or ``data``.
        name: the version's kind, the key of the configuration, or the dataset.
        values: the value of each laboratory, in their order.
        conflict: whether the laboratories may therefore not be compared.
    """

    what: str
    name: str
    values: tuple[str, ...]
    conflict: bool

    def text(self, laboratories: Iterable[str]) -> str:
        """The difference as a clause: ``training.iterations: 80 (north), 100 (south)``."""
        pairs = zip(self.values, laboratories, strict=True)
        return f"{self.name}: {', '.join(f'{value} ({laboratory})' for value, laboratory in pairs)}"


def differences(studies: list[Study]) -> list[Difference]:
    """All differences between the studies: of versions, then settings, then data."""
    return [*_versions(studies), *_settings(studies), *_data(studies)]


def compatible_version(version: str) -> str:
    """The part of a semantic version whose change may change numbers: ``0.1`` of ``0.1.7``, ``2`` of ``2.3.4``."""
    major, _, rest = version.partition(".")
    return f"0.{rest.partition('.')[0]}" if major == "0" else major


def _versions(studies: list[Study]) -> Iterator[Difference]:
    for name, values in (
        ("version of the package that trained", [study.manifest.versions for study in studies]),
        ("version of the package that bundled", [[study.manifest.version] for study in studies]),
        ("commit of the package that trained", [study.manifest.commits for study in studies]),
    ):
        if len(set(map(tuple, values))) > 1:
            numbers = {compatible_version(version) for versions in values for version in versions}
            conflict = len(numbers) > 1 and "commit" not in name
            yield Difference("version", name, tuple(", ".join(part) or _NOT_SET for part in values), conflict)


def _settings(studies: list[Study]) -> Iterator[Difference]:
    flat = [dict(_flat(study.config)) for study in studies]
    for key in sorted(set().union(*flat)):
        values = [settings.get(key, _NOT_SET) for settings in flat]
        section, *rest = key.split(".")
        if section in _IRRELEVANT or (section == "datasets" and rest[1:2] and rest[1] in _IRRELEVANT_OF_DATASETS):
            continue
        present = [
            value
            for value, study in zip(values, studies, strict=True)
            if section not in BY_NAME or not rest or rest[0] in study.config.get(section, {})
        ]
        if any(value != present[0] for value in present):
            yield Difference("setting", key, tuple(map(str, values)), section in _DEFINITIONS)


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Values with their keys, dotted; lists are values."""
    if isinstance(value, Mapping) and (value or not key):
        for name, part in value.items():
            yield from _flat(part, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _data(studies: list[Study]) -> Iterator[Difference]:
    for name in sorted(set().union(*(study.manifest.datasets for study in studies))):
        identities = [
            dict(_flat(study.manifest.datasets[name].identity)) if name in study.manifest.datasets else None
            for study in studies
        ]
        present = [identity for identity in identities if identity is not None]
        keys = sorted({key for identity in present for key in identity})
        changed = [key for key in keys if len({str(identity.get(key)) for identity in present}) > 1]
        if changed:
            values = tuple(_summary(identity, changed) for identity in identities)
            yield Difference("data", f"dataset '{name}', {', '.join(changed)}", values, True)


def _summary(identity: Mapping[str, Any] | None, keys: list[str]) -> str:
    return "not prepared" if identity is None else " ".join(_short(identity.get(key, _NOT_SET)) for key in keys)


def _short(value: Any) -> str:
    """A value, or the start of a checksum."""
    text = str(value)
    return text[:12] if len(text) == 64 else text[:40]


def refuse_conflicts(studies: list[Study], conflicts: list[Difference], allowed: Collection[str]) -> None:
    """Refuse studies that may not be compared.

    Args:
        studies: the studies.
        conflicts: their differences.
        allowed: kinds of differences that are accepted, ``data`` and ``version``.

    Raises:
        InputError: they differ in data or in versions, unless that is allowed, or in the definition of a method.
    """
    laboratories = [study.laboratory for study in studies]
    for what, (problem, remedy) in _REFUSALS.items():
        texts = [item.text(laboratories) for item in conflicts if item.what == what and item.conflict]
        if texts and what not in allowed:
            where = ", ".join(str(study.bundle) for study in studies)
            raise InputError(f"{where}: {problem}: {some(texts, '; ')}; {remedy}")


def some(texts: list[str], separator: str = ", ") -> str:
    """The first texts, and the number of the others."""
    more = len(texts) - _MOST_NAMES
    return separator.join(texts[:_MOST_NAMES]) + (f"{separator}and {more} more" if more > 0 else "")


def repeated_runs(studies: list[Study]) -> dict[str, dict[Run, str]]:
    """By laboratory, runs that an earlier laboratory has as well, with that one's name: the same weights and records.

    Raises:
        InputError: two laboratories have the same weights of a run with other records.
    """
    repeated: dict[str, dict[Run, str]] = {}
    for first, second in itertools.combinations(studies, 2):
        for run in sorted(set(first.by_run) & set(second.by_run)):
            equal = first.by_run[run].equals(second.by_run[run])
            one, other = (study.descriptions.get(run, {}).get(CHECKSUM) for study in (first, second))
            if not equal and one == other is not None:
                raise InputError(
                    f"{second.bundle}: has the same weights of run {run.folder} as {first.bundle} with other records; "
                    "leave one of the bundles out, or evaluate the run with the same version in both"
                )
            if equal and not _diverged(first.by_run[run]):
                repeated.setdefault(second.laboratory, {}).setdefault(run, first.laboratory)
    return repeated


def _diverged(records: pd.DataFrame) -> bool:
    """Whether the records are those of a run that diverged, which may be equal for different runs."""
    return bool((records["metric"] == DIVERGED).all())
