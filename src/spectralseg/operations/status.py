"""Where every run of a study stands, read from the folders of the runs: no server, the same here and under SLURM.

SLURM is asked only what its jobs wait for.
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

SLURM_LOGS = ".snakemake/slurm_logs"  # where the workflow keeps what SLURM said of its jobs

State = Literal["done", "diverged", "outdated", "unreadable", "running", "failed", "waiting"]
STATES: tuple[State, ...] = ("done", "diverged", "outdated", "unreadable", "running", "failed", "waiting")
_RARE = ("diverged", "outdated", "unreadable")  # states that totals name only where there are some
FINAL: tuple[State, ...] = ("done", "diverged")  # nothing is left to do

# The outputs of the rules `train` and `evaluate`.
_TRAINED = {"model.pt", "run.json", "history.jsonl"}
_EVALUATED = {"records.parquet", "reliability.parquet", "examples.npz"}
_SENTENCE = re.compile(r"^error: (.+)")
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning)\b(?:: .+)?$")
_SLURM = re.compile(r"(?:oom.?kill|out of memory|DUE TO |CANCELLED|NODE FAIL|Killed)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(_\d+)?", re.ASCII)  # of a SLURM job
_RETRAIN = "delete it, so that the workflow trains the run again"
_LONGEST = 2**24  # bytes of run.json
_SILENT = "ended without a word: killed from outside, by kill -9, a limit on memory or time, or a reboot"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Validation(_Strict):
    """What is read of a line of the training log."""

    iteration: Annotated[int, Field(ge=0, lt=2**53)]
    validation_dice: Annotated[float, Field(ge=0, le=1)]


class _Training(_Strict):
    """What is read of run.json."""

    seconds: Annotated[float, Field(ge=0, le=1e12)]
    diverged: str | None = None
    architecture: dict[str, Any]
    objective: dict[str, Any]
    training: dict[str, Any]
    data: dict[str, Any]


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands.

    Attributes:
        run: its identity.
        state: ``done`` once it is evaluated, or ``diverged`` where that scored nothing; ``waiting`` also between
            training and evaluation, while SLURM's queue holds another attempt, and after an interruption, from which
            it resumes when the workflow is started again; ``outdated`` where it was trained with other settings or data
            than the study has now, so that the workflow trains it again; ``unreadable`` where a file is damaged.
        trained: whether training is over.
        task: ``train`` or ``evaluate``: what is being done, failed, or comes next; empty when all is done.
        step: what is being worked on.
        done: how much of it; iterations while it trains.
        total: of how much; None where that is not known.
        seconds_left: of this step; None where that is not known.
        iteration: of the last validation; None before the first.
        validation_dice: then, in [0, 1].
        seconds: that the training took; None until it is over, and for a run that diverged, which ends early.
        queued: what its job in SLURM's queue waits for; empty if there is none.
        where: device, machine and SLURM job of what is running.
        error: first line of what went wrong, why the run diverged, what is outdated or cannot be read; empty otherwise.
        log: file with the whole of it, relative to the working directory; empty where nothing went wrong.
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
        results: its folder; it need not exist yet.
        queue: of :func:`study_queue`.
    """
    study, reasons = StudyFolder(results, config), dict(queue)
    return [_status(study, run, reasons) for run in study.runs]


def study_queue(results: Path) -> list[tuple[str, str]]:
    """Jobs of a study that SLURM has not started: where in ``SLURM_LOGS`` each writes, and what it waits for."""
    name = _lines(results / "logs" / "slurm_name.txt")
    return slurm.queued(name[0], _slurm_logs(results)) if name else []  # else never submitted to a SLURM


def _slurm_logs(results: Path) -> Path:
    return StudyFolder(results, None).home / SLURM_LOGS


