"""What a process asks of the SLURM that it runs under, through SLURM's own commands."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from spectralseg.errors import InputError

_PATIENCE = 180  # seconds that cancelled jobs get to end; KillWait is 30 by default
_log = logging.getLogger(__name__)


def seconds_of(duration: str) -> int | None:
    """Seconds of a duration in SLURM's notation: MINUTES, MINUTES:SECONDS, H:MM:SS, D-H, D-H:MM or D-H:MM:SS.

    None if it is in another, as ``UNLIMITED`` is.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", duration.strip(), re.ASCII)
    if found is None:
        return None
    days, *rest = found.groups()
    numbers = [int(number) for number in rest if number]
    units = (3600, 60, 1) if days or len(numbers) == 3 else (60, 1)
    return 86400 * int(days or 0) + sum(unit * number for unit, number in zip(units, numbers, strict=False))


def job() -> str | None:
    """Number of the job that this process is part of, of a task of an array as ``17_3``; None outside of jobs.

    One task of every array has the number of the whole array as its own, and what is asked of it concerns all.
    """
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def time_left() -> float | None:
    """Seconds until the time limit of the job that this process is part of; None without a job or a limit."""
    mine = job()
    if mine is None:
        return None
    end = os.environ.get("SLURM_JOB_END_TIME", "")  # set by newer SLURMs only
    if end.isdecimal():
        return int(end) - time.time()
    left = _ask("squeue", "--noheader", "--jobs", mine, "--format", "%L")
    if left is None:
        _log.warning("SLURM does not say how much time job %s has left; it will be stopped without warning", mine)
    return seconds_of(left) if left is not None else None


def partition_limit(partition: str | None = None) -> int | None:
    """Minutes that a partition allows, of several (``a,b``) the most; of the default partition if none is named.

    None where there is no limit, no such partition, or no SLURM.
    """
    chosen = ("--partition", partition) if partition else ()
    listed = _ask("sinfo", "--noheader", "--format", "%P|%l", *chosen) if shutil.which("sinfo") else None
    lines = [line.split("|") for line in (listed or "").splitlines()]
    seconds = [seconds_of(limit) for name, limit in lines if partition or name.endswith("*")]
    return max((limit or 0) // 60 for limit in seconds) if seconds and None not in seconds else None


def requeue() -> None:
    """Put the job that this process is part of back in its queue. SLURM ends the process, then or soon after.

    Only while SLURM counts the job as running, as in the time of grace before a preemption: a cancelled job must not
    come back, and one that SLURM requeues does so by itself.
    """
    mine = job()
    if mine is None:
        return
    state = _ask("squeue", "--noheader", "--jobs", mine, "--format", "%T")
    if state != "RUNNING":
        _log.info("job %s is not requeued, for it is %s", mine, (state or "not known whether it runs").lower())
        return
    if _ask("scontrol", "requeue", mine) is None:
        _log.warning("job %s cannot be requeued; the run waits to be started again", mine)
    else:
        _log.info("job %s is back in its queue", mine)


def cancel_jobs_named(name: str) -> list[str]:
    """Cancel the user's jobs of this name, wait until they are gone, and return their numbers.

    Nothing where there is no SLURM.

    Raises:
        InputError: SLURM does not answer, or some are still there after three minutes.
    """
    mine = ("squeue", "--user", str(os.getuid()), "--name", name, "--noheader", "--format", "%A")
    if not shutil.which("squeue"):
        return []
    listed = _ask(*mine)
    if listed is None:
        raise InputError("SLURM does not answer, and jobs of an earlier run may still be at work; try again later")
    jobs = sorted(set(listed.split()), key=int)
    if jobs:
        _ask("scancel", *jobs)
    until = time.monotonic() + _PATIENCE
    while jobs and _ask(*mine) != "":
        if time.monotonic() > until:
            raise InputError(f"SLURM jobs {', '.join(jobs)} of an earlier run do not end; end them and try again")
        time.sleep(1)
    return jobs


def queued(name: str, logs: Path) -> list[tuple[str, str]]:
    """The user's jobs of this name that SLURM has not started: where in ``logs`` each writes, and what it waits for.

    The first is a folder relative to ``logs``, the second SLURM's word, such as ``Resources`` or ``Priority``. Empty
    where there is no SLURM, or none that answers, of which a warning tells.
    """
    mine = ("--user", str(os.getuid()), "--name", name, "--states", "PENDING", "--array")
    command = ("squeue", *mine, "--noheader", "--Format", "Reason:|,STDOUT:|")
    jobs = (_ask(*command, patience=10) or "").splitlines() if shutil.which("squeue") else []
    found = ((Path(file).parent, reason) for reason, file, _ in (job.split("|") for job in jobs if job.count("|") == 2))
    root = logs.resolve()
    return [(str(folder.relative_to(root)), reason) for folder, reason in found if folder.is_relative_to(root)]


def _ask(*command: str, patience: float = 60) -> str | None:
    """What a command of SLURM answers; None if it is missing, fails or takes too long, which is logged."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("%s: %s", command[0], (getattr(error, "stderr", None) or str(error)).strip())
        return None
    return done.stdout.strip()
