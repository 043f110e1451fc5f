"""Number of iterations and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

from spectralseg.config import Training
from spectralseg.data import PreparedDataset
from spectralseg.training.batches import Order

# Fraction of the initial learning rate after a fraction t of the iterations.
_SCHEDULES: dict[str, Callable[[float], float]] = {
    "poly": lambda t: (1 - t) ** 0.9,
    "cosine": lambda t: (1 + math.cos(math.pi * t)) / 2,
    "constant": lambda t: 1.0,
}


def iterations(training: Training, data: PreparedDataset) -> int:
    """Number of optimizer steps: as configured, or ``epochs`` times over the training images of an epoch.

    Raises:
        InputError: ``epochs`` is given, and there are no training cases.
    """
    if training.epochs is None:
        return training.iterations
    return max(1, math.ceil(training.epochs * Order(data, training, seed=0).epoch_length / training.batch_size))


def learning_rate(training: Training, iteration: int, last: int) -> float:
    """Learning rate of an iteration, counted from 0, of ``last`` in total."""
    return training.learning_rate * _SCHEDULES[training.schedule](iteration / last)
