"""Numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

MINUS = "−"
NO_RUN = "–"


def signed(value: float, digits: int = 2) -> str:
    """``+0.82``."""
    return f"{value:+z.{digits}f}".replace("-", MINUS)


def limits(estimate: float, low: float, high: float, *, digits: int = 2) -> str:
    """``+0.82 [−1.23, +2.87]``."""
    return f"{signed(estimate, digits)} [{signed(low, digits)}, {signed(high, digits)}]"


def p_text(value: float) -> str:
    """``0.012``, ``< 0.001``; empty where NaN."""
    return "" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def margins(values: Iterable[float], unit: str) -> str:
    """``± 0.5 percentage points``, ``± 0.5 or 1 percentage points`` where datasets differ, or ``none``."""
    finite = sorted({float(value) for value in values if np.isfinite(value)})
    return f"± {' or '.join(f'{value:g}' for value in finite)} {unit}" if finite else "none"


def listed(texts: Iterable[str]) -> str:
    """``a, b and c``."""
    *first, last = [*texts] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def counted(number: int, noun: str) -> str:
    """``1 run`` or ``2 runs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
