"""Requests to stop training, by a signal or a time limit."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from spectralseg.signals import SIGNALS, handled

_RESERVE = 10.0  # seconds between the last checkpoint and the time limit, for the process to exit


class StopRequest:
    """Whether to stop after the current iteration, because of a signal or a time limit.

    Args:
        deadline: value of ``time.monotonic()`` at which the process must have ended; None without a time limit.

    Attributes:
        reason: why to stop; None to continue.
        slowest: seconds of the longest iteration of all attempts, including its validation.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.reason: str | None = None
        self._deadline = deadline
        self._previous: float | None = None  # time of the previous check
        self.slowest = self._slowest_save = 0.0

    @property
    def unmeasured(self) -> bool:
        """Whether to save a checkpoint in order to measure how long saving takes."""
        return self._deadline is not None and not self._slowest_save

    def check(self) -> bool:
        """Whether to stop after this iteration; call it once in every iteration."""
        now = time.monotonic()
        self.slowest, self._previous = max(self.slowest, now - (self._previous or now)), now
        # The next iteration may validate and save, the stop after it saves again, and either may be the slowest so far.
        if self._deadline is not None and now + 2 * (self.slowest + self._slowest_save) + _RESERVE > self._deadline:
            self.reason = self.reason or "its time limit"
        return self.reason is not None

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measure the time of saving a checkpoint, which does not count as time of the iteration."""
        start = time.monotonic()
        yield
        self._previous = time.monotonic()
        self._slowest_save = max(self._slowest_save, self._previous - start)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # Do no more here: a handler runs between any two instructions, even while a checkpoint is written.
        self.reason = self.reason or signal.Signals(number).name
        if number == signal.SIGINT:  # the next one stops immediately
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_requests(deadline: float | None = None) -> Iterator[StopRequest]:
    """Turn SIGTERM, SIGUSR1 and SIGINT (Ctrl-C) inside the block into stop requests.

    A second SIGINT stops immediately. Outside the main thread, where Python allows no signal handlers, only the
    deadline counts.
    """
    request = StopRequest(deadline)
    with handled(dict.fromkeys((*SIGNALS, signal.SIGINT), request._note)):
        yield request


def ignore_signals(_: int) -> None:
    """Ignore signals in a worker process of a loader: batch systems signal workers too, but only the loop may stop."""
    for number in (*SIGNALS, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
