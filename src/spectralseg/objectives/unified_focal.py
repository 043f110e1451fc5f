"""Asymmetric unified focal loss (Yeung et al. 2022)."""

from __future__ import annotations

from typing import Annotated

import torch
from monai.losses.tversky import TverskyLoss
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from spectralseg.objectives import _spatial
from spectralseg.objectives._objective import Objective

Share = Annotated[float, Field(ge=0, le=1)]


class UnifiedFocal(Objective):
    r"""λF + (1 - λ)T, with all foreground classes as rare classes. Range [0, ∞).

    F is the mean over pixels of the cross-entropy, times δ in the foreground and times :math:`(1 - δ)(1 - p)^γ` in the
    background. T is the mean over images and classes of :math:`1 - TP / (TP + δ FN + (1 - δ) FP)`, to the power of
    1 - γ for foreground classes. For absent classes, the smoothing of T keeps a gradient that removes false positives;
    with the authors' value of 1e-7 it is negligible.

    Args:
        weight: λ.
        delta: δ, weight of the foreground and of false negatives.
        gamma: γ, suppression of easy background and enhancement of difficult foreground.
        smooth: added to numerator and denominator of T, in pixels.
    """

    def __init__(
        self,
        weight: Share = 0.5,
        delta: Share = 0.6,
        gamma: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        smooth: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__()
        self.weight, self.delta, self.gamma, self.smooth = weight, delta, gamma, smooth
        # MONAI's AsymmetricUnifiedFocalLoss supports two classes only, and applies no sigmoid to its logits.
        self.losses = TverskyLoss(alpha=1 - delta, beta=delta, smooth_nr=smooth, smooth_dr=smooth, reduction="none")

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        entropies = _spatial.cross_entropy(logits, masks, reduction="none")
        background = (1 - self.delta) * _spatial.focal_factor(entropies, self.gamma)
        focal = (torch.where(masks > 0, self.delta, background) * entropies).mean()
        losses = self.losses(*_spatial.probabilities_and_targets(logits, masks, background=True))
        overlap = torch.cat([losses[:, :1], _spatial.power(losses[:, 1:], 1 - self.gamma)], 1).mean()
        loss = self.weight * focal + (1 - self.weight) * overlap
        return loss, {"focal": focal, "tversky": overlap}


build = UnifiedFocal
