"""The spectral objective, 1 - S with S of Eq. (2) of the paper."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spectralseg.objectives._combined import Objective
from spectralseg.objectives._similarity import check_options, probabilities_and_targets, spectral_similarity


def build(band: Sequence[float] | None = None, weighting: float = 0.0, method: str = "auto") -> Objective:
    """Mean over foreground classes of 1 - S, each S summed over the batch. Range [0, 2].

    The sign is the one that minimising makes sense of: the paper's text describes a similarity and its formula adds
    it to the loss. On classes that are absent from the batch, 1 - S tends to 1 with a vanishing gradient.

    Args:
        band: (low, high) in cycles per image; None is the paper's full band, for which 1 - S is the squared Dice.
        weighting: exponent of the frequency weights.
        method: ``fft`` computes the literal transform, ``auto`` the closed form where it is the same number.

    Raises:
        ValueError: the band is not (low, high) with low < high, the weighting is negative, or the method is unknown.
    """
    check_options(band, weighting, method)
    limits = None if band is None else (float(band[0]), float(band[1]))

    def objective(logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p, y = probabilities_and_targets(logits, masks)
        epsilon = 1e-6 * p.shape[-1] * p.shape[-2]
        similarities = [
            spectral_similarity(
                p[:, k : k + 1], y[:, k : k + 1], band=limits, weighting=weighting, method=method, epsilon=epsilon
            )
            for k in range(p.shape[1])
        ]
        loss = 1 - torch.stack(similarities).mean()
        return loss, {"spectral": loss.detach()}

    return objective
