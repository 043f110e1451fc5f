"""Handling of the signals of batch systems."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | signal.Handlers

WARNING = getattr(signal, "SIGUSR1", None)  # sent before the time limit by sites that use sbatch --signal
SIGNALS = tuple(number for number in (signal.SIGTERM, WARNING) if number is not None)  # sent before a kill


@contextlib.contextmanager
def handled(handlers: Mapping[int, Handler]) -> Iterator[None]:
    """Handle signals inside the block. Outside the main thread, where Python allows no handlers, this does nothing.

    A background process for which the shell ignores SIGINT continues to ignore it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        handlers = {number: handler for number, handler in handlers.items() if number != signal.SIGINT}
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def pass_on() -> None:
    """Forward ``SIGNALS`` to all child processes, in addition to any handlers, until this process ends.

    SLURM with cgroups signals only the first process of a step, which is Snakemake. Without forwarding, the training
    process receives no signal and Snakemake waits for it, or ``SIGUSR1`` kills Snakemake.
    """
    import psutil

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # independent of handlers that are set later
    if WARNING is not None:
        signal.signal(WARNING, lambda *_: None)

    def forward() -> None:
        while number := os.read(reader, 1):
            if number[0] in SIGNALS:
                for child in psutil.Process().children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.send_signal(number[0])

    threading.Thread(target=forward, name="signals", daemon=True).start()
