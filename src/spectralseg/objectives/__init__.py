"""Objectives. One module per objective, each with ``build(**options) -> Objective``; a new module is a new objective.

An objective takes logits (B, C, H, W) and integer masks (B, H, W). It returns a scalar to minimise and its named
components, detached, before any weighting.
"""

from __future__ import annotations

from typing import Any

from spectralseg import registry
from spectralseg.errors import InputError
from spectralseg.objectives._combined import Combined, Objective
from spectralseg.objectives._similarity import spectral_similarity

__all__ = ["Combined", "Objective", "available", "build_objective", "spectral_similarity"]


def available() -> list[str]:
    """Names of the objectives."""
    return registry.names(__name__)


def build_objective(name: str, **options: Any) -> Objective:
    """Build an objective by name.

    Raises:
        InputError: the name or an option is unknown, or an option has a value that cannot be.
    """
    build = registry.load(__name__, name, "objective").build
    try:
        objective: Objective = build(**options)
    except (TypeError, ValueError) as error:
        raise InputError(f"objective '{name}' does not take these options: {error}") from None
    return objective
