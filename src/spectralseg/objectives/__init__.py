"""Objectives. One module per objective, each with ``build(**options) -> Objective``; a new module is a new objective.

An objective takes logits (B, C, H, W) and integer masks (B, H, W). It returns a scalar to minimise and its named
components, detached, before any weighting. Options are checked against the type hints of ``build``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from pydantic import ConfigDict, ValidationError, validate_call
from torch import Tensor

from spectralseg import registry
from spectralseg.errors import InputError
from spectralseg.objectives._combined import Combined, Objective
from spectralseg.objectives._similarity import spectral_similarity
from spectralseg.objectives._spatial import probabilities_and_targets

__all__ = [
    "Combined",
    "Objective",
    "available",
    "build_objective",
    "probabilities_and_targets",
    "spectral_similarity",
]


def available() -> list[str]:
    """Names of the objectives."""
    return registry.names(__name__)


def build_objective(name: str, **options: Any) -> Objective:
    """Build an objective by name. It computes in float32, or float64 for such logits, whatever the autocast around it.

    Raises:
        InputError: the name or an option is unknown, or an option has a value that cannot be.
    """
    build = registry.load(__name__, name, "objective").build
    try:
        return _in_full_precision(validate_call(config=ConfigDict(strict=True, allow_inf_nan=False))(build)(**options))
    except ValidationError as error:
        raise InputError(f"objective '{name}': {_explain(error, build)}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"objective '{name}' does not take these options: {error}") from None


def _explain(error: ValidationError, build: Callable[..., Objective]) -> str:
    first = error.errors()[0]
    option = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        valid = list(inspect.signature(build).parameters)
        return f"option '{option}' is unknown; {registry.suggest(option, valid or ['none'])}"
    if first["type"] == "missing_argument":
        return f"option '{option}' is missing; give it a value"
    return f"option '{option}' cannot be {first['input']!r}: {first['msg']}"


def _in_full_precision(objective: Objective) -> Objective:
    """Half precision has too few digits for sums over images, and its FFT exists for powers of two only."""

    def wrapped(logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(logits.device.type, enabled=False):
            return objective(logits.to(torch.promote_types(logits.dtype, torch.float32)), masks.long())

    return wrapped
