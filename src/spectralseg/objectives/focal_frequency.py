"""Focal frequency loss (Jiang et al. 2021), on masks instead of images."""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor

from spectralseg.objectives import _similarity
from spectralseg.objectives._objective import Objective
from spectralseg.objectives._spatial import probabilities_and_targets


class FocalFrequency(Objective):
    r"""Mean over frequencies, images and foreground classes of :math:`w_k |P_k - Y_k|^2`.

    The weights :math:`w_k = |P_k - Y_k|^α / \max_k |P_k - Y_k|^α` are computed per image and class, without gradient.
    Transforms are orthonormal. Range [0, 1]; values are small, as few frequencies have most of the weight. Empty masks
    are no special case.

    Args:
        alpha: α; with 0 the loss is the mean squared error.
    """

    def __init__(self, alpha: NonNegativeFloat = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p, y = probabilities_and_targets(logits, masks)
        difference = _similarity.transform(p - y)
        squares = _similarity.products(difference, difference)
        amplitudes = squares.detach() ** (self.alpha / 2)
        weights = amplitudes / amplitudes.amax((2, 3), keepdim=True).clamp(min=1e-30)
        loss = (_similarity.multiplicity(p) * weights * squares).mean((0, 1)).sum() / (p.shape[-2] * p.shape[-1])
        return loss, {"focal_frequency": loss}


build = FocalFrequency
