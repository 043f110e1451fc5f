"""The status of a study as text for a terminal and as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from spectralseg.config import Config
from spectralseg.operations import stages
from spectralseg.operations.stages import TimeLeft
from spectralseg.operations.status import (
    STATES,
    FailedJob,
    RunStatus,
    State,
    of_autoencoders,
    of_runs,
)

_RARE: tuple[State, ...] = ("diverged", "outdated", "unreadable")  # states that totals omit if there are no such runs


def as_json(
    config: Config,
    statuses: Sequence[RunStatus],
    queue: Iterable[tuple[str, str]] = (),
    left_out: Mapping[str, int] | None = None,
    time: TimeLeft | None = None,
    failed: Sequence[FailedJob] = (),
) -> dict[str, Any]:
    """The status of a study as plain values. Numbers by state count runs and masked autoencoders.

    Args:
        config: the study.
        statuses: from :func:`study_status`.
        queue: from :func:`study_queue`.
        left_out: see :attr:`~spectralseg.study_folder.StudyFolder.left_out`.
        time: remaining time of all stages.
        failed: from :func:`failed_jobs`.
    """
    count = Counter(status.state for status in statuses)
    runs, autoencoders = of_runs(statuses), of_autoencoders(statuses)
    return {
        "study": config.name,
        "runs": len(runs),
        "autoencoders": len(autoencoders),
        **{state: count[state] for state in STATES},
        "trained": sum(status.trained for status in statuses),
        "seconds_left": time.seconds if time and time.complete else None,
        "time": time and stages.as_json(time),
        "queue": [{"rule": rule, "reason": reason, "jobs": jobs} for (rule, reason), jobs in _by_rule(queue)],
        "left_out": dict(left_out or {}),
        "failed_jobs": [asdict(job) for job in failed],
        "pretraining": [_fields(status) for status in autoencoders],
        "status": [_fields(status) for status in runs],
    }


def _fields(status: RunStatus) -> dict[str, Any]:
    """A status as plain values; the score has its name in the training log."""
    fields = {status.kind.score if key == "score" else key: value for key, value in asdict(status).items()}
    del fields["run"]
    return {**status.run.keys, **fields}


def as_text(
    config: Config,
    statuses: Sequence[RunStatus],
    queue: Iterable[tuple[str, str]] = (),
    left_out: str = "",
    time: TimeLeft | None = None,
    failed: Sequence[FailedJob] = (),
) -> str:
    """The status of a study for a terminal: totals, remaining time, running and queued jobs, errors, masked
    autoencoders, the grid, and ``left_out``; for the arguments, see :func:`as_json`.
    """
    count = Counter(status.state for status in statuses)
    counts = [f"{count[state]} {state}" for state in STATES if count[state] or state not in _RARE]
    head = f"{config.name}: {amounts(len(of_runs(statuses)), len(of_autoencoders(statuses)))} · " + " · ".join(counts)
    parts = ["\n".join([head, *(stages.sentences(time) if time else [])])]
    if running := [status for status in statuses if status.state == "running"]:
        rows = [
            (status.title, _progress(status), _validation(status), _left(status), status.where) for status in running
        ]
        parts.append("Running\n" + table(("run", "progress", "validation", "left", "where"), rows))
    if waiting := [(rule, str(jobs), reason) for (rule, reason), jobs in _by_rule(queue)]:
        parts.append("In the queue of SLURM\n" + table(("rule", "jobs", "wait for"), waiting))
    for state in _RARE:
        if members := [f"  {status.title}: {status.error}" for status in statuses if status.state == state]:
            parts.append("\n".join([state.capitalize(), *members]))
    failures = [(job.name, job.error, job.log) for job in failed]
    failures += [
        (f"{status.title}, {status.task}", status.error, status.log) for status in statuses if status.state == "failed"
    ]
    if failures:
        parts.append("\n".join(["Failed", *(f"  {what}: {error}\n    {log}" for what, error, log in failures)]))
    if of_autoencoders(statuses):
        parts.append(_autoencoder_table(statuses))
    parts.append(_grid(of_runs(statuses)))
    if left_out:
        parts.append(left_out)
    return "\n\n".join(parts)


def amounts(runs: int, autoencoders: int) -> str:
    """``12 runs`` or ``12 runs, 2 autoencoders``."""
    return f"{runs} runs" + (f", {autoencoders} autoencoder{'s' * (autoencoders > 1)}" if autoencoders else "")


def _autoencoder_table(statuses: Sequence[RunStatus]) -> str:
    """Masked autoencoders with their state and the number of runs that wait for them."""
    waiting = Counter((status.run.dataset, name) for status in statuses for name in status.waits_for)
    rows = [
        (
            *map(str, status.run.keys.values()),
            _progress(status) if status.state == "running" else status.state,
            _number(status.score),
            str(waiting[status.run.dataset, str(status.run.keys["pretraining"])] or ""),
        )
        for status in of_autoencoders(statuses)
    ]
    return table(("dataset", "autoencoder", "state", "R²", "runs waiting"), rows)


def _grid(statuses: Sequence[RunStatus]) -> str:
    """Runs by dataset, architecture, objective and λ, with the mean Dice and the seeds in each state."""
    cells: dict[tuple[str, ...], list[RunStatus]] = {}
    for status in statuses:
        *cell, _ = map(str, status.run.keys.values())
        cells.setdefault(tuple(cell), []).append(status)
    grid = [(*cell, _mean_dice(members), _seeds(members)) for cell, members in cells.items()]
    return table(("dataset", "architecture", "objective", "λ", "Dice", "seeds"), grid)


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


def _validation(status: RunStatus) -> str:
    return "" if status.score is None else f"{status.kind.symbol} {_number(status.score)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _mean_dice(members: Sequence[RunStatus]) -> str:
    values = [status.score for status in members if status.score is not None]
    return _number(statistics.fmean(values)) if values else ""


def _seeds(members: Sequence[RunStatus]) -> str:
    """Seeds by state."""
    groups = (
        (state, [int(status.run.keys["seed"]) for status in members if status.state == state]) for state in STATES
    )
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
