"""What the download clients share."""

from __future__ import annotations

from typing import NoReturn

from tqdm import tqdm

from spectralseg.errors import InputError
from spectralseg.progress import progress_bar


def download_bar(name: str, start: int = 0) -> tqdm[NoReturn]:
    """Bytes, rate and time left of one file.

    Args:
        name: what the bar is labelled with.
        start: bytes that an earlier call has left, which do not count for the rate.
    """
    return progress_bar(desc=name, unit="B", initial=start, unit_scale=True)


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
