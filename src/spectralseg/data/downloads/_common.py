"""Progress bar and errors of the download clients."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NoReturn, cast

from tqdm import tqdm

from spectralseg.data.disk import require_space
from spectralseg.errors import InputError
from spectralseg.progress import progress_bar

FLOOR = 1024  # bytes per second; a slower server could block the command for ever
WINDOW = 60.0  # seconds over which the rate is measured
CHECK_EVERY = 2**26  # bytes between checks of the free disk space


class TooSlowError(ConnectionError):
    """A server sends less than :data:`FLOOR` bytes per second."""


def download_bar(target: Path, start: int = 0) -> tqdm[NoReturn]:
    """Progress bar of a download. Clients call ``update`` with received bytes, and ``unpause`` after a pause.

    Args:
        target: the file; its name is the label, and its disk is checked for free space.
        start: bytes of an earlier call, which do not count for the rate.

    Raises:
        TooSlowError: by ``update``, if less than :data:`FLOOR` bytes per second arrive.
        InputError: by ``update``, if the disk is full.
    """
    bar: Any = progress_bar(desc=target.name, unit="B", initial=start, unit_scale=True)
    show, resume = bar.update, bar.unpause
    since, received, unchecked = time.monotonic(), 0.0, 0.0

    def update(size: float | None = 1) -> bool | None:
        nonlocal since, received, unchecked
        displayed: bool | None = show(size)
        received += size or 0
        unchecked += size or 0
        if (seconds := time.monotonic() - since) >= WINDOW:
            slow = received < FLOOR * seconds
            since, received = since + seconds, 0.0
            if slow:
                raise TooSlowError(f"the server sends less than {FLOOR} bytes per second")
        if unchecked >= CHECK_EVERY:
            require_space(target.parent, 0)
            unchecked = 0.0
        return displayed

    def unpause() -> None:
        nonlocal since, received
        since, received = time.monotonic(), 0.0
        resume()

    bar.update, bar.unpause = update, unpause
    return cast("tqdm[NoReturn]", bar)


def refuse_leaving_https(address: str, target: str) -> None:
    """Raise an :class:`InputError` if a server redirects from https to another scheme."""
    if address.lower().startswith("https:") and not target.lower().startswith("https:"):
        raise InputError("the server redirects from https to an address without it")


def failure(service: str, status: int | None, refusal: str) -> ConnectionError | InputError:
    """Exception for a failed request, by its HTTP status; None for no response.

    Too many requests and server errors give a :class:`ConnectionError`, as a later request may succeed. All others give
    an :class:`InputError` with the message ``refusal``.
    """
    if status is None:
        return ConnectionError(f"{service} cannot be reached")
    if status == 429 or status >= 500:
        return ConnectionError(f"{service} is overloaded or broken (status {status})")
    return InputError(refusal)
