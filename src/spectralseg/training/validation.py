"""The validation score, which selects the best weights."""

from __future__ import annotations

import torch

from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.training.device_cache import DeviceCache
from spectralseg.training.learner import Learner


def validation_part(data: PreparedDataset, device: torch.device) -> DeviceCache:
    """The validation part of a dataset, on a device.

    Raises:
        InputError: there are no validation cases.
    """
    rows = data.rows("validation")
    if not len(rows):
        raise InputError(f"{data.path}: there are no validation cases; add training cases or raise 'validation'")
    return DeviceCache(data, rows, device)


@torch.inference_mode()
def validation_dice(learner: Learner, part: DeviceCache, classes: int, batch_size: int) -> float:
    """Dice pooled over the validation part, mean over foreground classes; in [0, 1].

    Because pixels are pooled, slices without a class need no special rule. A class absent from both prediction and
    reference scores 1. Returns NaN if any logit is not finite, as comparisons would treat it as background.
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
