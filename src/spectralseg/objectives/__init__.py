"""Objectives. One module per objective, each with its :class:`Objective` as ``build``; a new module is a new objective.

``build_objective(name, **options)`` returns a module: ``objective(logits, masks)`` is the scalar to minimise, and
``objective.components(logits, masks)`` are its named parts. :class:`Objective` says what they take.
"""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import ValidationError

from spectralseg import registry
from spectralseg.errors import InputError
from spectralseg.objectives._combined import Combined
from spectralseg.objectives._objective import Objective
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
    """Build an objective by name.

    >>> objective = build_objective("dice", per_image=True)
    >>> objective
    Dice(denominator='linear', per_image=True, background=False, smooth=1.0, smooth_share=0.0)
    >>> masks = torch.ones(2, 8, 8, dtype=torch.long)
    >>> objective(torch.zeros(2, 1, 8, 8), masks)
    tensor(0.3299)
    >>> objective.components(torch.zeros(2, 1, 8, 8), masks)
    {'dice': tensor(0.3299)}

    Raises:
        InputError: the name or an option is unknown, or an option has a value that cannot be.
    """
    build: type[Objective] = registry.load(__name__, name, "objective").build
    try:
        return build(**options)
    except ValidationError as error:
        raise InputError(f"objective '{name}': {_explain(error, build)}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"objective '{name}' does not take these options: {error}") from None


def _explain(error: ValidationError, build: type[Objective]) -> str:
    first = error.errors()[0]
    option = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        valid = list(inspect.signature(build).parameters)
        return f"option '{option}' is unknown; {registry.suggest(option, valid or ['none'])}"
    if first["type"] == "missing_argument":
        return f"option '{option}' is missing; give it a value"
    return f"option '{option}' cannot be {first['input']!r}: {first['msg']}"
