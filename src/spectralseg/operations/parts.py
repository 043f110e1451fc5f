"""Remaining training and evaluation of a study by dataset and architecture, with estimated times."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spectralseg.config import Config
from spectralseg.grid import Autoencoder, Run
from spectralseg.operations.stages import Basis, Jobs, Machine, Stage
from spectralseg.operations.status import FINAL, RunStatus
from spectralseg.operations.throughput import (
    START,
    Estimate,
    Measured,
    estimate,
    evaluation,
    seconds_of_job,
    setting_of_autoencoder,
    settings_of,
)


@dataclass(frozen=True)
class Part:
    """Runs of one dataset and architecture, or a masked autoencoder of one dataset.

    Attributes:
        dataset: name in the configuration.
        name: architecture or masked autoencoder, in the configuration.
        runs: number of runs; 1 for an autoencoder.
        finished: number of trained runs.
        evaluated: number of evaluated runs; trained autoencoders.
        outdated: number of runs that are retrained, because settings or data have changed or files are damaged.
        iterations: optimizer steps of a run; 0 for an untrained autoencoder; None while its dataset is not prepared and
            they depend on epochs.
        estimate: estimated speed; None without any measurement.
        evaluation: estimated seconds of an evaluation; None without any measurement; 0 for an autoencoder.
        evaluation_basis: what they rest on.
        running: seconds that each training still takes that says so itself.
        external: whether they are runs of an external method, whose estimate is that of a run, as of one iteration.
    """

    dataset: str
    name: str
    runs: int
    finished: int
    evaluated: int
    outdated: int
    iterations: int | None
    estimate: Estimate | None
    evaluation: float | None = None
    evaluation_basis: Basis = "unknown"
    running: tuple[float, ...] = ()
    external: bool = False

    @property
    def measured(self) -> bool:
        """Whether the hours are known; an untrained autoencoder needs none."""
        return self.training_seconds() is not None

    @property
    def share(self) -> int:
        """Number of runs that use a device in parallel."""
        return self.estimate.share if self.estimate else 1

    def training_seconds(self, which: str = "seconds") -> float | None:
        """Seconds that the remaining runs train, one after another; None if unknown.

        Args:
            which: ``seconds``, ``low`` or ``high``.
        """
        waiting = self.runs - self.finished - len(self.running)
        if not waiting or self.iterations == 0:
            return sum(self.running)
        if self.estimate is None or self.iterations is None:
            return None
        seconds = self.estimate.start + self.iterations * float(getattr(self.estimate, which))
        return sum(self.running) + waiting * seconds

    @property
    def evaluation_seconds(self) -> float | None:
        """Seconds that the remaining evaluations take, one after another; None if unknown."""
        remaining = self.runs - self.evaluated
        return None if self.evaluation is None and remaining else remaining * (self.evaluation or 0.0)

    def hours(self, which: str = "seconds") -> float:
        """Device-hours to train and evaluate the remaining runs, without unknown ones."""
        seconds = (self.training_seconds(which) or 0.0) + (self.evaluation_seconds or 0.0)
        return seconds / self.share / 3600


@dataclass(frozen=True)
class Parts:
    """Runs by dataset and architecture, and masked autoencoders."""

    runs: tuple[Part, ...]
    pretraining: tuple[Part, ...]


def study_parts(
    config: Config,
    results: Path,
    statuses: Sequence[RunStatus],
    measurements: Sequence[Measured],
    images: Mapping[str, int | None],
) -> Parts:
    """Group the runs and masked autoencoders of a study, and estimate the times of each group.

    Args:
        config: the study.
        results: its results folder.
        statuses: from :func:`spectralseg.operations.status.study_status`.
        measurements: measured speeds.
        images: number of images that an evaluation predicts, by dataset of the runs; None if unknown.
    """
    groups: dict[tuple[str, str], list[RunStatus]] = {}
    own = config.architectures
    autoencoders: dict[Autoencoder, list[RunStatus]] = {}
    for status in statuses:
        if isinstance(status.run, Run):
            groups.setdefault((status.run.dataset, status.run.architecture), []).append(status)
        else:
            autoencoders[status.run] = [status]
    iterations = {dataset: iterations_of(config, results, dataset) for dataset, name in groups if name in own}
    runs = []
    for (dataset, architecture), members in groups.items():
        if architecture not in own:
            runs.append(_external_part(results, dataset, architecture, members))
            continue
        setting = settings_of(config, dataset)[architecture]
        speed = estimate(setting, measurements)
        seconds, basis = evaluation(dataset, setting, images, measurements, speed)
        runs.append(_part(dataset, architecture, members, iterations[dataset], speed, seconds, basis))
    pretraining = []
    for item, members in autoencoders.items():
        steps = config.pretraining[item.name].iterations
        speed = estimate(setting_of_autoencoder(config, item), measurements) if steps else None
        pretraining.append(_part(item.dataset, item.name, members, steps, speed, 0.0, "measured"))
    return Parts(tuple(runs), tuple(pretraining))


def _external_part(results: Path, dataset: str, name: str, members: Sequence[RunStatus]) -> Part:
    """Runs of an external method on a dataset, which take as long as those that have finished."""
    folders = [results / status.run.parent / status.run.folder for status in members if status.seconds is not None]
    seconds = [status.seconds for status in members if status.seconds is not None]
    evaluations = [duration for folder in folders if (duration := seconds_of_job(folder / "evaluate.benchmark.jsonl"))]
    estimate = None
    if seconds:
        sizes = [sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) for folder in folders]
        times = statistics.fmean(seconds), min(seconds), max(seconds)
        estimate = Estimate(*times, "finished runs", "", bytes=round(statistics.fmean(sizes)))
    evaluation = statistics.fmean(evaluations) if evaluations else None
    part = _part(dataset, name, members, 1, estimate, evaluation, "measured" if evaluations else "unknown")
    return replace(part, external=True)


def _part(
    dataset: str,
    name: str,
    members: Sequence[RunStatus],
    iterations: int | None,
    speed: Estimate | None,
    seconds: float | None,
    basis: Basis,
) -> Part:
    retrained = [status.state in ("outdated", "unreadable") for status in members]
    finished = sum(status.trained and not again for status, again in zip(members, retrained, strict=True))
    evaluated = sum(status.state in FINAL for status in members)
    running = tuple(left for status in members if (left := _training_left(status)) is not None)
    counts = len(members), finished, evaluated, sum(retrained)
    return Part(dataset, name, *counts, iterations, speed, seconds, basis, running)


def _training_left(status: RunStatus) -> float | None:
    """Seconds that a running training still takes; None before its first steps, and while it does something else."""
    training = status.state == "running" and not status.trained and status.task == status.step == status.kind.first
    return status.seconds_left if training else None


def iterations_of(config: Config, results: Path, dataset: str) -> int | None:
    """Iterations of the runs on a dataset; None while they depend on epochs and the dataset is not prepared."""
    training = config.training_of(dataset)
    if training.epochs is None:
        return training.iterations
    from spectralseg.data import open_prepared
    from spectralseg.training.schedule import iterations

    folder = results / "prepared" / dataset
    return iterations(training, open_prepared(folder)) if folder.is_dir() else None


def jobs_of(parts: Parts, machine: Machine) -> Iterator[Jobs]:
    """Remaining jobs on the devices of a machine: masked autoencoders, trainings and evaluations."""
    stages: tuple[tuple[Stage, tuple[Part, ...]], ...] = (("pretrain", parts.pretraining), ("train", parts.runs))
    for stage, members in stages:
        for part in members:
            count, parallel = part.runs - part.finished, machine.runs(part.share)
            if part.iterations == 0:
                yield Jobs(stage, count, count * START, "assumption", parallel, note=f"{START:g} s if untrained")
            else:
                yield Jobs(stage, count, part.training_seconds(), _basis(part), parallel, part.share)
    for part in parts.runs:
        count, basis, parallel = part.runs - part.evaluated, part.evaluation_basis, machine.runs(part.share)
        note = "a third of a training step per image, and scoring" if basis == "assumption" else ""
        yield Jobs("evaluate", count, part.evaluation_seconds, basis, parallel, part.share, note)


def _basis(part: Part) -> Basis:
    if part.training_seconds() is None:
        return "unknown"
    return part.estimate.basis if part.estimate else "measured"
