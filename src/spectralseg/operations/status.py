"""Status of the runs of a study, read from their folders.

It needs no server and works the same with and without SLURM, which is asked only for the reasons of queued jobs.
"""

from __future__ import annotations

import os
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spectralseg import slurm
from spectralseg.config import Config
from spectralseg.errors import InputError, explained
from spectralseg.grid import Run
from spectralseg.loading import reading
from spectralseg.operations.heartbeat import Beat, read_beat
from spectralseg.parsing import read_json
from spectralseg.study_folder import StudyFolder

SLURM_LOGS = ".snakemake/slurm_logs"  # logs of SLURM jobs of the workflow

State = Literal["done", "diverged", "outdated", "unreadable", "running", "failed", "waiting"]
STATES: tuple[State, ...] = ("done", "diverged", "outdated", "unreadable", "running", "failed", "waiting")
_RARE = ("diverged", "outdated", "unreadable")  # states that totals omit if there are no such runs
FINAL: tuple[State, ...] = ("done", "diverged")  # states of runs without remaining work

# The outputs of the rules `train` and `evaluate`.
_TRAINED = {"model.pt", "run.json", "history.jsonl"}
_EVALUATED = {"records.parquet", "reliability.parquet", "examples.npz"}
_SENTENCE = re.compile(r"^error: (.+)")
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning)\b(?:: .+)?$")
_SLURM = re.compile(r"(?:oom.?kill|out of memory|DUE TO |CANCELLED|NODE FAIL|Killed)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(_\d+)?", re.ASCII)  # of a SLURM job
_RETRAIN = "delete it, so that the workflow trains the run again"
_MAX_BYTES = 2**24  # of run.json
_KILLED = "ended without an error message: killed by kill -9, a limit on memory or time, or a reboot"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Validation(_Strict):
    """Keys that are read from a line of the training log."""

    iteration: Annotated[int, Field(ge=0, lt=2**53)]
    validation_dice: Annotated[float, Field(ge=0, le=1)]


class _Training(_Strict):
    """Keys that are read from run.json."""

    seconds: Annotated[float, Field(ge=0, le=1e12)]
    diverged: str | None = None
    architecture: dict[str, Any]
    objective: dict[str, Any]
    training: dict[str, Any]
    data: dict[str, Any]


@dataclass(frozen=True)
class RunStatus:
    """Status of a run.

    Attributes:
        run: the run.
        state: ``done`` after the evaluation, or ``diverged`` if the run could not be scored; ``waiting`` before
            training, between training and evaluation, while the job is in the queue of SLURM, and after an
            interruption, from which the run resumes when the workflow is started again; ``outdated`` if settings or
            data have changed since training, so that the workflow retrains the run; ``unreadable`` if a file is
            damaged.
        trained: whether training is finished.
        task: the current, failed or next task, ``train`` or ``evaluate``; empty without remaining work.
        step: current step of the task.
        done: finished units of the step; iterations during training.
        total: units of the step; None if unknown.
        seconds_left: estimated time until the step is finished; None if unknown.
        iteration: iteration of the last validation; None before the first.
        validation_dice: its score, in [0, 1].
        seconds: training time; None before training is finished, and for runs that diverged, which end early.
        queued: reason why the SLURM job is queued; empty if it is not.
        where: device, machine and SLURM job of a running task.
        error: first line of the error, the reason for divergence, or what is outdated or unreadable; otherwise empty.
        log: file with the full error, relative to the working directory; empty without an error.
    """

    run: Run
    state: State
    trained: bool
    task: str
    step: str = ""
    done: float = 0
    total: float | None = None
    seconds_left: float | None = None
    iteration: int | None = None
    validation_dice: float | None = None
    seconds: float | None = None
    queued: str = ""
    where: str = ""
    error: str = ""
    log: str = ""


def study_status(config: Config, results: Path, queue: Iterable[tuple[str, str]] = ()) -> list[RunStatus]:
    """The status of every run of a study, in the order of its grid.

    Args:
        config: the study.
        results: its results folder; it need not exist.
        queue: queued jobs, from :func:`study_queue`.
    """
    study, reasons = StudyFolder(results, config), dict(queue)
    return [_status(study, run, reasons) for run in study.runs]


def study_queue(results: Path) -> list[tuple[str, str]]:
    """Queued SLURM jobs of a study: the path of each log in ``SLURM_LOGS``, and the reason why it is queued."""
    name = _lines(results / "logs" / "slurm_name.txt")
    return slurm.queued(name[0], _slurm_logs(results)) if name else []  # without a name, no job was submitted to SLURM


def _slurm_logs(results: Path) -> Path:
    return StudyFolder(results, None).home / SLURM_LOGS


def _status(study: StudyFolder, run: Run, queue: Mapping[str, str]) -> RunStatus:
    """The status of a run, ``unreadable`` if its files are damaged."""
    try:
        return _readable_status(study, run, queue)
    except InputError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename or study.run_folder(run)}: {explained(error)}"
    return RunStatus(run, "unreadable", trained=True, task="", error=reason, log=str(study.run_folder(run)))


