"""Parsers of option values; each raises :class:`argparse.ArgumentTypeError` for a value that is not valid."""

from __future__ import annotations

import argparse
import datetime
import math
from collections.abc import Callable
from typing import Annotated, Any

_LONGEST_DURATION = 10**9  # seconds


def whole_number(what: str, least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers from ``least`` to ``most``, which messages call ``what``."""

    def parse(text: str) -> int:
        is_number = len(text) <= len(str(most)) and text.isascii() and text.isdecimal()
        if not is_number or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"'{text[:40]}' is not a valid {what}; give a whole number of {least} or more, up to {most}"
            )
        return int(text)

    return parse


threads = whole_number("number", 1, 1024)
seed = whole_number("seed", 0, 2**63 - 1)


def positive_number(most: float) -> Callable[[str], float]:
    """A parser of numbers above 0 and up to ``most``."""

    def parse(text: str) -> float:
        value = _number(text)
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(
                f"'{text[:40]}' is not a valid number; give one above 0 and up to {most:,.0f}"
            )
        return value

    return parse


def like(section: str, key: str, least: int | None = None) -> Callable[[str], Any]:
    """A parser of numbers within the limits of a configuration key.

    Args:
        section: name of a model in :mod:`spectralseg.config`.
        key: name of the key.
        least: replaces the lower limit of the key.
    """

    def parse(text: str) -> Any:
        from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

        from spectralseg import config

        field = getattr(config, section).model_fields[key]
        limits = field.metadata
        if least is not None:
            limits = [Field(ge=least), *(limit for limit in limits if hasattr(limit, "le"))]
        kind: Any = Annotated[field.annotation, *limits]
        adapter: TypeAdapter[Any] = TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))
        try:
            return adapter.validate_strings(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"'{text[:40]}': {error.errors()[0]['msg']}") from None

    return parse


def name(text: str) -> str:
    """A name that is not blank."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty; give a name to record")
    return text


def date(text: str) -> str:
    """A date as YYYY-MM-DD."""
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is not a valid date; give YYYY-MM-DD") from None


def margin(text: str) -> float:
    """An equivalence margin of a share, between 0 and 1."""
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a valid margin; give a positive number below 1, as 0.005 for half a percentage point"
        )
    return value


def duration(text: str) -> float:
    """Seconds of a duration in the notation of SLURM."""
    from spectralseg.slurm import seconds_of

    seconds = seconds_of(text)
    if seconds is None or seconds > _LONGEST_DURATION:
        raise argparse.ArgumentTypeError(f"'{text}' is not a valid duration; give MINUTES, H:MM:SS or D-HH:MM:SS")
    return seconds


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
