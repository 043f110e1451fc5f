"""Objectives. One module per objective, each with ``build(**options) -> Objective``; a new module is a new objective.

An objective takes logits (B, C, H, W) and integer masks (B, H, W) and returns a scalar to minimise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from spectralseg import registry
from spectralseg.objectives._combined import Combined
from spectralseg.objectives._similarity import spectral_similarity

Objective = Callable[[Tensor, Tensor], Tensor]

__all__ = ["Combined", "Objective", "available", "build_objective", "spectral_similarity"]


def available() -> list[str]:
    """Names of the objectives."""
    return registry.names(__name__)


def build_objective(name: str, **options: Any) -> Objective:
    """Build an objective by name.

    Raises:
        InputError: the name is unknown.
    """
    objective: Objective = registry.load(__name__, name, "objective").build(**options)
    return objective
