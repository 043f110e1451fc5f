"""Dice and focal loss, which a secondary source gives for GRCSF on stroke lesions; see docs/grcsf.md."""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor

from spectralseg.objectives import _spatial
from spectralseg.objectives._objective import Objective


class DiceFocal(Objective):
    r"""Weighted sum w · (1 - D) + v · F of the objectives ``dice``, with the soft Dice D, and ``focal``.

    Range [0, ∞). For empty masks, the smoothing term of D keeps a gradient that removes false positives.

    Args:
        dice_weight: w.
        focal_weight: v.
        gamma: γ of F.
        smooth: s of D, in pixels.
        denominator: of D, ``linear`` or ``squared``.
        per_image: average D over images; otherwise compute it over the batch.
    """

    def __init__(
        self,
        dice_weight: NonNegativeFloat = 1.0,
        focal_weight: NonNegativeFloat = 1.0,
        gamma: NonNegativeFloat = 2.0,
        smooth: NonNegativeFloat = 1.0,
        denominator: _spatial.Denominator = "linear",
        per_image: bool = False,
    ) -> None:
        super().__init__()
        self.dice_weight, self.focal_weight, self.smooth = dice_weight, focal_weight, smooth
        self.denominator, self.per_image, self.gamma = denominator, per_image, gamma

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p, y = _spatial.probabilities_and_targets(logits, masks)
        overlap = 1 - _spatial.dice(p, y, denominator=self.denominator, per_image=self.per_image, smooth=self.smooth)
        entropies = _spatial.cross_entropy(logits, masks, reduction="none")
        focal = (_spatial.focal_factor(entropies, self.gamma) * entropies).mean()
        return self.dice_weight * overlap + self.focal_weight * focal, {"dice": overlap, "focal": focal}


build = DiceFocal
