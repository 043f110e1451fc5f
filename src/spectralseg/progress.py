"""A progress bar for long work: a bar in a terminal, occasional lines in a log."""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from tqdm import tqdm

from spectralseg.errors import one_line

_Item = TypeVar("_Item")

_LINE = "{desc}: {n_fmt}/{total_fmt} {unit} ({percentage:.0f} %), {rate_fmt}, {elapsed} gone, {remaining} left{postfix}"
_PAUSE = 30.0  # seconds between lines
_bars: list[weakref.ref[Any]] = []  # all bars, outer ones before inner ones


def progress_bar(items: Iterable[_Item] | None = None, *, desc: str, unit: str, **options: Any) -> tqdm[_Item]:
    """A ``tqdm`` on stderr; without a terminal, it prints lines instead: the first, the last, and two per minute.

    Args:
        items: what to iterate over; None if the caller calls ``update``.
        desc: description of the work.
        unit: name of one item.
        options: further options of ``tqdm``, such as ``total`` or ``initial``.
    """
    if sys.stderr.isatty():
        style: dict[str, Any] = {"mininterval": 0.5}
    else:
        style = {"mininterval": _PAUSE, "maxinterval": _PAUSE, "file": _Lines(), "ascii": True}
        if options.get("total") is not None or hasattr(items, "__len__"):
            style["bar_format"] = _LINE
    build: Any = tqdm  # its annotations do not allow items=None
    bar: tqdm[_Item] = build(items, desc=one_line(desc), unit=unit, **style, **options)
    _bars[:] = [other for other in _bars if other() is not None]
    _bars.append(weakref.ref(bar))
    return bar


@dataclass(frozen=True)
class Progress:
    """Progress of a step: items done, total number of items, and items per second."""

    step: str
    unit: str
    done: float
    total: float | None
    rate: float | None


def current() -> Progress | None:
    """Progress of the outermost open bar of this process; None without one."""
    for reference in list(_bars):
        bar = reference()
        if bar is not None and not bar.disable:  # tqdm disables a bar when it is closed
            seconds, done = time.time() - bar.start_t, bar.n - bar.initial
            return Progress(bar.desc, bar.unit, bar.n, bar.total, done / seconds if done and seconds > 0 else None)
    return None


class _Lines:
    """A stream that writes every update of a bar as a line of its own."""

    def write(self, text: str) -> int:
        if line := text.strip("\r\n "):
            sys.stderr.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()
