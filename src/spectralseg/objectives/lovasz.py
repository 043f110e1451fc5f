"""Lovász hinge (Yu and Blaschko 2015) and Lovász-softmax (Berman et al. 2018)."""

from __future__ import annotations

from torch import Tensor

from spectralseg._torchvision import ensure_operators
from spectralseg.objectives._combined import Objective
from spectralseg.objectives._spatial import labels


def build(per_image: bool = False) -> Objective:
    """Lovász extension of the Jaccard loss: of hinge errors for binary tasks, range [0, ∞); else of errors of the
    softmax, range [0, 1], mean over the classes that are present, with the background.

    For empty masks, the hinge is the largest error alone. False positives of absent classes cost what they take from
    the classes that are present.

    Args:
        per_image: the loss of each image, averaged; otherwise of the pixels of the batch.
    """
    ensure_operators()
    from segmentation_models_pytorch.losses import LovaszLoss

    losses = {mode: LovaszLoss(mode, per_image=per_image) for mode in ("binary", "multiclass")}

    def objective(logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        lovasz = losses["binary" if logits.shape[1] == 1 else "multiclass"]
        loss = lovasz(logits.float(), labels(logits, masks)).to(logits.dtype)  # it knows single precision only
        return loss, {"lovasz": loss.detach()}

    return objective
