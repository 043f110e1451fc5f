"""Time that a study still takes, by stage: pure functions of numbers of jobs and the seconds of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["fetch", "prepare", "pretrain", "train", "evaluate", "render"]
STAGES: tuple[Stage, ...] = ("fetch", "prepare", "pretrain", "train", "evaluate", "render")
TRAINING: tuple[Stage, ...] = ("pretrain", "train")
ON_DEVICES: tuple[Stage, ...] = (*TRAINING, "evaluate")  # stages whose jobs need a GPU where there is one

Basis = Literal["measured", "doctor", "benchmark", "assumption", "unknown"]
_EVIDENCE: dict[Basis, str] = {
    "measured": "finished jobs",
    "doctor": "the measurement of spectralseg doctor",
    "benchmark": "the benchmarks of the repository, scaled",
}
_BASES: tuple[Basis, ...] = (*_EVIDENCE, "assumption", "unknown")
Kind = Literal["cpu", "gpu"]

_DAY = 86400
_UNITS = ((_DAY, "day", "days"), (3600, "h", "h"), (60, "min", "min"), (1, "s", "s"))
_FEWEST = 1.5  # units that a duration must have to be given in that unit


@dataclass(frozen=True)
class Machine:
    """Machine that a study runs on: ``devices`` GPUs, or only its CPU if ``kind`` is ``cpu``.

    Attributes:
        kind: whether runs use GPUs or the CPU.
        devices: number of GPUs used in parallel; of the CPU, 1.
        cores: number of CPU cores.
        threads: number of CPU cores of a run.
    """

    kind: Kind
    devices: int
    cores: int
    threads: int

    def runs(self, share: int = 1) -> int:
        """Number of runs in parallel, of which ``share`` use a GPU in parallel."""
        return self.devices * share if self.kind == "gpu" else self.tasks

    @property
    def tasks(self) -> int:
        """Number of jobs in parallel that use as many CPU cores as a run."""
        return max(1, self.cores // self.threads)

    def __str__(self) -> str:
        cores = f"{self.cores} core{'s' * (self.cores > 1)}"
        return f"{self.devices} GPU{'s' * (self.devices > 1)} and {cores}" if self.kind == "gpu" else cores


@dataclass(frozen=True)
class Jobs:
    """Remaining jobs of a stage.

    Attributes:
        stage: the stage.
        count: number of jobs.
        seconds: sum of the times that the jobs take, in seconds; None if unknown.
        basis: what the seconds rest on.
        parallel: number of jobs in parallel.
        share: number of jobs that use a device in parallel.
        note: what is assumed; empty otherwise.
    """

    stage: Stage
    count: int
    seconds: float | None
    basis: Basis
    parallel: int = 1
    share: int = 1
    note: str = ""


@dataclass(frozen=True)
class StageTime:
    """Remaining time of a stage.

    Attributes:
        stage: the stage.
        jobs: number of jobs.
        unknown: number of jobs whose time is unknown; the times leave them out.
        seconds: wall-clock time in seconds, with the parallelism of the machine.
        device_seconds: time that the jobs keep devices busy, in seconds; 0 for stages that need none.
        basis: what the times rest on.
        notes: what is assumed.
    """

    stage: Stage
    jobs: int
    unknown: int
    seconds: float
    device_seconds: float
    basis: tuple[Basis, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        if self.unknown == self.jobs:
            return f"{self.stage} ?"
        return f"{self.stage} {'at least ' if self.unknown else ''}{rounded(self.seconds)}"


@dataclass(frozen=True)
class TimeLeft:
    """Remaining time of a study on a machine: its stages with jobs, in order."""

    stages: tuple[StageTime, ...]
    machine: Machine

    @property
    def seconds(self) -> float:
        """Wall-clock time in seconds, without jobs whose time is unknown."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def device_seconds(self) -> float:
        """Time that jobs keep devices busy, in seconds, without jobs whose time is unknown."""
        return sum(stage.device_seconds for stage in self.stages)

    @property
    def complete(self) -> bool:
        """Whether the times of all jobs are known."""
        return not any(stage.unknown for stage in self.stages)

    @property
    def known(self) -> bool:
        """Whether the time of a job is known, or there is none."""
        return not self.stages or any(stage.unknown < stage.jobs for stage in self.stages)