def _status(study: StudyFolder, run: Run, queue: Mapping[str, str]) -> RunStatus:
    """The status of a run; damaged files of one must not keep anybody from seeing the others."""
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
    known, changed, diverged = _last_validation(folder), "", ""
    if trained:
        told = read_json(folder / "run.json", _LONGEST, _RETRAIN)
        known["seconds"], diverged = _training_result(folder / "run.json", told)
        changed = study.outdated(run, told)
    trained = trained and not changed
    beat = read_beat(folder)
    if beat and beat.alive:
        counted = (beat.step, beat.done, beat.total, beat.seconds_left)
        return RunStatus(run, "running", trained, beat.task, *counted, where=_where(beat), **known)
    if changed:
        known["seconds"] = None
        known["queued"] = queue.get(_job("train", run), "")
        reason = f"'{changed}' differs from run.json; the workflow trains it again"
        return RunStatus(run, "outdated", False, "train", error=reason, log=str(folder), **known)
    if trained and present >= _EVALUATED:
        if reason := diverged or _divergence(folder / "records.parquet"):
            return RunStatus(run, "diverged", True, "", error=reason, log=str(folder))
        return RunStatus(run, "done", True, "", **known)
    task = "evaluate" if trained else "train"
    if queued := queue.get(_job(task, run)):
        return RunStatus(run, "waiting", trained, task, queued=queued, **known)
    error, log = _error(folder, task, beat, _slurm_logs(study.root))
    return RunStatus(run, "failed" if error else "waiting", trained, task, error=error, log=log, **known)


def _job(task: str, run: Run) -> str:
    """Where the workflow's job for a task logs."""
    return f"rule_{task}/{'_'.join(map(str, run.keys.values()))}"


def _error(folder: Path, task: str, beat: Beat | None, slurm_logs: Path) -> tuple[str, str]:
    """First line of what ended a task, and where to read on; empty if nothing did."""
    log = folder / f"{task}.log"
    if beat and beat.task == task:
        if beat.interrupted:
            return "", ""
        if beat.error:
            return beat.error, str(log if log.exists() else folder)
        for file in slurm_logs.glob(f"**/{beat.slurm_job}.log") if _NUMBER.fullmatch(beat.slurm_job) else ():
            if told := [line for line in _lines(file) if _SLURM.search(line)]:
                return told[0], str(file)
        return _SILENT, str(log if log.exists() else folder)
    error = first_error(_lines(log))
    return (error, str(log)) if error else ("", "")


def first_error(lines: Sequence[str]) -> str:
    """First line of the error that ended a command, from its log: its own sentence, or the exception of the last
    traceback; empty if there is none.
    """
    for line in reversed(lines):
        if found := _SENTENCE.match(line):
            return found[1]
        if _EXCEPTION.match(line) and any(other.startswith("Traceback (") for other in lines):
            return line
    return ""


def _lines(file: Path) -> list[str]:
    """The end of a text file, at most 64 KiB of it; nothing of what is no file, as reading a pipe would wait."""
    if not file.is_file():
        return []
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 2**16))
            return stream.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _last_validation(folder: Path) -> dict[str, Any]:
    """Iteration and Dice of the last validation; nothing before the first.

    Raises:
        InputError: the training log is damaged.
    """
    file = folder / "history.jsonl"
    if file.exists() and not file.is_file():
        raise InputError(f"{file}: is no regular file; {_RETRAIN}")
    for line in reversed(_lines(file)):
        try:
            return _Validation.model_validate_json(line).model_dump()
        except ValidationError:
            raise InputError(f"{file}: its last line is no validation; {_RETRAIN}") from None
    return {}


def _training_result(file: Path, recorded: Any) -> tuple[float | None, str]:
    """Seconds that training took, None where it diverged, and the reason if it did.

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
    """Why an evaluated run diverged; empty if it did not.

    Raises:
        InputError: its records are damaged.
    """
    from pyarrow import parquet  # takes half a second to import

    from spectralseg.metrics.records import divergence

    with reading(file, "metric records", "delete it, so that the workflow evaluates the run again"):
        parquet.read_metadata(file)
    return divergence(file)


def _where(beat: Beat) -> str:
    job = f"SLURM job {beat.slurm_job}" if beat.slurm_job else ""
    return ", ".join(part for part in (beat.device and f"device {beat.device}", beat.host, job) if part)


def seconds_left(found: Iterable[RunStatus]) -> float | None:
    """Estimate of the time until all runs are trained, at as many at once as are running now (or one).

    A run is taken to last as long as the mean of those that are finished, of the same dataset and architecture where
    there are any. Evaluation is not in it. None where nothing is known yet.
    """
    found = list(found)
    known: dict[tuple[str, str], list[float]] = {}
    for one in found:
        if one.seconds is not None:
            known.setdefault((one.run.dataset, one.run.architecture), []).append(one.seconds)
    means = {cell: statistics.fmean(times) for cell, times in known.items()}
    left, at_work = 0.0, 0
    for one in found:
        if one.trained:
            continue
        at_work += one.state == "running"
        mean = means.get((one.run.dataset, one.run.architecture), statistics.fmean(means.values()) if means else None)
        mine = one.seconds_left if one.state == "running" and one.task == "train" and one.seconds_left else mean
        if mine is None:
            return None
        left += mine
    return left / max(1, at_work)


def as_json(
    config: Config,
    found: Sequence[RunStatus],
    queue: Iterable[tuple[str, str]] = (),
    left_out: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The status of a study as plain values.

    Args:
        config: the study.
        found: of :func:`study_status`.
        queue: as there.
        left_out: see :attr:`~spectralseg.study_folder.StudyFolder.left_out`.
    """
    count = Counter(one.state for one in found)
    return {
        "study": config.name,
        "runs": len(found),
        **{state: count[state] for state in STATES},
        "trained": sum(one.trained for one in found),
        "seconds_left": seconds_left(found),
        "queue": [{"rule": rule, "reason": why, "jobs": jobs} for (rule, why), jobs in _by_rule(queue)],
        "left_out": dict(left_out or {}),
        "status": [{**one.run.keys, **{k: v for k, v in asdict(one).items() if k != "run"}} for one in found],
    }


