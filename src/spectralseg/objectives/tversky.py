"""Tversky loss (Salehi et al. 2017) and focal Tversky loss (Abraham and Khan 2019)."""

from __future__ import annotations

from monai.losses.tversky import TverskyLoss
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from spectralseg.objectives import _spatial
from spectralseg.objectives._objective import Objective


class Tversky(Objective):
    r"""Mean over foreground classes of :math:`(1 - T)^γ`.

    .. math:: T = \frac{TP + s}{TP + α FP + β FN + s},

    where TP = Σ yp, FP = Σ (1 - y)p and FN = Σ y(1 - p) over the batch. Range [0, 1]. For absent classes, s keeps
    a gradient that removes false positives. With α = β = 0.5, T is the Dice with linear denominator.

    Args:
        alpha: α, weight of false positives.
        beta: β, weight of false negatives.
        gamma: γ; focal Tversky uses 0.75.
        smooth: s, in pixels; half that of the equal Dice.
    """

    def __init__(
        self,
        alpha: NonNegativeFloat = 0.3,
        beta: NonNegativeFloat = 0.7,
        gamma: PositiveFloat = 1.0,
        smooth: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.gamma, self.smooth = alpha, beta, gamma, smooth
        # segmentation-models-pytorch sets the loss of absent classes to 0.
        self.losses = TverskyLoss(
            alpha=alpha, beta=beta, batch=True, smooth_nr=smooth, smooth_dr=smooth, reduction="none"
        )

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        losses = self.losses(*_spatial.probabilities_and_targets(logits, masks))
        loss = _spatial.power(losses, self.gamma).mean()
        return loss, {"tversky": loss}


build = Tversky
