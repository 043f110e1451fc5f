"""Boundary loss (Kervadec et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from spectralseg.objectives._distances import signed_distances
from spectralseg.objectives._objective import Objective
from spectralseg.objectives._spatial import probabilities_and_targets


class Boundary(Objective):
    r"""Mean over pixels, images and foreground classes of :math:`φ (p - y)`, in pixels.

    φ is the signed distance to the boundary of the target: positive outside, negative inside, 0 on boundary pixels.
    Usual implementations omit the constant :math:`-φ y`, so that their values may be negative. With it, as in the
    derivation, a perfect prediction has the value 0. Range [0, ∞), growing with the image size. If a class is absent or
    fills the image, there is no boundary, and even false positives cost 0: use it as an auxiliary to a region loss.
    """

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p, y = probabilities_and_targets(logits, masks)
        distances = signed_distances(y > 0, p.dtype)
        phi = torch.where(y > 0, (distances + 1).clamp(max=0), distances)
        loss = (phi * (p - y)).mean()
        return loss, {"boundary": loss}


build = Boundary
