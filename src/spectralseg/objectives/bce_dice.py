"""The spatial objective, Eq. (1) of the paper: cross-entropy + (1 - Dice)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from spectralseg.objectives._combined import Objective
from spectralseg.objectives._similarity import probabilities_and_targets


def build(dice_weight: float = 1.0, smooth: float = 1.0) -> Objective:
    r"""Cross-entropy + w · (1 - D) with the soft Dice of linear denominator.

    .. math:: D = \frac{1}{K} \sum_k \frac{2 \sum yp + s}{\sum y + \sum p + s},

    sums over batch and pixels, mean over the K foreground classes. Binary tasks use binary cross-entropy, others
    categorical. Range [0, ∞). On empty masks the smoothing term keeps a gradient that removes false positives.

    Args:
        dice_weight: w.
        smooth: s, in pixels.
    """

    def objective(logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if logits.shape[1] == 1:
            entropy = functional.binary_cross_entropy_with_logits(logits.float()[:, 0], (masks > 0).float())
        else:
            entropy = functional.cross_entropy(logits.float(), masks.long())
        p, y = probabilities_and_targets(logits, masks)
        axes = (0, 2, 3)
        dice = (2 * (p * y).sum(axes) + smooth) / (p.sum(axes) + y.sum(axes) + smooth)
        loss = 1 - dice.mean()
        return entropy + dice_weight * loss, {"cross_entropy": entropy.detach(), "dice": loss.detach()}

    return objective
