"""A command of another program as a child process that ends with this one."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from spectralseg import locks
from spectralseg.errors import InputError, Interrupted, explained
from spectralseg.parsing import read_json
from spectralseg.progress import progress_bar

RESERVE = 60.0  # seconds before a time limit at which the command is stopped
_GRACE = 30.0  # seconds between SIGTERM and SIGKILL
_POLL = 1.0  # seconds between looks at the time limit and at the progress
_MAX_BYTES = 2**16  # of the file of progress


def run_command(
    words: Sequence[str],
    what: str,
    *,
    environment: Path | None = None,
    deadline: float | None = None,
    progress: Path | None = None,
) -> None:
    """Run a command until it ends; its output goes to that of this process.

    It is in a process group of its own, which gets SIGTERM when this process is interrupted or the time limit is near,
    and SIGKILL half a minute later. It inherits the locks of this process: if this process is killed, no other
    process writes to its folders or uses its device until the command has ended.

    Args:
        words: program and arguments.
        what: the command, for messages, such as ``external.nnunet.train``.
        environment: virtual environment whose programs come first on the path.
        deadline: value of ``time.monotonic()`` at which this process must have ended; None without a limit.
        progress: file in which the command may write, as JSON, ``done`` and ``total`` numbers of units and ``unit``.

    Raises:
        InputError: the program does not exist, or failed.
        Interrupted: a signal or the time limit ended the command.
    """
    variables = dict(os.environ)
    if environment is not None:
        variables["VIRTUAL_ENV"] = str(environment.absolute())
        variables["PATH"] = f"{environment.absolute() / 'bin'}{os.pathsep}{variables.get('PATH', os.defpath)}"
    try:
        process = subprocess.Popen(words, env=variables, start_new_session=True, pass_fds=locks.handles())
    except OSError as error:
        raise InputError(f"{what}: {words[0]}: {explained(error)}") from None
    bar = _Bar(progress)
    try:
        status = _wait(process, what, deadline, bar)
    except BaseException:
        _stop(process)
        raise
    finally:
        bar.close()
    if status:
        reason = f"was ended by {_signal_name(-status)}" if status < 0 else f"failed with status {status}"
        raise InputError(f"{what}: {shlex.join(words)[:200]} {reason}; its messages precede this one")


class _Bar:
    """The progress that a command reports, as a bar of this process."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._bar: tqdm[Any] | None = None

    def update(self) -> None:
        """Read the file; what is not valid is ignored, as the command may be writing it."""
        if self._file is None or not self._file.is_file():
            return
        with contextlib.suppress(InputError, OSError, ValueError, KeyError, TypeError):
            report = read_json(self._file, _MAX_BYTES)
            done, total = int(report["done"]), int(report["total"])
            if self._bar is None:
                self._bar = progress_bar(desc="train", unit=str(report.get("unit", "it")), total=total, initial=done)
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()


def _wait(process: subprocess.Popen[bytes], what: str, deadline: float | None, bar: _Bar) -> int:
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL)
        bar.update()
        if deadline is not None and time.monotonic() > deadline - RESERVE:
            raise Interrupted(f"{what}: stopped by its time limit; run it again to continue")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
