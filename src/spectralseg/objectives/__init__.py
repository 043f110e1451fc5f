"""Objectives (losses). Each module defines one :class:`Objective` as ``build``; adding a module adds an objective.

``build_objective(name, **options)`` returns a module: ``objective(logits, masks)`` is the scalar to minimise, and
``objective.components(logits, masks)`` are its named parts. :class:`Objective` documents their arguments.
"""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import ValidationError

from spectralseg import registry
from spectralseg.errors import InputError
from spectralseg.extras import explaining_missing_packages

with explaining_missing_packages(__name__):
    from torch import Tensor

    from spectralseg.objectives import _spatial
    from spectralseg.objectives._combined import Combined
    from spectralseg.objectives._objective import Objective, check_inputs, valid_labels
    from spectralseg.objectives._similarity import spectral_similarity

__all__ = [
    "Combined",
    "Objective",
    "available",
    "build_objective",
    "probabilities_and_targets",
    "spectral_similarity",
]


def available() -> list[str]:
    """Names of the objectives.

    Examples:
        >>> from spectralseg.objectives import available
        >>> "spectral" in available()
        True
    """
    return registry.names(__name__)


def build_objective(name: str, **options: Any) -> Objective:
    """Build an objective by name.

    Raises:
        InputError: the name or an option is unknown, or an option has an invalid value.

    Examples:
        >>> import torch
        >>> from spectralseg.objectives import build_objective
        >>> objective = build_objective("dice", per_image=True)
        >>> objective
        Dice(denominator='linear', per_image=True, background=False, smooth=1.0, smooth_share=0.0)
        >>> logits, masks = torch.zeros(2, 1, 8, 8), torch.ones(2, 8, 8, dtype=torch.long)
        >>> objective(logits, masks)
        tensor(0.3299)
        >>> objective.components(logits, masks)
        {'dice': tensor(0.3299)}
        >>> build_objective("dice", per_imag=True)
        Traceback (most recent call last):
            ...
        spectralseg.errors.InputError: objective 'dice': option 'per_imag' is unknown; did you mean 'per_image'? ...
    """
    build: type[Objective] = registry.load(__name__, name, "objective").build
    try:
        return build(**options)
    except ValidationError as error:
        raise InputError(f"objective '{name}': {_explain(error, build)}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"objective '{name}' does not take these options: {error}") from None


def probabilities_and_targets(logits: Tensor, masks: Tensor, background: bool = False) -> tuple[Tensor, Tensor]:
    """Class probabilities and one-hot targets in the precision of the logits, (B, K, H, W), or K + 1 with background.

    Args:
        logits: float (B, 1, H, W) for binary tasks (sigmoid), else (B, K + 1, H, W) (softmax).
        masks: integer or boolean labels (B, H, W) on the same device, 0 is background: 0 and 1 for binary tasks, else
            0..K.
        background: keep the background channel, which is the first.

    Raises:
        ValueError: type or shape of logits or masks is wrong, or a label is out of range. Where checking labels would
            synchronise with the device, see :class:`Objective`, the probabilities are NaN instead.

    Examples:
        >>> import torch
        >>> from spectralseg.objectives import probabilities_and_targets
        >>> logits, masks = torch.zeros(2, 4, 8, 8), torch.full((2, 8, 8), 3)
        >>> probabilities, targets = probabilities_and_targets(logits, masks)
        >>> probabilities.shape, targets.shape
        (torch.Size([2, 3, 8, 8]), torch.Size([2, 3, 8, 8]))
        >>> probabilities[0, :, 0, 0], targets[0, :, 0, 0]  # of classes 1 to 3
        (tensor([0.2500, 0.2500, 0.2500]), tensor([0., 0., 1.]))
    """
    check_inputs(logits, masks)
    labels, nan_if_invalid = valid_labels(masks, max(2, logits.shape[1]))
    probabilities, targets = _spatial.probabilities_and_targets(logits, labels, background)
    return probabilities if nan_if_invalid is None else probabilities * nan_if_invalid, targets


def _explain(error: ValidationError, build: type[Objective]) -> str:
    first = error.errors()[0]
    option = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        valid = list(inspect.signature(build).parameters)
        return f"option '{option}' is unknown; {registry.suggest(option, valid or ['none'])}"
    if first["type"] == "missing_argument":
        return f"option '{option}' is missing; give it a value"
    return f"option '{option}' cannot be {first['input']!r}: {first['msg']}"
