"""The spatial objective, Eq. (1) of the paper: cross-entropy + (1 - Dice)."""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor

from spectralseg.objectives import _spatial, cross_entropy, dice
from spectralseg.objectives._combined import Objective


def build(
    dice_weight: NonNegativeFloat = 1.0,
    smooth: NonNegativeFloat = 1.0,
    entropy_weight: NonNegativeFloat = 1.0,
    denominator: _spatial.Denominator = "linear",
    per_image: bool = False,
    background: bool = False,
) -> Objective:
    r"""Weighted sum v · cross-entropy + w · (1 - D) with the soft Dice D of the objective ``dice``.

    As it stands, D has linear denominators, sums over the batch, and averages the foreground classes. TransUNet (Chen
    et al. 2021) has v = w = 0.5, squared denominators and the background, and s = 1e-5. Binary tasks use
    binary cross-entropy, others categorical. Range [0, ∞). On empty masks the smoothing term keeps a gradient that
    removes false positives.

    Args:
        dice_weight: w.
        smooth: s of D, in pixels.
        entropy_weight: v.
        denominator: ``linear`` or ``squared``.
        per_image: D of each image, averaged; otherwise of the batch.
        background: count the background as a class of D.
    """
    entropy_term = cross_entropy.build()
    dice_term = dice.build(denominator=denominator, per_image=per_image, background=background, smooth=smooth)

    def objective(logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        entropy, first = entropy_term(logits, masks)
        overlap, second = dice_term(logits, masks)
        return entropy_weight * entropy + dice_weight * overlap, {**first, **second}

    return objective
