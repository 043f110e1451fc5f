"""Focal loss (Lin et al. 2017)."""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor

from spectralseg.objectives import _spatial
from spectralseg.objectives._objective import Objective


class Focal(Objective):
    r"""Mean over pixels of :math:`-(1 - p)^γ \log p`, p being the probability of the true class, in nats.

    Range [0, ∞). Empty masks are no special case.

    Args:
        gamma: γ; with 0 the loss is the cross-entropy.
    """

    def __init__(self, gamma: NonNegativeFloat = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    # For several classes, segmentation-models-pytorch uses sigmoids instead of the softmax, and MONAI divides by the
    # number of classes.
    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        entropies = _spatial.cross_entropy(logits, masks, reduction="none")
        loss = (_spatial.focal_factor(entropies, self.gamma) * entropies).mean()
        return loss, {"focal": loss}


build = Focal
