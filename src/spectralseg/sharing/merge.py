"""Merge the bundles of several laboratories: one table of records, and differences within and across laboratories."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from spectralseg import __version__
from spectralseg.data.archives import unpack
from spectralseg.errors import InputError
from spectralseg.files import creating_folder, dump_json, sha256_of, temporary_folder, write_parquet
from spectralseg.grid import Run
from spectralseg.loading import read_json
from spectralseg.metrics.records import COLUMNS, LABORATORY, RUN_KEYS, read_records
from spectralseg.parsing import read_yaml
from spectralseg.reporting.table import Table
from spectralseg.run_folder import DESCRIPTION
from spectralseg.sharing import contents
from spectralseg.sharing.differences import (
    BY_NAME,
    Difference,
    Study,
    differences,
    refuse_conflicts,
    repeated_runs,
    some,
)
from spectralseg.sharing.laboratories import laboratories_table
from spectralseg.sharing.manifest import Manifest, read_manifest
from spectralseg.statistics.laboratories import ALL, compare_laboratories

DESCRIPTION_OF_MERGE = "merge.json"
FOLDER = "laboratories"  # of the unpacked bundles, one folder each
_FORMAT = 1


@dataclass(frozen=True)
class Merge:
    """A written merge.

    Attributes:
        out: its folder.
        laboratories: names of the laboratories.
        table: the table ``laboratories``.
        records: number of records.
        remarks: sentences on differences, repeated runs, and what has no partner.
    """

    out: Path
    laboratories: list[str]
    table: Table
    records: int
    remarks: list[str]

    def text(self) -> str:
        """What was written, and what users must know about it."""
        size = sum(file.stat().st_size for file in self.out.rglob("*") if file.is_file())
        return "\n".join(
            [
                *self.remarks,
                f"{self.out}: {self.records:,} records of {len(self.laboratories)} laboratories "
                f"({', '.join(self.laboratories)}), {size / 2**20:.1f} MiB; read {self.out / 'laboratories.html'}",
            ]
        )


def merge(bundles: Sequence[Path], out: Path, *, baseline: str = "", allowed: Collection[str] = ()) -> Merge:
    """Merge the bundles of at least two laboratories into a new folder.

    It holds ``records.parquet`` with the column ``laboratory``, the table ``laboratories`` (CSV and pages),
    ``merge.json`` with the origin of everything, and the unpacked bundles in ``laboratories/``. A run that two bundles
    have with the same records counts once, for the laboratory that is given first.

    Args:
        bundles: zip files of :func:`spectralseg.sharing.bundle.write_bundle`; equal files count once.
        out: folder that does not exist yet.
        baseline: see :meth:`spectralseg.statistics.baseline.Baseline.of`; empty for that of the configurations.
        allowed: differences that are accepted, ``data`` and ``version``.

    Raises:
        InputError: a bundle is damaged, unsafe or was changed, two have one name, there is only one, they differ in
            versions, data or the definition of a method, or they have several baselines.
    """
    with creating_folder(out) as folder, temporary_folder(folder, "bundles") as scratch:
        files, remarks = _without_copies(bundles)
        studies = [_read(file, scratch / str(number)) for number, file in enumerate(files)]
        _refuse_same_names(studies)
        if len(studies) < 2:
            raise InputError(f"{bundles[0]}: is the only bundle; give those of two laboratories or more")
        conflicts = differences(studies)
        refuse_conflicts(studies, conflicts, allowed)
        repeated = repeated_runs(studies)
        names = [study.laboratory for study in studies]
        remarks += _remarks(conflicts, repeated, names)
        records = _joined(studies, repeated)
        effects, unpaired = compare_laboratories(records, baseline or _baseline(studies), "the merged records")
        if effects.empty:
            raise InputError(
                f"{', '.join(map(str, files))}: no method can be compared with the baseline in any laboratory; give "
                "another --baseline"
            )
        remarks += [*unpaired, *_without_comparison(effects, names)]
        table = laboratories_table(effects, names, remarks, demonstration=_demonstration(studies))
        write_parquet(folder / contents.RECORDS, records)
        table.write(folder)
        for number, study in enumerate(studies):
            target = folder / FOLDER / study.laboratory
            target.parent.mkdir(exist_ok=True)
            (scratch / str(number)).rename(target)
        dump_json(folder / DESCRIPTION_OF_MERGE, _description(studies, conflicts, repeated))
    return Merge(out, names, table, len(records), remarks)


def _without_copies(bundles: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The bundles without equal files, and a sentence on each that is left out."""
    by_content: dict[str, Path] = {}
    remarks = []
    for bundle in bundles:
        first = by_content.setdefault(sha256_of(bundle), bundle)
        if first is not bundle:
            remarks.append(f"{bundle} has the same content as {first} and counts once.")
    return list(by_content.values()), remarks


