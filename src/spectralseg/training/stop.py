"""Stop requests: a signal or the clock asks, the loop obeys when it can."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from spectralseg.signals import SIGNALS, handled

_RESERVE = 10.0  # seconds for a process to end after its last state, and for the batch system to hear of it


class StopRequest:
    """Whether to stop after this iteration: a signal asks for it, or the time would not do for another one.

    Args:
        deadline: value of ``time.monotonic()`` at which the process must have ended; None if it may go on.

    Attributes:
        reason: why to stop; None to go on.
        slowest: seconds of the longest iteration, with its validation; of an earlier attempt, until one is longer.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.reason: str | None = None
        self._deadline = deadline
        self._since: float | None = None
        self.slowest = self._save = 0.0

    @property
    def unmeasured(self) -> bool:
        """Whether a state should be saved to learn how long that takes."""
        return self._deadline is not None and not self._save

    def check(self) -> bool:
        """To be called once in every iteration: whether to stop after this one."""
        now = time.monotonic()
        self.slowest, self._since = max(self.slowest, now - (self._since or now)), now
        # One more iteration may validate and save, and the stop after it saves again; one may be the longest so far.
        if self._deadline is not None and now + 2 * (self.slowest + self._save) + _RESERVE > self._deadline:
            self.reason = self.reason or "its time limit"
        return self.reason is not None

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Around each saving, which counts apart from the iterations."""
        begun = time.monotonic()
        yield
        self._since = time.monotonic()
        self._save = max(self._save, self._since - begun)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # Nothing else: a handler runs between any two instructions, also in the middle of writing a checkpoint.
        self.reason = self.reason or signal.Signals(number).name
        if number == signal.SIGINT:  # the next one stops at once
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_requests(deadline: float | None = None) -> Iterator[StopRequest]:
    """Note SIGTERM, SIGUSR1 and SIGINT (Ctrl-C) inside the block instead of dying of them.

    A second SIGINT stops at once.

    Outside the main thread, where Python allows no handlers, only the deadline counts.
    """
    request = StopRequest(deadline)
    with handled(dict.fromkeys((*SIGNALS, signal.SIGINT), request._note)):
        yield request


def ignore_signals(_: int) -> None:
    """For worker processes of a loader: batch systems signal them too, but only the loop knows when to stop."""
    for number in (*SIGNALS, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
