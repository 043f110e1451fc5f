"""A sign of life in a run folder: what is being done to the run, how far it is, and how it ended if it did not succeed.

The file is replaced every few seconds and removed after success, so a process that was killed leaves one that no longer
changes. It is no output of the workflow.
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
PERIOD = 10.0  # seconds between signs of life
SILENCE = 120.0  # seconds without one after which a process of another machine is taken for dead; clocks may differ


_LONGEST = 2**16  # bytes of the file
_LONGEST_WAIT = 1e9  # seconds, beyond which an estimate is none
_Count = Annotated[float, Field(ge=0, le=1e15)]


@dataclass(frozen=True)
class Beat:
    """What the file says.

    Attributes:
        task: ``train`` or ``evaluate``.
        host: machine of the process.
        process: its number there; ``namespace`` and ``born`` tell it from others of the same number.
        started: seconds since 1970.
        updated: likewise, of this sign of life.
        device: what the process is bound to; empty if it has not chosen.
        slurm_job: number of the SLURM job, see :func:`spectralseg.slurm.job`; empty outside SLURM.
        step: what is worked on; empty while nothing is counted.
        done: how much of it, in ``unit``.
        total: of how much; None where that is not known.
        rate: ``unit`` per second since this step started or was resumed; None before the first.
        error: how the work ended: first line of the error; empty while it goes on.
        interrupted: whether it ended because somebody asked.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    task: Literal["train", "evaluate"]
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
        """Whether the process still works, as far as can be told from here."""
        if self.error:
            return False
        if (self.host, self.namespace) == (platform.node(), _namespace()):
            return _born(self.process) == self.born
        return time.time() - self.updated < SILENCE

    @property
    def seconds_left(self) -> float | None:
        """Of this step; None where that cannot be told."""
        left = max(0.0, self.total - self.done) / self.rate if self.total and self.rate else math.inf
        return left if left < _LONGEST_WAIT else None


_BEAT = TypeAdapter(Beat)


@contextlib.contextmanager
def heartbeat(folder: Path, task: Literal["train", "evaluate"]) -> Iterator[None]:
    """Show in ``folder``, as soon as it exists, that a task is at work there until the block ends.

    Raises:
        Interrupted: SIGTERM or SIGINT came, and nothing in the block heeds it. A warning that nothing heeds (SIGUSR1)
            is ignored.
    """
    now = time.time()
    job = slurm.job() or ""
    beat = Beat(task, platform.node(), os.getpid(), _namespace(), _born(os.getpid()), now, now, slurm_job=job)
    ended = threading.Event()

    def work() -> None:
        while True:
            _write(folder, _now(beat))
            if ended.wait(PERIOD):
                return

    thread = threading.Thread(target=work, name="heartbeat", daemon=True)
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
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one may come from SLURM and one from Snakemake
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the next one stops at once
    raise Interrupted(f"stopped by {signal.Signals(number).name}; run it again")


def read_beat(folder: Path) -> Beat | None:
    """The last sign of life in a run folder; None if there is none.

    Raises:
        InputError: the file is damaged, or of another version.
    """
    content = read_regular(folder / FILE, _LONGEST, "delete it")
    try:
        return None if content is None else _BEAT.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = "".join(f"'{part}': " for part in first["loc"])
        raise InputError(f"{folder / FILE}: is damaged ({key}{first['msg']}); delete it") from None


def _now(beat: Beat) -> Beat:
    device = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("HIP_VISIBLE_DEVICES") or ""
    now = replace(beat, updated=time.time(), device=device)
    shown = current()
    return replace(now, **asdict(shown)) if shown else now


def _write(folder: Path, beat: Beat) -> None:
    """Replace the file. Without ``tempfile``, whose locks a process forked at this moment would inherit."""
    partial = folder / f".{FILE}"
    with contextlib.suppress(OSError):  # no folder yet, or a full disk, of which the work itself will tell
        partial.write_text(json.dumps(asdict(beat)) + "\n", encoding="utf-8")
        partial.replace(folder / FILE)


def _first_line(error: BaseException) -> str:
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    kind = "" if type(error).__module__.startswith("spectralseg.") else type(error).__name__
    return redact(": ".join(part for part in (kind, text.strip()) if part))


def _namespace() -> str:
    """Processes are numbered anew in every container."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _born(process: int) -> str:
    """When a process of this machine started, in ticks of its clock; empty if there is none of this number."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _exists(process) if not Path("/proc/self").exists() else ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state == "Z" else fields[18]


def _exists(process: int) -> str:
    """As :func:`_born` where there is no /proc: all that can be told is whether there is such a process."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"
