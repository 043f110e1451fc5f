"""Margin penalty of margin-based label smoothing (Liu et al. 2022)."""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor

from spectralseg.objectives._objective import Objective
from spectralseg.objectives._spatial import class_logits


class Margin(Objective):
    r"""Mean over pixels and classes, including the background, of :math:`\max(0, \max_j l_j - l_k - m)`. Range [0, ∞).

    An auxiliary regulariser of the logits l that ignores the masks, empty or not. Its authors add it to cross-entropy
    with a weight of 0.1. Binary tasks have the logits (0, l).

    Args:
        margin: m, in units of logits.
    """

    def __init__(self, margin: NonNegativeFloat = 10.0) -> None:
        super().__init__()
        self.margin = margin

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        all_logits = class_logits(logits)
        loss = (all_logits.amax(1, keepdim=True) - all_logits - self.margin).relu().mean()
        return loss, {"margin": loss}


build = Margin
