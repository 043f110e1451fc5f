"""The score by which a checkpoint is chosen."""

from __future__ import annotations

import numpy as np
import torch

from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.training.batches import to_float
from spectralseg.training.learner import Learner


@torch.inference_mode()
def validation_dice(learner: Learner, data: PreparedDataset, batch_size: int) -> float:
    """Dice pooled over the validation part, mean over foreground classes; in [0, 1].

    Pooling needs no rule for slices without a class. A class absent from both prediction and reference counts 1.

    Raises:
        InputError: there is no validation part.
    """
    rows = data.rows("validation")
    if not len(rows):
        raise InputError(f"{data.path}: there are no validation cases; add training cases or raise 'validation'")
    learner.model.eval()
    classes = len(data.classes)
    overlap, total = (torch.zeros(classes, dtype=torch.int64, device=learner.device) for _ in range(2))
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        logits = learner.logits(torch.from_numpy(to_float(data.images[chosen])))
        predicted = (logits[:, 0] > 0).long() if classes == 1 else logits.argmax(1)
        reference = torch.from_numpy(np.asarray(data.masks[chosen])).to(learner.device)
        for k in range(classes):
            p, y = predicted == k + 1, reference == k + 1
            overlap[k] += (p & y).sum()
            total[k] += p.sum() + y.sum()
    dice = torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(total))
    return float(dice.float().mean())
