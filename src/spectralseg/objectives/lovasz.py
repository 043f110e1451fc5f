"""Lovász hinge (Yu and Blaschko 2015) and Lovász-softmax (Berman et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from spectralseg.objectives._objective import Objective


class Lovasz(Objective):
    """Lovász extension of the Jaccard loss.

    Binary tasks use hinge errors, range [0, ∞). Others use errors of the softmax, range [0, 1], and the mean over the
    present classes including the background.

    For empty masks, the hinge loss is the largest error. False positives of absent classes only cost the probability
    that they take from present classes.

    Args:
        per_image: average the loss over images; otherwise compute it over the batch.
    """

    def __init__(self, per_image: bool = False) -> None:
        super().__init__()
        self.per_image = per_image

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        labels = torch.arange(max(2, logits.shape[1]), device=masks.device)
        truth = masks[:, None] == labels[:, None, None]
        if logits.shape[1] == 1:
            truth = truth[:, 1:]
            errors = (1 - torch.where(truth, logits, -logits)).relu()
        else:
            errors = torch.where(truth, 1 - logits.softmax(1), logits.softmax(1))
        # (sets, classes, pixels), where a set is an image or the batch
        errors, truth = errors.flatten(2), truth.flatten(2)
        if not self.per_image:
            errors, truth = (values.movedim(0, 1).flatten(1)[None] for values in (errors, truth))
        losses = _extension(errors, truth)
        if logits.shape[1] > 1:
            present = truth.any(-1).to(losses.dtype)
            losses = (losses * present).sum(1) / present.sum(1)
        loss = losses.mean()
        return loss, {"lovasz": loss}


def _extension(errors: Tensor, truth: Tensor) -> Tensor:
    """Lovász extension of the Jaccard loss (Berman et al. 2018, Algorithm 1), over the last axis.

    That of segmentation-models-pytorch is limited to single precision, and synchronises to find the present classes.

    Args:
        errors: of the P pixels, (..., P).
        truth: booleans of the same shape, whether a pixel belongs to the class.
    """
    errors, order = errors.sort(-1, descending=True)
    truth = truth.gather(-1, order)
    # Integer counts are exact, and their sums deterministic on CUDA.
    left = truth.sum(-1, keepdim=True) - truth.cumsum(-1)
    union = truth.sum(-1, keepdim=True) + (~truth).cumsum(-1)
    losses = 1 - left.to(errors.dtype) / union.to(errors.dtype)
    return (errors * losses.diff(dim=-1, prepend=torch.zeros_like(losses[..., :1]))).sum(-1)


build = Lovasz
