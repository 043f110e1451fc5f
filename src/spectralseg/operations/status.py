"""Where every run of a study stands, read from the folders of the runs: no server, the same here and under SLURM.

SLURM is asked only what its jobs wait for.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from spectralseg import slurm
from spectralseg.config import Config
from spectralseg.grid import Run, runs
from spectralseg.operations.heartbeat import Beat, read_beat

SLURM_LOGS = Path(".snakemake/slurm_logs")  # where the workflow keeps what SLURM said of its jobs

State = Literal["done", "diverged", "running", "failed", "waiting"]
STATES: tuple[State, ...] = ("done", "diverged", "running", "failed", "waiting")
FINAL: tuple[State, ...] = ("done", "diverged")  # nothing is left to do

_TRAINED, _EVALUATED = {"model.pt", "run.json"}, {"records.parquet"}
_SENTENCE = re.compile(r"^error: (.+)")
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning)\b(?:: .+)?$")
_SLURM = re.compile(r"(?:oom.?kill|out of memory|DUE TO |CANCELLED|NODE FAIL|Killed)", re.IGNORECASE)
_SILENT = "ended without a word: killed from outside, by kill -9, a limit on memory or time, or a reboot"


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands.

    Attributes:
        run: its identity.
        state: ``done`` once it is evaluated, or ``diverged`` where that scored nothing; ``waiting`` also between
            training and evaluation, while SLURM's queue holds another attempt, and after an interruption, from which
            it resumes when the workflow is started again.
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
        error: first line of what went wrong, or why the run diverged; empty otherwise.
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
    reasons = dict(queue)
    return [_run_status(run, results / "runs" / run.folder, reasons) for run in runs(config)]


def study_queue(results: Path) -> list[tuple[str, str]]:
    """Jobs of a study that SLURM has not started: where in ``SLURM_LOGS`` each writes, and what it waits for."""
    with contextlib.suppress(FileNotFoundError):  # never submitted to a SLURM
        return slurm.queued((results / "logs" / "slurm_name.txt").read_text(encoding="utf-8"), SLURM_LOGS)
    return []


def _run_status(run: Run, folder: Path, queue: Mapping[str, str]) -> RunStatus:
    try:
        present = {entry.name for entry in os.scandir(folder)}
    except (FileNotFoundError, NotADirectoryError):
        present = set()
    trained = present >= _TRAINED
    known, diverged = _last_validation(folder), ""
    if trained:
        known["seconds"], diverged = _training(folder)
    beat = read_beat(folder)
    if beat and beat.alive:
        counted = (beat.step, beat.done, beat.total, beat.seconds_left)
        return RunStatus(run, "running", trained, beat.task, *counted, where=_where(beat), **known)
    if trained and present >= _EVALUATED:
        if reason := diverged or _divergence(folder):
            return RunStatus(run, "diverged", True, "", error=reason, log=str(folder))
        return RunStatus(run, "done", True, "", **known)
    task = "evaluate" if trained else "train"
    if queued := queue.get(f"rule_{task}/{'_'.join(map(str, run.keys.values()))}"):  # as the workflow's jobs log
        return RunStatus(run, "waiting", trained, task, queued=queued, **known)
    error, log = _error(folder, task, beat)
    return RunStatus(run, "failed" if error else "waiting", trained, task, error=error, log=log, **known)


def _error(folder: Path, task: str, beat: Beat | None) -> tuple[str, str]:
    """First line of what ended a task, and where to read on; empty if nothing did."""
    log = folder / f"{task}.log"
    if beat and beat.task == task:
        if beat.interrupted:
            return "", ""
        if beat.error:
            return beat.error, str(log if log.exists() else folder)
        for file in SLURM_LOGS.glob(f"**/{beat.slurm_job}.log") if beat.slurm_job else ():
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
    """The end of a text file, at most 64 KiB of it."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 2**16))
            return stream.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _last_validation(folder: Path) -> dict[str, Any]:
    for line in reversed(_lines(folder / "history.jsonl")):
        try:
            entry = json.loads(line)
            return {"iteration": int(entry["iteration"]), "validation_dice": float(entry["validation_dice"])}
        except (ValueError, KeyError, TypeError):
            continue
    return {}


def _training(folder: Path) -> tuple[float | None, str]:
    """Seconds that training took, None where it diverged, and the reason if it did."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if diverged := run.get("diverged"):
            return None, str(diverged)
        return float(run["seconds"]), ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, ""


def _divergence(folder: Path) -> str:
    from spectralseg.metrics.records import divergence  # takes half a second to import

    return divergence(folder / "records.parquet")


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


def as_json(config: Config, found: Sequence[RunStatus], queue: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """The status of a study as plain values; ``queue`` as for :func:`study_status`."""
    count = Counter(one.state for one in found)
    return {
        "study": config.name,
        "runs": len(found),
        **{state: count[state] for state in STATES},
        "trained": sum(one.trained for one in found),
        "seconds_left": seconds_left(found),
        "queue": [{"rule": rule, "reason": why, "jobs": jobs} for (rule, why), jobs in _by_rule(queue)],
        "status": [{**one.run.keys, **{k: v for k, v in asdict(one).items() if k != "run"}} for one in found],
    }


def as_text(config: Config, found: Sequence[RunStatus], queue: Iterable[tuple[str, str]] = ()) -> str:
    """The status of a study for a terminal: totals, what runs, what queues, what failed and why, and the grid."""
    count = Counter(one.state for one in found)
    counts = [f"{count[state]} {state}" for state in STATES if count[state] or state != "diverged"]
    head = f"{config.name}: {len(found)} runs · " + " · ".join(counts)
    if (left := seconds_left(found)) and any(one.state not in FINAL for one in found):
        head += f" · training over in about {duration(left)}"
    parts = [head]
    if running := [one for one in found if one.state == "running"]:
        rows = [(_name(one), _progress(one), _dice(one.validation_dice), _left(one), one.where) for one in running]
        parts.append("Running\n" + table(("run", "progress", "Dice", "left", "where"), rows))
    if waiting := [(rule, str(jobs), why) for (rule, why), jobs in _by_rule(queue)]:
        parts.append("In the queue of SLURM\n" + table(("rule", "jobs", "wait for"), waiting))
    if diverged := [one for one in found if one.state == "diverged"]:
        parts.append("Diverged\n" + "\n".join(f"  {_name(one)}: {one.error}" for one in diverged))
    if failed := [one for one in found if one.state == "failed"]:
        parts.append(
            "Failed\n" + "\n".join(f"  {_name(one)}, {one.task}: {one.error}\n    {one.log}" for one in failed)
        )
    cells: dict[tuple[str, str, str, str], list[RunStatus]] = {}
    for one in found:
        cells.setdefault((one.run.dataset, one.run.architecture, one.run.objective, one.run.lam), []).append(one)
    grid = [(*cell, _mean_dice(members), _seeds(members)) for cell, members in cells.items()]
    parts.append(table(("dataset", "architecture", "objective", "λ", "Dice", "seeds"), grid))
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
