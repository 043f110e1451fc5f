"""What the download clients share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NoReturn, cast

from tqdm import tqdm

from spectralseg.data.disk import require_space
from spectralseg.errors import InputError
from spectralseg.progress import progress_bar

FLOOR = 1024  # bytes a second; a server that sends less would keep the connection, and the command, for ever
WINDOW = 60.0  # seconds over which they are counted
CHECK_EVERY = 2**26  # bytes between looks at the free disk


class TooSlowError(ConnectionError):
    """A server sends less than :data:`FLOOR` bytes a second."""


def download_bar(target: Path, start: int = 0) -> tqdm[NoReturn]:
    """Bytes, rate and time left of one file, by whose ``update`` a client says what has arrived, and by whose
    ``unpause`` that it has paused.

    Args:
        target: the file, whose name is the label and whose disk must not fill up.
        start: bytes that an earlier call has left, which do not count for the rate.

    Raises:
        TooSlowError: by ``update``, where less than :data:`FLOOR` bytes a second arrive.
        InputError: by ``update``, where the disk is full.
    """
    bar: Any = progress_bar(desc=target.name, unit="B", initial=start, unit_scale=True)
    show, resume = bar.update, bar.unpause
    since, arrived, unchecked = time.monotonic(), 0.0, 0.0

    def update(size: float | None = 1) -> bool | None:
        nonlocal since, arrived, unchecked
        shown: bool | None = show(size)
        arrived += size or 0
        unchecked += size or 0
        if (seconds := time.monotonic() - since) >= WINDOW:
            slow = arrived < FLOOR * seconds
            since, arrived = since + seconds, 0.0
            if slow:
                raise TooSlowError(f"the server sends less than {FLOOR} bytes a second")
        if unchecked >= CHECK_EVERY:
            require_space(target.parent, 0)
            unchecked = 0.0
        return shown

    def unpause() -> None:
        nonlocal since, arrived
        since, arrived = time.monotonic(), 0.0
        resume()

    bar.update, bar.unpause = update, unpause
    return cast("tqdm[NoReturn]", bar)


def refuse_leaving_https(address: str, target: str) -> None:
    """Raise an :class:`InputError` where an https address leads to one of another scheme, which anyone can read."""
    if address.lower().startswith("https:") and not target.lower().startswith("https:"):
        raise InputError("the server leads from https to an address without it")


def failure(service: str, status: int | None, refusal: str) -> ConnectionError | InputError:
    """The exception that tells why a service gave no file: by the HTTP status it answered with, None for no answer.

    Too many requests and a broken server are a :class:`ConnectionError`, for the same request may succeed later;
    anything else is an :class:`InputError` with the sentence ``refusal``.
    """
    if status is None:
        return ConnectionError(f"{service} cannot be reached")
    if status == 429 or status >= 500:
        return ConnectionError(f"{service} is overloaded or broken (status {status})")
    return InputError(refusal)
