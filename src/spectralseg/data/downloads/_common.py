"""What the download clients share."""

from __future__ import annotations

import sys
from typing import NoReturn

from tqdm import tqdm

from spectralseg.errors import InputError


def progress_bar(name: str, start: int = 0) -> tqdm[NoReturn]:
    """Bytes, rate and time left of one file on stderr; twice a minute where that is a log and no terminal.

    Args:
        name: what the bar is labelled with.
        start: bytes that an earlier call has left, which do not count for the rate.
    """
    every = 0.5 if sys.stderr.isatty() else 30
    return tqdm(desc=name, initial=start, unit="B", unit_scale=True, mininterval=every, maxinterval=every)


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