def time_left(jobs: Iterable[Jobs], machine: Machine) -> TimeLeft:
    """Add up the times of jobs by stage. Stages run one after another, and so do jobs of a stage with different
    parallelism.
    """
    remaining = [group for group in jobs if group.count]
    stages = ((stage, [group for group in remaining if group.stage == stage]) for stage in STAGES)
    return TimeLeft(tuple(_stage_time(stage, groups) for stage, groups in stages if groups), machine)


def _stage_time(stage: Stage, groups: Sequence[Jobs]) -> StageTime:
    device_seconds = sum((group.seconds or 0.0) / group.share for group in groups)
    return StageTime(
        stage,
        sum(group.count for group in groups),
        sum(group.count for group in groups if group.seconds is None),
        sum(_wall_seconds(groups, parallel) for parallel in {group.parallel for group in groups}),
        device_seconds if stage in ON_DEVICES else 0.0,
        tuple(basis for basis in _BASES if basis in [group.basis for group in groups]),
        tuple(dict.fromkeys(group.note for group in groups if group.note)),
    )


def _wall_seconds(groups: Sequence[Jobs], parallel: int) -> float:
    """Time of the jobs with this parallelism, in seconds."""
    alike = [group for group in groups if group.parallel == parallel and group.seconds is not None]
    return sum(group.seconds or 0.0 for group in alike) / max(1, min(parallel, sum(group.count for group in alike)))


def rounded(seconds: float) -> str:
    """A duration in one unit, as precise as an estimate: ``40 s``, ``12 min``, ``2.5 h``, ``14 h``, ``3 days``."""
    size, singular, plural = next((unit for unit in _UNITS if seconds >= _FEWEST * unit[0]), _UNITS[-1])
    amount = seconds / size
    halves = round(2 * amount) / 2 if size >= 3600 and amount < 10 else round(amount)
    return f"{halves:g} {singular if halves == 1 else plural}"


def sentences(left: TimeLeft) -> list[str]:
    """The total with its stages, what it rests on, and a warning if training takes more than a day without a GPU.

    A study without remaining jobs is done.
    """
    if not left.stages:
        return ["Everything is done."]
    lines = [_total(left), *_bases(left)]
    training = sum(stage.seconds for stage in left.stages if stage.stage in TRAINING)
    if left.machine.kind == "cpu" and training > _DAY:
        lines.append(
            f"Warning: without a GPU, training takes about {_long(training)}; use a machine with a GPU or a cluster "
            "('spectralseg plan --on gpu' estimates it), or a smaller study"
        )
    return lines


def _total(left: TimeLeft) -> str:
    stages = ", ".join(map(str, left.stages))
    if not left.known:
        return f"Time unknown: {stages}"
    devices = f"; {left.device_seconds / 3600:.1f} device-hours" if left.machine.kind == "gpu" else ""
    return f"{'About' if left.complete else 'At least'} {_long(left.seconds)} on {left.machine}: {stages}{devices}"


def _long(seconds: float) -> str:
    """As :func:`rounded`, with ``hours``."""
    text = rounded(seconds)
    return text.replace(" h", " hour" if text == "1 h" else " hours")


def _bases(left: TimeLeft) -> list[str]:
    """What the estimate rests on, with the stages of each source, and the number of unknown times."""
    groups = []
    for basis, label in _EVIDENCE.items():
        if names := [stage.stage for stage in left.stages if basis in stage.basis]:
            groups.append(f"{label} ({', '.join(names)})")
    lines = [f"Estimated from {'; '.join(groups)}"] if groups else []
    if assumed := [f"{', '.join(stage.notes)} ({stage.stage})" for stage in left.stages if stage.notes]:
        lines.append(f"Assumed: {'; '.join(assumed)}")
    if unknown := sum(stage.unknown for stage in left.stages):
        lines.append(f"Unknown, and not in the total: {unknown} job{'s' * (unknown > 1)}, until one is measured")
    return lines


def as_json(left: TimeLeft) -> dict[str, Any]:
    """The remaining time as plain values, in seconds."""
    return {
        "machine": {
            "kind": left.machine.kind,
            "devices": left.machine.devices,
            "cores": left.machine.cores,
            "threads": left.machine.threads,
        },
        "seconds": left.seconds,
        "device_seconds": left.device_seconds,
        "complete": left.complete,
        "stages": [
            {
                "stage": stage.stage,
                "jobs": stage.jobs,
                "unknown_jobs": stage.unknown,
                "seconds": None if stage.unknown == stage.jobs else stage.seconds,
                "device_seconds": stage.device_seconds,
                "evidence": list(stage.basis),
                "assumed": list(stage.notes),
            }
            for stage in left.stages
        ],
    }
