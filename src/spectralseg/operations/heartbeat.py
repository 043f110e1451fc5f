"""The heartbeat of a task in its run folder: progress while it works, and the error if it failed.

The file is replaced every few seconds and removed after success. A killed process leaves a file that no longer changes.
The file is not an output of the workflow.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from spectralseg import slurm
from spectralseg.errors import InputError, Interrupted
from spectralseg.files import read_regular
from spectralseg.progress import current
from spectralseg.redaction import redact
from spectralseg.signals import SIGNALS, handled

FILE = "progress.json"
PERIOD = 10.0  # seconds between heartbeats
SILENCE = 120.0  # seconds after which a process of another machine counts as dead; clocks may differ

_MAX_BYTES = 2**16  # of the file
_MAX_SECONDS = 1e9  # larger estimates are omitted
_Count = Annotated[float, Field(ge=0, le=1e15)]


Task = Literal["pretrain", "prepare", "train", "evaluate"]


@dataclass(frozen=True)
class Beat:
    """Content of the file.

    Attributes:
        task: ``pretrain``, ``train`` or ``evaluate``; ``prepare`` of an external method.
        host: machine of the process.
        process: process id; ``namespace`` and ``born`` distinguish processes with the same id.
        namespace: PID namespace of the process.
        born: start time of the process.
        started: start time of the task, in seconds since 1970.
        updated: time of this heartbeat, in seconds since 1970.
        device: device that the process is bound to; empty if it has not selected one.
        slurm_job: number of the SLURM job, see :func:`spectralseg.slurm.job`; empty outside SLURM.
        step: name of the current step; empty before the first.
        unit: unit of ``done`` and ``total``.
        done: finished units of the step.
        total: units of the step; None if unknown.
        rate: units per second since the step started or resumed; None before the first.
        error: first line of the error that ended the task; empty while it runs.
        interrupted: whether a signal or a time limit ended the task.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    task: Task
    host: str
    process: Annotated[int, Field(ge=0, lt=2**31)]
    namespace: str
    born: str
    started: float
    updated: float
    device: str = ""
    slurm_job: str = ""
    step: str = ""
    unit: str = ""
    done: _Count = 0
    total: _Count | None = None
    rate: _Count | None = None
    error: str = ""
    interrupted: bool = False

    @property
    def alive(self) -> bool:
        """Whether the process is running; for other machines, whether its heartbeat is recent."""
        if self.error:
            return False
        if (self.host, self.namespace) == (platform.node(), _namespace()):
            return _born(self.process) == self.born
        return time.time() - self.updated < SILENCE

    @property
    def seconds_left(self) -> float | None:
        """Estimated time until the step is finished; None if unknown."""
        left = max(0.0, self.total - self.done) / self.rate if self.total and self.rate else math.inf
        return left if left < _MAX_SECONDS else None


_BEAT = TypeAdapter(Beat)


@contextlib.contextmanager
def heartbeat(folder: Path, task: Task) -> Iterator[None]:
    """Write the heartbeat of a task to ``folder``, as soon as that exists, until the block ends.

    Raises:
        Interrupted: SIGTERM or SIGINT arrived and no code in the block handles it. An unhandled SIGUSR1 is ignored.
    """
    now = time.time()
    job = slurm.job() or ""
    beat = Beat(task, platform.node(), os.getpid(), _namespace(), _born(os.getpid()), now, now, slurm_job=job)
    ended = threading.Event()

    def write_periodically() -> None:
        while True:
            _write(folder, _now(beat))
            if ended.wait(PERIOD):
                return

    thread = threading.Thread(target=write_periodically, name="heartbeat", daemon=True)
    thread.start()

    def stop() -> None:
        ended.set()
        thread.join()

    try:
        ignored = dict.fromkeys(SIGNALS, signal.SIG_IGN)
        with handled({**ignored, signal.SIGTERM: _interrupt, signal.SIGINT: _interrupt}):
            yield
    except BaseException as error:
        stop()
        interrupted = isinstance(error, Interrupted | KeyboardInterrupt)
        _write(folder, replace(_now(beat), error=_first_line(error), interrupted=interrupted))
        raise
    stop()
    (folder / FILE).unlink(missing_ok=True)


def _interrupt(number: int, _: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # SLURM and Snakemake may both send one
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the next one stops immediately
    raise Interrupted(f"stopped by {signal.Signals(number).name}; run it again")


def read_beat(folder: Path) -> Beat | None:
    """The last heartbeat in a run folder; None if there is none.

    Raises:
        InputError: the file is damaged, or of another version.
    """
    content = read_regular(folder / FILE, _MAX_BYTES, "delete it")
    try:
        return None if content is None else _BEAT.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = "".join(f"'{part}': " for part in first["loc"])
        raise InputError(f"{folder / FILE}: is damaged ({key}{first['msg']}); delete it") from None


def _now(beat: Beat) -> Beat:
    device = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("HIP_VISIBLE_DEVICES") or ""
    now = replace(beat, updated=time.time(), device=device)
    progress = current()
    return replace(now, **asdict(progress)) if progress else now


def _write(folder: Path, beat: Beat) -> None:
    """Replace the file, without ``tempfile``: a process forked at this moment would inherit its locks."""
    partial = folder / f".{FILE}"
    with contextlib.suppress(OSError):  # no folder yet, or a full disk, which the task reports itself
        partial.write_text(json.dumps(asdict(beat)) + "\n", encoding="utf-8")
        partial.replace(folder / FILE)


def _first_line(error: BaseException) -> str:
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    kind = "" if type(error).__module__.startswith("spectralseg.") else type(error).__name__
    return redact(": ".join(part for part in (kind, text.strip()) if part))


def _namespace() -> str:
    """PID namespace of this process: ids are unique within one only."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _born(process: int) -> str:
    """Start time of a process of this machine, in clock ticks; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _exists(process) if not Path("/proc/self").exists() else ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state == "Z" else fields[18]


def _exists(process: int) -> str:
    """Replaces :func:`_born` on systems without /proc: ``unknown`` if the process exists, otherwise empty."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"