def _readable_status(study: StudyFolder, run: Run, queue: Mapping[str, str]) -> RunStatus:
    folder = study.run_folder(run)
    present = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    trained = present >= _TRAINED
    values, changed, diverged = _last_validation(folder), "", ""
    if trained:
        description = read_json(folder / "run.json", _MAX_BYTES, _RETRAIN)
        values["seconds"], diverged = _training_result(folder / "run.json", description)
        changed = study.outdated(run, description)
    trained = trained and not changed
    beat = read_beat(folder)
    if beat and beat.alive:
        progress = (beat.step, beat.done, beat.total, beat.seconds_left)
        return RunStatus(run, "running", trained, beat.task, *progress, where=_where(beat), **values)
    if changed:
        values["seconds"] = None
        values["queued"] = queue.get(_job("train", run), "")
        reason = f"'{changed}' differs from run.json; the workflow retrains it"
        return RunStatus(run, "outdated", False, "train", error=reason, log=str(folder), **values)
    if trained and present >= _EVALUATED:
        if reason := diverged or _divergence(folder / "records.parquet"):
            return RunStatus(run, "diverged", True, "", error=reason, log=str(folder))
        return RunStatus(run, "done", True, "", **values)
    task = "evaluate" if trained else "train"
    if queued := queue.get(_job(task, run)):
        return RunStatus(run, "waiting", trained, task, queued=queued, **values)
    error, log = _error(folder, task, beat, _slurm_logs(study.root))
    return RunStatus(run, "failed" if error else "waiting", trained, task, error=error, log=log, **values)


def _job(task: str, run: Run) -> str:
    """Log folder of the workflow's job for a task, in ``SLURM_LOGS``."""
    return f"rule_{task}/{'_'.join(map(str, run.keys.values()))}"


def _error(folder: Path, task: str, beat: Beat | None, slurm_logs: Path) -> tuple[str, str]:
    """First line of the error that ended a task, and the file with more; both empty without an error."""
    log = folder / f"{task}.log"
    if beat and beat.task == task:
        if beat.interrupted:
            return "", ""
        if beat.error:
            return beat.error, str(log if log.exists() else folder)
        for file in slurm_logs.glob(f"**/{beat.slurm_job}.log") if _NUMBER.fullmatch(beat.slurm_job) else ():
            if messages := [line for line in _lines(file) if _SLURM.search(line)]:
                return messages[0], str(file)
        return _KILLED, str(log if log.exists() else folder)
    error = first_error(_lines(log))
    return (error, str(log)) if error else ("", "")


def first_error(lines: Sequence[str]) -> str:
    """First line of the error in the log of a command: its error message, or the exception of the last traceback.

    Empty without an error.
    """
    for line in reversed(lines):
        if match := _SENTENCE.match(line):
            return match[1]
        if _EXCEPTION.match(line) and any(other.startswith("Traceback (") for other in lines):
            return line
    return ""


def _lines(file: Path) -> list[str]:
    """The last lines of a text file, at most 64 KiB; empty if it is not a regular file, as reading a pipe blocks."""
    if not file.is_file():
        return []
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 2**16))
            return stream.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _last_validation(folder: Path) -> dict[str, Any]:
    """Iteration and Dice of the last validation; empty before the first.

    Raises:
        InputError: the training log is damaged.
    """
    file = folder / "history.jsonl"
    if file.exists() and not file.is_file():
        raise InputError(f"{file}: is not a regular file; {_RETRAIN}")
    for line in reversed(_lines(file)):
        try:
            return _Validation.model_validate_json(line).model_dump()
        except ValidationError:
            raise InputError(f"{file}: last line is not a valid entry; {_RETRAIN}") from None
    return {}


def _training_result(file: Path, recorded: Any) -> tuple[float | None, str]:
    """Training time, None if the run diverged, and the reason for divergence, if any.

    Raises:
        InputError: the description of the run is damaged.
    """
    try:
        training = _Training.model_validate(recorded)
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"])) or "content"
        raise InputError(f"{file}: '{key}' is missing or damaged; {_RETRAIN}") from None
    return (None, training.diverged) if training.diverged else (training.seconds, "")


def _divergence(file: Path) -> str:
    """Reason why an evaluated run diverged; empty if it did not.

    Raises:
        InputError: the records are damaged.
    """
    from pyarrow import parquet  # takes half a second to import

    from spectralseg.metrics.records import divergence

    with reading(file, "metric records", "delete it, so that the workflow evaluates the run again"):
        parquet.read_metadata(file)
    return divergence(file)


def _where(beat: Beat) -> str:
    job = f"SLURM job {beat.slurm_job}" if beat.slurm_job else ""
    return ", ".join(part for part in (beat.device and f"device {beat.device}", beat.host, job) if part)


