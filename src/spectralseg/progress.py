"""One progress bar for all long work: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")

_LINE = "{desc}: {n_fmt}/{total_fmt} {unit} ({percentage:.0f} %), {rate_fmt}, {elapsed} gone, {remaining} left{postfix}"
_PAUSE = 30.0  # seconds between lines


def progress_bar(items: Iterable[_Item] | None = None, *, desc: str, unit: str, **options: Any) -> tqdm[_Item]:
    """A ``tqdm`` on stderr that degrades to plain lines where that is no terminal: first, last, and two a minute.

    Args:
        items: what to iterate over; None where the caller calls ``update``.
        desc: what is worked on.
        unit: what is counted.
        options: further options of ``tqdm``, such as ``total`` or ``initial``.
    """
    if sys.stderr.isatty():
        style: dict[str, Any] = {"mininterval": 0.5}
    else:
        style = {"mininterval": _PAUSE, "maxinterval": _PAUSE, "file": _Lines(), "ascii": True}
        if options.get("total") is not None or hasattr(items, "__len__"):
            style["bar_format"] = _LINE
    build: Any = tqdm  # its annotations leave out a bar without items
    bar: tqdm[_Item] = build(items, desc=desc, unit=unit, **style, **options)
    return bar


class _Lines:
    """A stream that ends every state of a bar by a line feed, where a terminal would overwrite it."""

    def write(self, text: str) -> int:
        if line := text.strip("\r\n "):
            sys.stderr.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()