def _read(bundle: Path, folder: Path) -> Study:
    """Unpack and verify a bundle."""
    if bundle.suffix.lower() != ".zip":
        raise InputError(f"{bundle}: is not a zip file; give a bundle of 'spectralseg bundle'")
    unpack(bundle, folder)
    manifest = read_manifest(folder, bundle)
    for name in (contents.CONFIG, contents.RECORDS):
        if name not in manifest.files:
            raise InputError(f"{bundle}: has no {name}; bundle the study again")
    try:
        config = read_yaml(folder / contents.CONFIG)
        records = read_records(folder / contents.RECORDS)
        descriptions = dict(_descriptions(folder))
    except InputError as error:
        raise InputError(str(error).replace(f"{folder}/", f"{bundle}: ")) from None
    if not isinstance(config, dict):
        raise InputError(f"{bundle}: {contents.CONFIG} is not a mapping; bundle the study again")
    for section in (*BY_NAME, "comparison"):
        if not isinstance(config.get(section, {}), dict):
            raise InputError(f"{bundle}: {contents.CONFIG}: {section} is not a mapping; bundle the study again")
    return Study(bundle, manifest, config, _plain(records), descriptions)


def _plain(records: pd.DataFrame) -> pd.DataFrame:
    """Records with plain text instead of categories, which differ between files."""
    return records.astype({name: "str" for name in COLUMNS if name not in ("seed", "value")})


def _descriptions(folder: Path) -> list[tuple[Run, dict[str, Any]]]:
    files = sorted(folder.glob(f"{Run.parent}/*/*/*/*/*/{DESCRIPTION}"))
    kinds = {f"run.{key}": int if key == "seed" else str for key in RUN_KEYS}
    content = [read_json(file, "the description of a run", "bundle the study again", kinds) for file in files]
    return [(Run.of(description["run"]), description) for description in content]


def _refuse_same_names(studies: Sequence[Study]) -> None:
    by_name: dict[str, Study] = {}
    for study in studies:
        first = by_name.setdefault(study.laboratory.lower(), study)
        if first is not study:
            raise InputError(
                f"{study.bundle}: has the laboratory '{study.laboratory}', as {first.bundle} has; keep the newer one, "
                "or bundle one of them again with another --laboratory"
            )


def _baseline(studies: Sequence[Study]) -> str:
    """The baseline of all configurations."""
    names = {study.laboratory: _baseline_of(study) for study in studies}
    if len(set(names.values())) > 1:
        texts = ", ".join(f"'{name}' ({laboratory})" for laboratory, name in names.items())
        raise InputError(f"the laboratories have different baselines: {texts}; choose one with --baseline")
    return next(iter(names.values()))


def _baseline_of(study: Study) -> str:
    name = study.config.get("comparison", {}).get("baseline")
    return str(name or next(iter(study.config.get("objectives", {})), ""))


def _remarks(conflicts: Sequence[Difference], repeated: dict[str, dict[Run, str]], names: list[str]) -> list[str]:
    """Sentences on what the laboratories do not have in common, and on runs that count once."""
    texts = {
        "version": "Different versions (the numbers may differ for this reason)",
        "setting": "Different settings",
        "data": "Different data (the differences between laboratories include that)",
    }
    sentences = []
    for what, text in texts.items():
        if parts := [item.text(names) for item in conflicts if item.what == what]:
            sentences.append(f"{text}: {some(parts, '; ')}.")
    for laboratory, runs in repeated.items():
        folders = [f"{run.folder} ({first})" for run, first in runs.items()]
        sentences.append(f"{laboratory}: {len(runs)} runs equal those of another laboratory: {some(folders)}.")
    return sentences


def _without_comparison(effects: pd.DataFrame, names: list[str]) -> Iterator[str]:
    """Sentences on laboratories that the table lacks, and on the lack of rows across laboratories."""
    compared = set(effects[LABORATORY])
    yield from (f"{name}: no method can be compared with the baseline." for name in names if name not in compared)
    if ALL not in compared:
        yield "No comparison is common to two laboratories, so there is no row across them."


def _demonstration(studies: Sequence[Study]) -> bool:
    return any(dataset.source == "phantom" for study in studies for dataset in study.manifest.datasets.values())


def _joined(studies: Sequence[Study], repeated: dict[str, dict[Run, str]]) -> pd.DataFrame:
    """The records of all laboratories with the column ``laboratory``; repeated runs only of the first."""
    frames = [
        part.assign(**{LABORATORY: study.laboratory})
        for study in studies
        for run, part in study.by_run.items()
        if run not in repeated.get(study.laboratory, {})
    ]
    return pd.concat(frames, ignore_index=True)[[LABORATORY, *COLUMNS]]


def _description(
    studies: Sequence[Study], conflicts: Sequence[Difference], repeated: dict[str, dict[Run, str]]
) -> dict[str, Any]:
    names = [study.laboratory for study in studies]
    return {
        "format": _FORMAT,
        "version": __version__,
        "laboratories": {
            study.laboratory: {
                **{"bundle": study.bundle.name, "sha256": sha256_of(study.bundle), "study": study.manifest.study},
                **_facts(study.manifest),
            }
            for study in studies
        },
        "differences": [
            {"kind": item.what, "name": item.name, "values": dict(zip(names, item.values, strict=True))}
            for item in conflicts
        ],
        "counted_once": {name: {run.folder: first for run, first in runs.items()} for name, runs in repeated.items()},
    }


def _facts(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(mode="json", include={"versions", "commits", "seeds", "runs", "missing"})
