"""Hausdorff distance loss with distance transforms (Karimi and Salcudean 2019)."""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor

from spectralseg.objectives._distances import signed_distances
from spectralseg.objectives._objective import Objective
from spectralseg.objectives._spatial import probabilities_and_targets


class Hausdorff(Objective):
    r"""Mean over pixels, images and foreground classes of :math:`(p - y)^2 (d_p^α + d_y^α)`, in pixels^α.

    d are distances to the boundaries of the target and of the prediction at 0.5, without gradient. Range [0, ∞); with
    α = 2 hundreds are usual at the start, so give it a small λ. An empty or full mask has no boundary and its d is 0:
    where neither has one, errors cost nothing, so use it as an auxiliary to a loss of regions.

    Args:
        alpha: α, how much more far errors count.
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
