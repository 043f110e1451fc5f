"""Queries and requests to SLURM, through its commands."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from spectralseg.errors import InputError

_PATIENCE = 180  # seconds to wait for cancelled jobs; SLURM kills them after KillWait, 30 by default
_log = logging.getLogger(__name__)


def seconds_of(duration: str) -> int | None:
    """Seconds of a duration in SLURM's notation: MINUTES, MINUTES:SECONDS, H:MM:SS, D-H, D-H:MM or D-H:MM:SS.

    None for any other text, such as ``UNLIMITED``.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", duration.strip(), re.ASCII)
    if match is None:
        return None
    days, *rest = match.groups()
    numbers = [int(number) for number in rest if number]
    units = (3600, 60, 1) if days or len(numbers) == 3 else (60, 1)
    return 86400 * int(days or 0) + sum(unit * number for unit, number in zip(units, numbers, strict=False))


def job() -> str | None:
    """ID of the enclosing job, ``17_3`` for a task of a job array; None outside of jobs.

    ``SLURM_JOB_ID`` is not enough: for one task of an array, it is the ID of the whole array.
    """
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def time_left() -> float | None:
    """Seconds until the time limit of the enclosing job; None without a job or a limit."""
    job_id = job()
    if job_id is None:
        return None
    end = os.environ.get("SLURM_JOB_END_TIME", "")  # set by newer versions of SLURM only
    if end.isdecimal():
        return int(end) - time.time()
    left = _ask("squeue", "--noheader", "--jobs", job_id, "--format", "%L")
    if left is None:
        _log.warning("SLURM does not report the time left for job %s; it will be stopped without warning", job_id)
    return seconds_of(left) if left is not None else None


def partition_limit(partition: str | None = None) -> int | None:
    """Time limit of a partition in minutes; the longest one of several (``a,b``); None means the default partition.

    None if there is no limit, no such partition, or no SLURM.
    """
    option = ("--partition", partition) if partition else ()
    output = _ask("sinfo", "--noheader", "--format", "%P|%l", *option) if shutil.which("sinfo") else None
    lines = [line.split("|") for line in (output or "").splitlines()]
    seconds = [seconds_of(limit) for name, limit in lines if partition or name.endswith("*")]
    return max((limit or 0) // 60 for limit in seconds) if seconds and None not in seconds else None


def requeue() -> None:
    """Requeue the enclosing job. SLURM then ends this process, immediately or soon after.

    This does nothing unless SLURM reports the job as running, as in the grace time before a preemption: a cancelled job
    must not be requeued, and SLURM requeues other jobs itself.
    """
    job_id = job()
    if job_id is None:
        return
    state = _ask("squeue", "--noheader", "--jobs", job_id, "--format", "%T")
    if state != "RUNNING":
        _log.info("job %s is not requeued: its state is %s", job_id, (state or "unknown").lower())
        return
    if _ask("scontrol", "requeue", job_id) is None:
        _log.warning("job %s cannot be requeued; rerun the command to resume the run", job_id)
    else:
        _log.info("job %s is requeued", job_id)


def cancel_jobs_named(name: str) -> list[str]:
    """Cancel the user's jobs with this name, wait until they have ended, and return their IDs.

    Empty if there is no SLURM.

    Raises:
        InputError: SLURM does not answer, or some jobs have not ended after three minutes.
    """
    query = ("squeue", "--user", str(os.getuid()), "--name", name, "--noheader", "--format", "%A")
    if not shutil.which("squeue"):
        return []
    output = _ask(*query)
    if output is None:
        raise InputError("SLURM does not answer, and jobs of an earlier run may still be running; try again later")
    jobs = sorted(set(output.split()), key=int)
    if jobs:
        _ask("scancel", *jobs)
    deadline = time.monotonic() + _PATIENCE
    while jobs and _ask(*query) != "":
        if time.monotonic() > deadline:
            raise InputError(f"SLURM jobs {', '.join(jobs)} of an earlier run do not end; end them and try again")
        time.sleep(1)
    return jobs


def queued(name: str, logs: Path) -> list[tuple[str, str]]:
    """Log folder and pending reason of the user's jobs with this name that SLURM has not started.

    Folders are relative to ``logs``; reasons are those of SLURM, such as ``Resources`` or ``Priority``. Empty if there
    is no SLURM, or if SLURM does not answer, which is logged as a warning.
    """
    query = ("--user", str(os.getuid()), "--name", name, "--states", "PENDING", "--array")
    command = ("squeue", *query, "--noheader", "--Format", "Reason:|,STDOUT:|")
    lines = (_ask(*command, patience=10) or "").splitlines() if shutil.which("squeue") else []
    jobs = (line.split("|") for line in lines if line.count("|") == 2)
    reasons = ((Path(file).parent, reason) for reason, file, _ in jobs)
    root = logs.resolve()
    return [(str(folder.relative_to(root)), reason) for folder, reason in reasons if folder.is_relative_to(root)]


def _ask(*command: str, patience: float = 60) -> str | None:
    """Output of a SLURM command; None, with a warning, if the command is missing, fails or takes too long."""
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("%s: %s", command[0], (getattr(error, "stderr", None) or str(error)).strip())
        return None
    return process.stdout.strip()
