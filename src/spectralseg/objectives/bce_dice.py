"""The spatial objective, Eq. (1) of the paper: cross-entropy + (1 - Dice)."""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor

from spectralseg.objectives import _spatial
from spectralseg.objectives._objective import Objective


class BceDice(Objective):
    r"""Weighted sum v · cross-entropy + w · (1 - D) with the soft Dice D of the objective ``dice``.

    By default, D has linear denominators, sums over the batch, and averages the foreground classes. TransUNet (Chen et
    al. 2021) uses v = w = 0.5, squared denominators, the background, and s = 1e-5. Cross-entropy is binary for binary
    tasks, else categorical. Range [0, ∞). For empty masks, the smoothing term keeps a gradient that removes false
    positives.

    Args:
        dice_weight: w.
        smooth: s of D, in pixels.
        entropy_weight: v.
        denominator: ``linear`` or ``squared``.
        per_image: average D over images; otherwise compute it over the batch.
        background: count the background as a class of D.
    """

    def __init__(
        self,
        dice_weight: NonNegativeFloat = 1.0,
        smooth: NonNegativeFloat = 1.0,
        entropy_weight: NonNegativeFloat = 1.0,
        denominator: _spatial.Denominator = "linear",
        per_image: bool = False,
        background: bool = False,
    ) -> None:
        super().__init__()
        self.dice_weight, self.smooth, self.entropy_weight = dice_weight, smooth, entropy_weight
        self.denominator, self.per_image, self.background = denominator, per_image, background

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        entropy = _spatial.cross_entropy(logits, masks)
        p, y = _spatial.probabilities_and_targets(logits, masks, self.background)
        dice = _spatial.dice(p, y, denominator=self.denominator, per_image=self.per_image, smooth=self.smooth)
        overlap = 1 - dice
        loss = self.entropy_weight * entropy + self.dice_weight * overlap
        return loss, {"cross_entropy": entropy, "dice": overlap}


build = BceDice
