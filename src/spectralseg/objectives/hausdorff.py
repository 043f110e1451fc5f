"""Hausdorff distance loss with distance transforms (Karimi and Salcudean 2019)."""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor

from spectralseg.objectives._distances import signed_distances
from spectralseg.objectives._objective import Objective
from spectralseg.objectives._spatial import probabilities_and_targets


class Hausdorff(Objective):
    r"""Mean over pixels, images and foreground classes of :math:`(p - y)^2 (d_p^α + d_y^α)`, in pixels^α.

    d are distances to the boundaries of the prediction (thresholded at 0.5) and of the target, without gradient. Range
    [0, ∞); with α = 2, initial values of hundreds are usual, which need a small λ. Empty and full masks have no
    boundary, and their d is 0. If neither has one, errors cost 0: use it as an auxiliary to a region loss.

    Args:
        alpha: α, weight of distant errors.
    """

    def __init__(self, alpha: PositiveFloat = 2.0) -> None:
        super().__init__()
        self.alpha = alpha

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p, y = probabilities_and_targets(logits, masks)
        predicted, true = (signed_distances(mask, p.dtype).abs() ** self.alpha for mask in (p > 0.5, y > 0.5))
        loss = ((p - y).square() * (predicted + true)).mean()
        return loss, {"hausdorff": loss}


build = Hausdorff
