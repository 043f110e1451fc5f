"""Faithfulness of class activation maps by insertion and deletion (Petsiuk et al. 2018, RISE)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

_BLUR = 10 / 224  # standard deviation as a fraction of the image side (Fong and Vedaldi 2017)


@torch.inference_mode()
def perturbation_curves(
    model: nn.Module, image: Tensor, labels: Tensor, ranks: NDArray[np.int64], *, steps: int = 16, batch_size: int = 8
) -> NDArray[np.float64]:
    """Confidence in a prediction while pixels are inserted, and while they are deleted.

    Confidence is the mean probability of the predicted labels over the pixels predicted as foreground. Deleted pixels
    are replaced by those of the blurred image, which adds no edges.

    Args:
        model: a model in evaluation mode.
        image: standardised image (channels, H, W) on the model's device.
        labels: prediction for the original image, (H, W), 0 is background.
        ranks: ranks of the pixels in M orders (M, H, W), from :func:`pixel_ranks`.
        steps: number of equal steps from no pixels to all.
        batch_size: images per forward pass; there are M × 2 × (steps + 1).

    Returns:
        Confidence in [0, 1], (M, 2, steps + 1): insertion, then deletion. NaN without foreground.
    """
    foreground = labels > 0
    blurred = torch.from_numpy(blur(image.cpu().numpy())).to(image)
    count = np.arange(steps + 1) * (ranks[0].size / steps)
    inserted = ranks[:, None] < count[:, None, None]
    kept = torch.from_numpy(np.stack([inserted, ~inserted], axis=1).reshape(-1, 1, *image.shape[1:]))
    confidences = []
    for part in kept.split(batch_size):
        logits = model(torch.where(part.to(image.device), image, blurred)).float()
        if logits.shape[1] == 1:
            probability = logits[:, 0].sigmoid()
        else:
            probability = logits.softmax(1).gather(1, labels.expand(len(part), 1, -1, -1))[:, 0]
        confidences.append(probability[:, foreground].double().mean(1).cpu().numpy())
    return np.concatenate(confidences).reshape(len(ranks), 2, steps + 1)


def area(curve: NDArray[np.float64]) -> float:
    """Area under a curve (steps + 1) over the fraction of pixels, by the trapezoidal rule; within the curve's range."""
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def pixel_ranks(cam: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Rank of each pixel (H, W) by decreasing activation, from 0.

    Ties are broken at random; otherwise large zero areas of a map would be inserted row by row.
    """
    ranks = np.empty(cam.size, np.int64)
    ranks[np.lexsort((rng.random(cam.size), -cam.ravel()))] = np.arange(cam.size)
    return ranks.reshape(cam.shape)


def blur(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gaussian blur of (channels, H, W) with a standard deviation of 10 pixels at a side of 224."""
    sigma = _BLUR * max(image.shape[1:])
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(image, (0, sigma, sigma))
    return blurred
