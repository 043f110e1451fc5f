"""Remaining jobs of a study that need no GPU, with their times: downloads, preparation, tables, figures, report.

A job takes as long as it did before in this study. Otherwise it takes as long as others of its kind, as in the
benchmarks of the repository, or as assumed.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from spectralseg import registry
from spectralseg.config import Config
from spectralseg.data.receipts import RECEIPTS, read_receipts
from spectralseg.data.specification import DatasetSpecification
from spectralseg.errors import InputError
from spectralseg.files import visible
from spectralseg.operations.dataset_sizes import DatasetSize
from spectralseg.operations.stages import Basis, Jobs, Machine, Stage
from spectralseg.operations.throughput import START, seconds_of_job
from spectralseg.outputs import KINDS
from spectralseg.parsing import read_json
from spectralseg.study_folder import PAGES, StudyFolder

T = TypeVar("T")

_SPEED = 10.0  # MB per second of a download
_WEIGHTS = 100.0  # MB of the pretrained weights of an encoder; 98 MB for ResNet-50
_AUDIT = 0.005  # seconds per case of the leakage audit
_STEPS = {"collect": "records.parquet", "compare": "comparisons.parquet", "claims": "claims.csv"}
_REPORT = "report/index.html"
_MAX_BYTES = 2**24  # of a benchmark


@dataclass(frozen=True)
class Committed:
    """Benchmarks of the repository, the mean over machines.

    Attributes:
        prepare: CPU seconds to prepare a case, by its dimensions.
        render: seconds of each step, table, figure and study of a study with ``runs`` runs.
        runs: number of those runs.
    """

    prepare: Mapping[int, float] = field(default_factory=dict)
    render: Mapping[str, float] = field(default_factory=dict)
    runs: int = 1

    def rendering(self, name: str, runs: int) -> float | None:
        """Seconds of a step, table, figure or study with a number of runs; the mean of all for an unknown name.

        The shortest of them is taken as the time that each takes whatever the number of runs.
        """
        if not self.render:
            return None
        least, seconds = min(self.render.values()), self.render.get(name, statistics.fmean(self.render.values()))
        return least + (seconds - least) * runs / self.runs


def read_committed(folder: Path | None) -> Committed:
    """Read the benchmarks of the repository; without the folder, nothing is known."""
    if folder is None:
        return Committed()
    prepared: dict[int, list[float]] = {}
    rendered: dict[str, list[float]] = {}
    for pairs in _parsed(folder, "prepare_*.json", _seconds_to_prepare):
        for dimensions, seconds in pairs:
            prepared.setdefault(dimensions, []).append(seconds)
    reports = list(_parsed(folder, "reporting_*.json", _seconds_to_render))
    for _, durations in reports:
        for name, seconds in durations.items():
            rendered.setdefault(name, []).append(seconds)
    return Committed(
        {dimensions: statistics.fmean(seconds) for dimensions, seconds in prepared.items()},
        {name: statistics.fmean(seconds) for name, seconds in rendered.items()},
        max((runs for runs, _ in reports), default=1),
    )


def _parsed(folder: Path, pattern: str, parse: Callable[[Any], T]) -> Iterator[T]:
    """Parsed benchmarks, without files that are not of their kind."""
    for file in visible(folder.glob(pattern)):
        with contextlib.suppress(InputError, OSError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError):
            yield parse(read_json(file, _MAX_BYTES))


def _seconds_to_prepare(benchmark: Any) -> list[tuple[int, float]]:
    """Dimensions of a case and the seconds to prepare it, of each input."""
    return [
        (3 if name == "volumes" else 2, result["ways"]["1 thread"]["seconds"] / result["input"]["cases"])
        for name, result in benchmark["results"].items()
    ]


def _seconds_to_render(benchmark: Any) -> tuple[int, dict[str, float]]:
    """Number of runs, and the seconds of each step and notebook."""
    making = benchmark["making"]
    results = {**making["steps"], **making["notebooks"]}
    return benchmark["joining"][0]["runs"], {name: float(result["seconds"]) for name, result in results.items()}


@dataclass(frozen=True)
class Host:
    """What the jobs of a study depend on.

    Attributes:
        config: the study, with the lists of its tables, figures and studies.
        folder: its results folder.
        specifications: the dataset files by name.
        sizes: sizes of the datasets.
        committed: benchmarks of the repository.
        machine: machine that the study runs on.
    """

    config: Config
    folder: StudyFolder
    specifications: Mapping[str, DatasetSpecification]
    sizes: Mapping[str, DatasetSize]
    committed: Committed
    machine: Machine

    @property
    def unprepared(self) -> list[str]:
        """Datasets that are still to be prepared."""
        return [name for name, size in self.sizes.items() if not size.prepared]

    @property
    def downloads(self) -> Path:
        """Folder of the downloaded files."""
        return self.folder.home / self.config.downloads

    def measured(self, job: str) -> float | None:
        """Seconds of a job when it was executed last, e.g. ``prepare/acdc``; None if not measured."""
        return seconds_of_job(self.folder.root / "logs" / f"{job}.benchmark.jsonl")


def jobs_of_host(host: Host, runs: int, evaluations: int) -> list[Jobs]:
    """Remaining jobs of the stages ``fetch``, ``prepare`` and ``render``.

    Args:
        host: the study.
        runs: number of runs of the study.
        evaluations: number of runs that are still to be evaluated, after which all results are made again.
    """
    return [*_fetch(host), *_prepare(host), *_render(host, runs, again=evaluations > 0)]


def _fetch(host: Host) -> Iterator[Jobs]:
    """One job per dataset to download, and one per file of pretrained weights; they share the connection."""
    speed, basis = _download_speed(host)
    note = "" if basis == "measured" else f"{_SPEED:g} MB per second"
    for name in host.unprepared:
        if host.config.datasets[name].source == "official" and not (host.downloads / name / RECEIPTS).is_file():
            size = _megabytes_left(host, name)
            if size is None:
                yield Jobs("fetch", 1, None, "unknown")
            else:
                yield Jobs("fetch", 1, START + size / speed, basis, note=note)
    if weights := _missing_weights(host):
        yield Jobs("fetch", weights, weights * (START + _WEIGHTS / speed), basis, note=note)


def _download_speed(host: Host) -> tuple[float, Basis]:
    """MB per second of earlier downloads, or as assumed."""
    sizes, seconds = 0, 0.0
    for name in host.config.datasets:
        if duration := seconds_of_job(host.downloads / "logs" / f"{name}.benchmark.jsonl"):
            received = [receipt.get("bytes") for receipt in read_receipts(host.downloads / name)]
            sizes += sum(size for size in received if isinstance(size, int))
            seconds += duration
    return (sizes / 1e6 / seconds, "measured") if sizes else (_SPEED, "assumption")


def _megabytes_left(host: Host, name: str) -> float | None:
    """Size of the files that are not downloaded yet, in MB; None if the dataset file does not state it."""
    specification = host.specifications.get(name)
    if specification is None or specification.megabytes is None:
        return None
    present = sum(file.stat().st_size for file in (host.downloads / name).rglob("*") if file.is_file())
    return max(0.0, specification.megabytes - present / 1e6)


def _missing_weights(host: Host) -> int:
    """Number of pretrained encoders whose weights the workflow has not downloaded."""
    selected = {
        (architecture.encoder, architecture.encoder_weights)
        for architecture in host.config.architectures.values()
        if architecture.encoder_weights and not registry.weights_file(architecture.encoder_weights)
    }
    folder = host.folder.root / "weights"
    return sum(not (folder / encoder / str(weights)).exists() for encoder, weights in selected)


def _prepare(host: Host) -> Iterator[Jobs]:
    """Phantoms, prepared datasets and the leakage audit."""
    datasets = host.config.datasets
    raw = host.folder.root / "raw"
    phantoms = [name for name in host.unprepared if datasets[name].source == "phantom" and not (raw / name).exists()]
    seconds = _like("phantom", phantoms, datasets, host)
    yield from _groups("prepare", seconds, host.machine.cores, (START, f"{START:g} s per phantom"))
    per_case = _seconds_per_case(host)
    for name in host.unprepared:
        yield _preparation(host, name, per_case)
    if host.unprepared or not (host.folder.root / "leakage.parquet").is_file():
        cases = sum(size.cases or 0 for size in host.sizes.values())
        note = f"audit {1000 * _AUDIT:g} ms per case"
        yield from _groups("prepare", [host.measured("leakage")], 1, (START + _AUDIT * cases, note))


def _preparation(host: Host, name: str, per_case: Mapping[int, float]) -> Jobs:
    size, parallel = host.sizes[name], host.machine.tasks
    if seconds := host.measured(f"prepare/{name}"):
        return Jobs("prepare", 1, seconds, "measured", parallel)
    if size.cases is None or size.dimensions is None:
        return Jobs("prepare", 1, None, "unknown")
    if size.dimensions in per_case:
        return Jobs("prepare", 1, START + size.cases * per_case[size.dimensions], "measured", parallel)
    if size.dimensions in host.committed.prepare:
        seconds = START + size.cases * host.committed.prepare[size.dimensions] / host.machine.threads
        return Jobs("prepare", 1, seconds, "benchmark", parallel)
    return Jobs("prepare", 1, None, "unknown")


def _seconds_per_case(host: Host) -> dict[int, float]:
    """Measured seconds to prepare a case, by its dimensions, without the start of the command."""
    measured: dict[int, list[float]] = {}
    for name, size in host.sizes.items():
        seconds = host.measured(f"prepare/{name}")
        if seconds and size.cases and size.dimensions:
            measured.setdefault(size.dimensions, []).append(max(0.0, seconds - START) / size.cases)
    return {dimensions: statistics.fmean(seconds) for dimensions, seconds in measured.items()}


def _render(host: Host, runs: int, *, again: bool) -> Iterator[Jobs]:
    """Joined records, comparisons, claims, cards, tables, figures, studies and the report.

    Args:
        host: the study.
        runs: number of runs of the study.
        again: whether all are made again; otherwise only missing ones are made.
    """
    root, cores = host.folder.root, host.machine.cores
    missing = {step: again or not (root / file).is_file() for step, file in _STEPS.items()}
    for step, needed in missing.items():
        yield from _rendered(host, [step] * needed, [host.measured(step)] * needed, runs, 1)
    cards = [name for name in host.sizes if name in host.unprepared or not (root / f"cards/{name}.html").is_file()]
    measured_cards = _like("cards", cards, host.sizes, host)
    yield from _groups("render", measured_cards, cores, (START, f"{START:g} s per dataset card"))
    pages = False
    for kind in KINDS:
        names = getattr(host.config, kind)
        if names is None:  # the dataset files, which decide it, are not available
            yield Jobs("render", 1, None, "unknown")
            continue
        left = [name for name in names if again or not (root / kind / f"{name}{PAGES[kind]}").is_file()]
        pages = pages or bool(left)
        yield from _rendered(host, left, _like(kind, left, names, host), runs, cores)
    report = pages or any(missing.values()) or not (root / _REPORT).is_file()
    yield from _rendered(host, ["report"] * report, [host.measured("report")] * report, runs, 1)


def _rendered(
    host: Host, names: Sequence[str], seconds: Sequence[float | None], runs: int, parallel: int
) -> Iterator[Jobs]:
    """Jobs with measured seconds, and those that the benchmarks of the repository estimate."""
    measured = [duration for duration in seconds if duration is not None]
    yield Jobs("render", len(measured), sum(measured), "measured", parallel)
    others = [name for name, duration in zip(names, seconds, strict=True) if duration is None]
    estimates = [host.committed.rendering(name, runs) for name in others]
    if None in estimates:
        yield Jobs("render", len(others), None, "unknown")
    else:
        total = sum(estimate for estimate in estimates if estimate is not None)
        yield Jobs("render", len(others), total, "benchmark", parallel)


def _like(kind: str, names: Iterable[str], every: Iterable[str], host: Host) -> list[float | None]:
    """Measured seconds of jobs; where one was not measured, the mean of all of its kind, None if there is none."""
    measured = {name: seconds for name in every if (seconds := host.measured(f"{kind}/{name}"))}
    mean = statistics.fmean(measured.values()) if measured else None
    return [measured.get(name, mean) for name in names]


def _groups(stage: Stage, seconds: Sequence[float | None], parallel: int, assumed: tuple[float, str]) -> Iterator[Jobs]:
    """Jobs with measured seconds, and others with assumed seconds and a note that says so."""
    measured = [duration for duration in seconds if duration is not None]
    yield Jobs(stage, len(measured), sum(measured), "measured", parallel)
    count = len(seconds) - len(measured)
    yield Jobs(stage, count, count * assumed[0], "assumption", parallel, note=assumed[1])
