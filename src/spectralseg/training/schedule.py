"""How long training lasts, and how fast it learns at every step."""

from __future__ import annotations

import math
from collections.abc import Callable

from spectralseg.config import Training

# Share of the initial learning rate after a share t of the iterations.
_SCHEDULES: dict[str, Callable[[float], float]] = {
    "poly": lambda t: (1 - t) ** 0.9,
    "cosine": lambda t: (1 + math.cos(math.pi * t)) / 2,
    "constant": lambda t: 1.0,
}


def iterations(training: Training, images: int) -> int:
    """Optimizer steps: as configured, or enough to see each of ``images`` training images ``epochs`` times."""
    if training.epochs is None:
        return training.iterations
    return max(1, math.ceil(training.epochs * images / training.batch_size))


def learning_rate(training: Training, iteration: int, last: int) -> float:
    """Learning rate of an iteration, counted from 0, of ``last`` in total."""
    return training.learning_rate * _SCHEDULES[training.schedule](iteration / last)