def as_text(
    config: Config, found: Sequence[RunStatus], queue: Iterable[tuple[str, str]] = (), left_out: str = ""
) -> str:
    """The status of a study for a terminal: totals, what runs, what queues, what failed and why, the grid, and a
    sentence on what was left out.
    """
    count = Counter(one.state for one in found)
    counts = [f"{count[state]} {state}" for state in STATES if count[state] or state not in _RARE]
    head = f"{config.name}: {len(found)} runs · " + " · ".join(counts)
    if (left := seconds_left(found)) and any(one.state not in FINAL for one in found):
        head += f" · training over in about {duration(left)}"
    parts = [head]
    if running := [one for one in found if one.state == "running"]:
        rows = [(_name(one), _progress(one), _dice(one.validation_dice), _left(one), one.where) for one in running]
        parts.append("Running\n" + table(("run", "progress", "Dice", "left", "where"), rows))
    if waiting := [(rule, str(jobs), why) for (rule, why), jobs in _by_rule(queue)]:
        parts.append("In the queue of SLURM\n" + table(("rule", "jobs", "wait for"), waiting))
    for state in _RARE:
        if members := [f"  {_name(one)}: {one.error}" for one in found if one.state == state]:
            parts.append("\n".join([state.capitalize(), *members]))
    if failed := [one for one in found if one.state == "failed"]:
        parts.append(
            "Failed\n" + "\n".join(f"  {_name(one)}, {one.task}: {one.error}\n    {one.log}" for one in failed)
        )
    cells: dict[tuple[str, str, str, str], list[RunStatus]] = {}
    for one in found:
        cells.setdefault((one.run.dataset, one.run.architecture, one.run.objective, one.run.lam), []).append(one)
    grid = [(*cell, _mean_dice(members), _seeds(members)) for cell, members in cells.items()]
    parts.append(table(("dataset", "architecture", "objective", "λ", "Dice", "seeds"), grid))
    if left_out:
        parts.append(left_out)
    return "\n\n".join(parts)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text as wide as they must be, indented by two."""
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
    """Rules and reasons of queued jobs, with how many there are."""
    return sorted(Counter((folder.split("/")[0].removeprefix("rule_"), why) for folder, why in queue).items())


def _name(one: RunStatus) -> str:
    return one.run.folder


def _progress(one: RunStatus) -> str:
    if not one.total:
        return one.step or f"{one.task}: starting"
    step = one.step if one.step == one.task else f"{one.task}, {one.step}"
    return f"{step}: {one.done:,.0f} of {one.total:,.0f} ({100 * one.done / one.total:.0f} %)"


def _left(one: RunStatus) -> str:
    return "" if one.seconds_left is None else duration(one.seconds_left)


def _dice(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _mean_dice(members: Sequence[RunStatus]) -> str:
    values = [one.validation_dice for one in members if one.validation_dice is not None]
    return _dice(statistics.fmean(values)) if values else ""


def _seeds(members: Sequence[RunStatus]) -> str:
    """Which seeds are in which state, those of a state together."""
    groups = ((state, [one.run.seed for one in members if one.state == state]) for state in STATES)
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
