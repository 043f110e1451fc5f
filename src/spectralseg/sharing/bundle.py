"""Write a study as a bundle: one archive without images and weights that others can read and merge."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from spectralseg import __version__
from spectralseg.config import Config, load_config
from spectralseg.data.prepared import identity_of
from spectralseg.errors import InputError
from spectralseg.evaluation.collect import collect
from spectralseg.exchange.model_card import model_card
from spectralseg.files import dump_json, replacing, sha256_of, temporary_folder
from spectralseg.grid import Run
from spectralseg.loading import read_json, reading
from spectralseg.metrics.records import COMPACT, RUN_KEYS, SCHEMA, divergence, read_table, recorded_runs
from spectralseg.reporting.report import write_report
from spectralseg.reporting.results import Results
from spectralseg.run_folder import DESCRIPTION
from spectralseg.sharing import contents, manifest
from spectralseg.sharing.croissant import NAME as CROISSANT
from spectralseg.sharing.croissant import UNKNOWN, Deposit, croissant
from spectralseg.sharing.manifest import Manifest, check_laboratory
from spectralseg.sharing.privacy import Machine, refuse_leaks, without_folders
from spectralseg.study_folder import StudyFolder

DEFAULT_NAME = "bundle.zip"  # in the results folder
_DATE = (1980, 1, 1, 0, 0, 0)  # of all members: equal studies give equal archives
_PERMISSIONS = 0o100644 << 16  # a regular file that everyone may read
_UNIX = 3
_STRUCTURED = (".json", ".yaml")


@dataclass(frozen=True)
class Bundle:
    """A written bundle.

    Attributes:
        file: the archive.
        manifest: its manifest.
        lacking: properties that the Croissant format requires and that were not given.
    """

    file: Path
    manifest: Manifest
    lacking: list[str]

    def text(self) -> str:
        """What was written, its size and checksum, what is missing, and what was left out."""
        runs, size = self.manifest.runs, self.file.stat().st_size
        lines = [
            f"{self.file}: {len(self.manifest.files) + 1} files, {_size(size)}, {runs.recorded} of {runs.planned} runs "
            f"of laboratory '{self.manifest.laboratory}'; sha256 {sha256_of(self.file)}"
        ]
        if missing := ", ".join(f"{len(names)} {kind}" for kind, names in self.manifest.missing.items()):
            lines.append(f"Missing in the study: {missing}; {manifest.NAME} lists them.")
        if self.lacking:
            lines.append(
                f"{CROISSANT} lacks {', '.join(self.lacking)}; give --licence, --url and --date to deposit it."
            )
        left_out = ", ".join(f"{count} {kind}" for kind, count in self.manifest.left_out.items())
        lines.append(f"Left out: {left_out or 'nothing'}.")
        return "\n".join(lines)


def write_bundle(root: Path, out: Path, *, laboratory: str = "", deposit: Deposit = UNKNOWN) -> Bundle:
    """Write a finished or partly finished study as a bundle.

    The bundle has the layout of the results folder: records, comparisons, configuration, descriptions and training logs
    of the runs, tables, claims, figures and studies without images of cases, and the report without them; a model card
    beside each description; descriptions of the datasets; a manifest with all checksums, and Croissant metadata.
    Absolute paths in the configuration and in descriptions lose their folder. The same study gives the same bytes.

    Args:
        root: results folder of the study.
        out: zip file.
        laboratory: name of the laboratory; empty for the name of the study.
        deposit: what Croissant metadata need in addition.

    Raises:
        InputError: the study has no configuration or no records, a file is damaged, the laboratory's name is not valid,
            or a file contains a secret, or a path or name of this machine or user.
    """
    if out.suffix.lower() != ".zip":
        raise InputError(f"--out {out}: is not the name of a zip file; let it end with .zip")
    if not (root / contents.CONFIG).is_file():
        raise InputError(f"{root / contents.CONFIG}: is missing; give the results folder of a study, e.g. results/demo")
    config = load_config(root / contents.CONFIG)
    name = check_laboratory(laboratory or config.name)
    study = StudyFolder(root, config)
    _refuse_leaks_of_deposit(deposit, root)
    with replacing(out) as partial, _staging(root, out.parent) as staged:
        shared = contents.shared_files(study)
        _stage(study, staged, shared)
        recorded = _stage_records(study, config, staged / contents.RECORDS)
        _stage_cards(study, staged, recorded)
        _stage_report(study, staged)
        refuse_leaks(staged, root)
        written = {contents.CONFIG, contents.RECORDS, contents.REPORT, *shared}
        written |= {DEFAULT_NAME, os.path.relpath(out, root)}
        description = _describe(study, staged, name, recorded, contents.left_out(study, written))
        dump_json(staged / CROISSANT, croissant(staged, description, deposit))
        files = {**description.files, CROISSANT: _entry(staged / CROISSANT)}
        description = description.model_copy(update={"files": files})
        dump_json(staged / manifest.NAME, description.model_dump(mode="json"))
        _zip(staged, [manifest.NAME, *files], partial)
    return Bundle(out, description, deposit.missing)


@contextlib.contextmanager
def _staging(root: Path, parent: Path) -> Iterator[Path]:
    """A temporary folder for the files of the bundle; errors about them name those of the study."""
    with temporary_folder(parent, "bundle") as scratch:
        staged = scratch / "study"
        try:
            yield staged
        except InputError as error:
            raise InputError(str(error).replace(str(staged), str(root))) from None


def _refuse_leaks_of_deposit(deposit: Deposit, root: Path) -> None:
    for option, text in (("--licence", deposit.licence), ("--url", deposit.url)):
        if what := Machine(root).leak_of(text):
            raise InputError(f"{option}: contains {what}; give the public name or address without it")


def _stage(study: StudyFolder, staged: Path, names: list[str]) -> None:
    """Copy files, without the folders of absolute paths, and write the descriptions of the datasets."""
    for name in [contents.CONFIG, *names]:
        source, target = study.root / name, staged / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix in _STRUCTURED:
            target.write_text(without_folders(source), encoding="utf-8")
        else:
            target.write_bytes(source.read_bytes())
    (staged / contents.DATASETS).mkdir()
    for dataset in study.datasets:
        source = study.root / "prepared" / dataset / "dataset.json"
        (staged / contents.DATASETS / f"{dataset}.json").write_text(without_folders(source), encoding="utf-8")


def _stage_records(study: StudyFolder, config: Config, out: Path) -> dict[Run, bool]:
    """Write the records of the runs of the study; the runs, and whether they diverged.

    Without ``records.parquet``, those of all evaluated runs.
    """
    source, planned = study.root / contents.RECORDS, set(study.runs)
    if not source.is_file():
        evaluated = study.runs_with(contents.RECORDS)
        if not evaluated:
            raise InputError(f"{study.root}: no run is evaluated, so there is nothing to share; run the workflow first")
        collect(config, study.root / "runs", out, unfinished=True)
        return {run: bool(divergence(study.run_folder(run) / contents.RECORDS)) for run in evaluated}
    table = read_table(source)
    keys = {key: table[key].cast(COMPACT.field(key).type if key == "seed" else pa.string()) for key in RUN_KEYS}
    foreign = {run for run in recorded_runs(source) if Run(*run) not in planned}
    if foreign:
        rows = pd.MultiIndex.from_frame(pa.table(keys).to_pandas()).isin(foreign)
        table = table.filter(pa.array(~rows))
    # Encoded again, as a filtered column keeps all entries of its dictionary: ids of cases of the other runs.
    columns = [table[field.name].cast(SCHEMA.field(field.name).type).cast(field.type) for field in COMPACT]
    parquet.write_table(pa.table(columns, schema=COMPACT), out, write_page_checksum=True)
    diverged = table.filter(pc.equal(table["metric"].cast(pa.string()), "diverged")).select(RUN_KEYS).to_pylist()
    failed = {Run.of(keys) for keys in diverged}
    return {run: run in failed for run in study.runs if tuple(run.keys.values()) in recorded_runs(out)}


def _stage_cards(study: StudyFolder, staged: Path, recorded: dict[Run, bool]) -> None:
    """A model card for each run that the suite trained, that did not diverge and whose dataset is prepared."""
    results = Results(study.root)
    frame = read_table(staged / contents.RECORDS).to_pandas()
    by_run = dict(iter(frame.groupby(list(RUN_KEYS), observed=True)))
    for run in study.runs_with(DESCRIPTION):
        if run.external or run.dataset not in study.datasets or recorded.get(run):
            continue
        folder = staged / run.parent / run.folder
        settings = read_json(folder / DESCRIPTION, "the description of a run", "train the run again")
        with reading(study.run_folder(run) / DESCRIPTION, "the description of a run", "train the run again"):
            card = model_card(settings, results.prepared(run.dataset), by_run.get(tuple(run.keys.values())))
        (folder / contents.CARD).write_text(card, encoding="utf-8")


def _stage_report(study: StudyFolder, staged: Path) -> None:
    """The report of the staged files, which have no images; it exists if the study has one.

    For the time of writing, the folder has links to the prepared datasets and to the records of runs, of which the
    report shows numbers.
    """
    if not (study.root / contents.REPORT).is_file():
        return
    links = {staged / "prepared": study.root / "prepared"}
    for run in study.runs_with(contents.RECORDS):
        file = study.run_folder(run) / contents.RECORDS
        if (folder := staged / run.parent / run.folder).is_dir():
            links[folder / contents.RECORDS] = file
    for link, target in links.items():
        link.symlink_to(os.path.abspath(target))
    try:
        write_report(staged)
    finally:
        for link in links:
            link.unlink()


def _describe(
    study: StudyFolder, staged: Path, laboratory: str, recorded: dict[Run, bool], left_out: dict[str, int]
) -> Manifest:
    assert study.config is not None
    files = [file for file in sorted(staged.rglob("*")) if file.is_file()]
    descriptions = list(_descriptions(staged))
    revisions = [entry.get("git") or {} for entry in descriptions]
    return Manifest(
        format=manifest.FORMAT,
        laboratory=laboratory,
        study=study.config.name,
        version=__version__,
        versions=sorted({str(entry.get("versions", {}).get("spectralseg", "unknown")) for entry in descriptions}),
        commits=sorted(
            {f"{entry['commit']}{'+' * bool(entry.get('dirty'))}" for entry in revisions if "commit" in entry}
        ),
        datasets={file.stem: _dataset(file) for file in sorted((staged / contents.DATASETS).iterdir())},
        seeds=sorted({run.seed for run in recorded}),
        runs=manifest.Runs(planned=len(study.runs), recorded=len(recorded), diverged=sum(recorded.values())),
        missing=contents.missing(study, set(recorded)),
        left_out=left_out,
        files={file.relative_to(staged).as_posix(): _entry(file) for file in files},
    )


def _descriptions(staged: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(staged.glob(f"runs/**/{DESCRIPTION}")):
        yield read_json(file, "the description of a run", "train the run again")


def _dataset(file: Path) -> manifest.Dataset:
    info = read_json(file, "the description of a dataset", "prepare the dataset again")
    texts = {key: str(info.get(key) or "") for key in ("title", "source", "licence", "citation", "homepage")}
    return manifest.Dataset(**texts, identity=json.loads(json.dumps(identity_of(info))))


def _entry(file: Path) -> manifest.File:
    return manifest.File(sha256=sha256_of(file), bytes=file.stat().st_size)


def _zip(folder: Path, names: list[str], out: Path) -> None:
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(names):
            member = zipfile.ZipInfo(name, _DATE)
            member.compress_type, member.create_system, member.external_attr = zipfile.ZIP_DEFLATED, _UNIX, _PERMISSIONS
            archive.writestr(member, (folder / name).read_bytes(), compresslevel=9)


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
