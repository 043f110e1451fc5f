"""The remaining time of a study on a machine, from all evidence: what ``plan`` and ``status`` report."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from spectralseg.config import Config
from spectralseg.data.specification import DatasetSpecification, read_specifications
from spectralseg.errors import InputError
from spectralseg.operations.dataset_sizes import DatasetSize, dataset_sizes, evaluated_images
from spectralseg.operations.devices import cpu_cores, visible_devices
from spectralseg.operations.host_jobs import Host, jobs_of_host, read_committed
from spectralseg.operations.parts import Parts, jobs_of, study_parts
from spectralseg.operations.stages import Kind, Machine, TimeLeft, time_left
from spectralseg.operations.status import RunStatus
from spectralseg.operations.throughput import THREADS, Measured, measured
from spectralseg.study_folder import StudyFolder
from spectralseg.study_outputs import with_outputs

T = TypeVar("T")


@dataclass(frozen=True)
class Repository:
    """What an estimate reads from the repository; None and empty where it is not available.

    Attributes:
        benchmarks: folder of committed benchmarks.
        specifications: the dataset files by name.
        published: folder of the papers.
    """

    benchmarks: Path | None = None
    specifications: Mapping[str, DatasetSpecification] | None = None
    published: Path | None = None

    @classmethod
    def at(cls, datasets: Path, benchmarks: Path, published: Path) -> Repository:
        """Read the dataset files of a folder; it may be missing, as the others."""
        specifications = read_specifications(datasets) if datasets.is_dir() else None
        return cls(
            benchmarks if benchmarks.is_dir() else None, specifications, published if published.is_dir() else None
        )

    def complete(self, config: Config) -> Config:
        """The configuration with lists of tables, figures and studies, unless they cannot be determined."""
        specifications = self.specifications or {}
        if self.published is None or not config.datasets.keys() <= specifications.keys():
            return config
        with contextlib.suppress(InputError):  # the workflow reports it
            return with_outputs(config, specifications, self.published)
        return config


@dataclass(frozen=True)
class Estimator:
    """Estimates the remaining time of a study.

    Attributes:
        config: the study.
        results: its results folder; it need not exist.
        repository: what is read from the repository.
        others: results folders of other studies, whose runs are measurements of speed.
        kind: kind of device; None selects that of finished runs, otherwise that of this machine.
        devices: number of GPUs used in parallel; None for those of this machine, at least 1.
        cores: number of CPU cores; None for those of this machine.
    """

    config: Config
    results: Path
    repository: Repository = Repository()
    others: Sequence[Path] = ()
    kind: Kind | None = None
    devices: int | None = None
    cores: int | None = None

    @cached_property
    def measurements(self) -> list[Measured]:
        """Measured speeds."""
        studies, cores = [self.results, *self.others], self.cores or cpu_cores()
        return measured(
            studies,
            self.repository.benchmarks,
            accelerated=(self.kind or kind_of_machine()) == "gpu",
            only=self.kind,
            threads=min(THREADS, cores),
        )

    @cached_property
    def machine(self) -> Machine:
        """The machine that the study runs on."""
        finished = [item for item in self.measurements if item.source == "finished runs"]
        kind = self.kind or most_common(item.kind for item in finished) or kind_of_machine()
        cores = self.cores or cpu_cores()
        threads = most_common(item.threads for item in finished if item.kind == kind) or THREADS
        devices = (self.devices or max(1, len(visible_devices()))) if kind == "gpu" else 1
        return Machine(kind, devices, cores, min(threads, cores))

    @cached_property
    def _sizes(self) -> dict[str, DatasetSize]:
        return dataset_sizes(self.config, StudyFolder(self.results, self.config), self.repository.specifications or {})

    def parts(self, statuses: Sequence[RunStatus]) -> Parts:
        """Remaining runs and masked autoencoders with their times."""
        images = evaluated_images(self.config, self.repository.specifications or {}, self._sizes)
        return study_parts(self.config, self.results, statuses, self.measurements, images)

    def time_left(self, parts: Parts) -> TimeLeft:
        """The remaining time of all stages."""
        host = Host(
            self.repository.complete(self.config),
            StudyFolder(self.results, self.config),
            self.repository.specifications or {},
            self._sizes,
            read_committed(self.repository.benchmarks),
            self.machine,
        )
        evaluations = sum(part.runs - part.evaluated for part in parts.runs)
        host_jobs = jobs_of_host(host, sum(part.runs for part in parts.runs), evaluations)
        return time_left([*host_jobs, *jobs_of(parts, self.machine)], self.machine)


def kind_of_machine() -> Kind:
    """``gpu`` if this machine has one or submits jobs to SLURM, else ``cpu``."""
    return "gpu" if visible_devices() or shutil.which("sbatch") else "cpu"


def most_common(values: Iterable[T | None]) -> T | None:
    """The most common value; None if there is none."""
    counts = Counter(value for value in values if value is not None)
    return counts.most_common(1)[0][0] if counts else None
