"""Margin penalty of margin-based label smoothing (Liu et al. 2022)."""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor

from spectralseg.objectives._combined import Objective
from spectralseg.objectives._spatial import class_logits


def build(margin: NonNegativeFloat = 10.0) -> Objective:
    r"""Mean over pixels and classes, with the background, of :math:`\max(0, \max_j l_j - l_k - m)`. Range [0, ∞).

    A regulariser of logits l that knows no masks, empty or not: an auxiliary, which the authors add to cross-entropy
    with a weight of 0.1. Binary tasks have the logits (0, l).

    Args:
        margin: m, in units of logits.
    """

    def objective(logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        every = class_logits(logits)
        loss = (every.amax(1, keepdim=True) - every - margin).relu().mean()
        return loss, {"margin": loss.detach()}

    return objective
