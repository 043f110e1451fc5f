"""The score by which a checkpoint is chosen."""

from __future__ import annotations

import torch

from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.training.device_cache import Resident
from spectralseg.training.learner import Learner


def validation_part(data: PreparedDataset, device: torch.device) -> Resident:
    """The images of the validation part, on a device.

    Raises:
        InputError: there are none.
    """
    rows = data.rows("validation")
    if not len(rows):
        raise InputError(f"{data.path}: there are no validation cases; add training cases or raise 'validation'")
    return Resident(data, rows, device)


@torch.inference_mode()
def validation_dice(learner: Learner, part: Resident, classes: int, batch_size: int) -> float:
    """Dice pooled over the validation part, mean over foreground classes; in [0, 1].

    Pooling needs no rule for slices without a class. A class absent from both prediction and reference counts 1. NaN
    if any logit is not finite: comparisons would take it for background.
    """
    learner.model.eval()
    finite = torch.ones((), dtype=torch.bool, device=learner.device)
    overlap, total = (torch.zeros(classes, dtype=torch.int64, device=learner.device) for _ in range(2))
    for start in range(0, len(part), batch_size):
        images, reference = part[start : start + batch_size]
        logits = learner.logits(images)
        finite &= logits.isfinite().all()
        predicted = (logits[:, 0] > 0).long() if classes == 1 else logits.argmax(1)
        for k in range(classes):
            p, y = predicted == k + 1, reference == k + 1
            overlap[k] += (p & y).sum()
            total[k] += p.sum() + y.sum()
    dice = torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(total))
    return float(torch.where(finite, dice.float().mean(), torch.nan))