def seconds_left(statuses: Iterable[RunStatus]) -> float | None:
    """Estimate the time until all runs are trained, with as many in parallel as are running now, or one.

    The training time of a run is the mean over finished runs of the same dataset and architecture, otherwise over all
    finished runs. Evaluation is not included. None without an estimate for a run.
    """
    statuses = list(statuses)
    times: dict[tuple[str, str], list[float]] = {}
    for status in statuses:
        if status.seconds is not None:
            times.setdefault((status.run.dataset, status.run.architecture), []).append(status.seconds)
    means = {cell: statistics.fmean(seconds) for cell, seconds in times.items()}
    total, running = 0.0, 0
    for status in statuses:
        if status.trained:
            continue
        running += status.state == "running"
        overall = statistics.fmean(means.values()) if means else None
        left = means.get((status.run.dataset, status.run.architecture), overall)
        if status.state == "running" and status.task == "train" and status.seconds_left:
            left = status.seconds_left
        if left is None:
            return None
        total += left
    return total / max(1, running)


def as_json(
    config: Config,
    statuses: Sequence[RunStatus],
    queue: Iterable[tuple[str, str]] = (),
    left_out: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The status of a study as plain values.

    Args:
        config: the study.
        statuses: from :func:`study_status`.
        queue: from :func:`study_queue`.
        left_out: see :attr:`~spectralseg.study_folder.StudyFolder.left_out`.
    """
    count = Counter(status.state for status in statuses)
    return {
        "study": config.name,
        "runs": len(statuses),
        **{state: count[state] for state in STATES},
        "trained": sum(status.trained for status in statuses),
        "seconds_left": seconds_left(statuses),
        "queue": [{"rule": rule, "reason": reason, "jobs": jobs} for (rule, reason), jobs in _by_rule(queue)],
        "left_out": dict(left_out or {}),
        "status": [
            {**status.run.keys, **{k: v for k, v in asdict(status).items() if k != "run"}} for status in statuses
        ],
    }


def as_text(
    config: Config, statuses: Sequence[RunStatus], queue: Iterable[tuple[str, str]] = (), left_out: str = ""
) -> str:
    """The status of a study for a terminal: totals, running and queued jobs, errors, the grid, and ``left_out``."""
    count = Counter(status.state for status in statuses)
    counts = [f"{count[state]} {state}" for state in STATES if count[state] or state not in _RARE]
    head = f"{config.name}: {len(statuses)} runs · " + " · ".join(counts)
    if (left := seconds_left(statuses)) and any(status.state not in FINAL for status in statuses):
        head += f" · training finishes in about {duration(left)}"
    parts = [head]
    if running := [status for status in statuses if status.state == "running"]:
        rows = [
            (status.run.folder, _progress(status), _dice(status.validation_dice), _left(status), status.where)
            for status in running
        ]
        parts.append("Running\n" + table(("run", "progress", "Dice", "left", "where"), rows))
    if waiting := [(rule, str(jobs), reason) for (rule, reason), jobs in _by_rule(queue)]:
        parts.append("In the queue of SLURM\n" + table(("rule", "jobs", "wait for"), waiting))
    for state in _RARE:
        if members := [f"  {status.run.folder}: {status.error}" for status in statuses if status.state == state]:
            parts.append("\n".join([state.capitalize(), *members]))
    if failed := [
        f"  {status.run.folder}, {status.task}: {status.error}\n    {status.log}"
        for status in statuses
        if status.state == "failed"
    ]:
        parts.append("\n".join(["Failed", *failed]))
    cells: dict[tuple[str, str, str, str], list[RunStatus]] = {}
    for status in statuses:
        run = status.run
        cells.setdefault((run.dataset, run.architecture, run.objective, run.lam), []).append(status)
    grid = [(*cell, _mean_dice(members), _seeds(members)) for cell, members in cells.items()]
    parts.append(table(("dataset", "architecture", "objective", "λ", "Dice", "seeds"), grid))
    if left_out:
        parts.append(left_out)
    return "\n\n".join(parts)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align rows of text in columns, indented by two spaces."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (headings, *rows))
    return "\n".join("  " + line.rstrip() for line in lines)


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 05 min`` or ``2 d 04 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60:02} h"


def _by_rule(queue: Iterable[tuple[str, str]]) -> list[tuple[tuple[str, str], int]]:
    """Numbers of queued jobs by rule and reason."""
    return sorted(Counter((folder.split("/")[0].removeprefix("rule_"), reason) for folder, reason in queue).items())


def _progress(status: RunStatus) -> str:
    if not status.total:
        return status.step or f"{status.task}: starting"
    step = status.step if status.step == status.task else f"{status.task}, {status.step}"
    return f"{step}: {status.done:,.0f} of {status.total:,.0f} ({100 * status.done / status.total:.0f} %)"


def _left(status: RunStatus) -> str:
    return "" if status.seconds_left is None else duration(status.seconds_left)


def _dice(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _mean_dice(members: Sequence[RunStatus]) -> str:
    values = [status.validation_dice for status in members if status.validation_dice is not None]
    return _dice(statistics.fmean(values)) if values else ""


def _seeds(members: Sequence[RunStatus]) -> str:
    """Seeds by state."""
    groups = ((state, [status.run.seed for status in members if status.state == state]) for state in STATES)
    return " · ".join(f"{state} {_ranges(seeds)}" for state, seeds in groups if seeds)


def _ranges(numbers: Sequence[int]) -> str:
    """``0-2, 5`` for 0, 1, 2, 5."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans)
