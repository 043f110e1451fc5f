"""Helpers of the spatial objectives: class probabilities, cross-entropy, Dice."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Denominator = Literal["linear", "squared"]


def class_logits(logits: Tensor) -> Tensor:
    """Logits of all classes (B, K + 1, H, W): one channel l becomes (0, l), whose softmax is the sigmoid of l."""
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def probabilities_and_targets(logits: Tensor, masks: Tensor, background: bool = False) -> tuple[Tensor, Tensor]:
    """Class probabilities and one-hot targets in the precision of the logits, (B, K, H, W), or K + 1 with background.

    Unlike the public function of this name, it does not check its inputs.

    Args:
        logits: (B, 1, H, W) for binary tasks (sigmoid), else (B, K + 1, H, W) (softmax).
        masks: int64 labels (B, H, W), 0 is background: 0 and 1 for binary tasks, else 0..K.
        background: keep the background channel, which is the first.
    """
    if logits.shape[1] == 1 and not background:
        return logits.sigmoid(), masks[:, None].to(logits.dtype)
    probabilities = class_logits(logits).softmax(1)
    # Unlike functional.one_hot, this has the memory layout of the logits, which is faster in later steps.
    one_hot = torch.zeros_like(probabilities, requires_grad=False).scatter_(1, masks[:, None], 1.0)
    first = 0 if background else 1
    return probabilities[:, first:], one_hot[:, first:]


def cross_entropy(
    logits: Tensor, masks: Tensor, *, label_smoothing: float = 0.0, reduction: Literal["mean", "none"] = "mean"
) -> Tensor:
    """Binary cross-entropy for one channel, else categorical: the mean over pixels, or (B, H, W) with ``none``."""
    if logits.shape[1] > 1:
        return functional.cross_entropy(logits, masks, label_smoothing=label_smoothing, reduction=reduction)
    targets = masks.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits[:, 0], targets, reduction=reduction)


def focal_factor(entropies: Tensor, gamma: float) -> Tensor:
    """(1 - p)^γ, where p = exp(-entropy)."""
    return power(-torch.expm1(-entropies), gamma)


def power(losses: Tensor, exponent: float) -> Tensor:
    """Power of values in [0, 1], clamped to 1e-7, as the gradient at 0 is infinite for exponents below 1."""
    return losses.clamp(min=1e-7) ** exponent


def dice(
    probabilities: Tensor,
    targets: Tensor,
    *,
    denominator: Denominator = "linear",
    per_image: bool = False,
    smooth: float = 1.0,
) -> Tensor:
    """Soft Dice, mean over classes (and images). The options are those of the objective ``dice``."""
    axes = (2, 3) if per_image else (0, 2, 3)
    overlap = (probabilities * targets).sum(axes)
    if denominator == "squared":
        probabilities, targets = probabilities.square(), targets.square()
    return ((2 * overlap + smooth) / (probabilities.sum(axes) + targets.sum(axes) + smooth)).mean()
