"""Flips and rotations, as the paper names them: by albumentations one image at a time, or on a device by the batch.

Both take the same draws from the same stream of random numbers, so that they give the same images up to the rounding
of interpolation. Masks go by nearest neighbour; what comes from outside is 0.
"""

from __future__ import annotations

import os
import random
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from spectralseg.config import Training

_CHANCE = 0.5  # of each transform


class Albumentations:
    """The reference."""

    def __init__(self, training: Training) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for a newer version
        import albumentations as A  # takes a second, and the device's way does without

        transforms: list[Any] = []
        if training.flip:
            transforms += [A.HorizontalFlip(p=_CHANCE), A.VerticalFlip(p=_CHANCE)]
        if training.rotate:
            limit = (-training.rotate, training.rotate)
            border = {"border_mode": cv2.BORDER_CONSTANT, "fill": 0, "fill_mask": 0}
            transforms.append(A.Rotate(limit=limit, **border, p=_CHANCE))
        self.compose = A.Compose(transforms)

    def __call__(
        self, image: NDArray[np.float32], mask: NDArray[np.uint8], seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """An image (S, S, channels) and its mask (S, S), moved as a seed says."""
        # One stream for all transforms: set_random_seed would give each the same draws, so that all act or none.
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        pair = self.compose(image=image, mask=mask)
        return np.ascontiguousarray(pair["image"]), np.ascontiguousarray(pair["mask"])


def draw(training: Training, seed: int) -> tuple[float, float, float]:
    """Where albumentations would move an image with this seed.

    Returns:
        Direction of columns and of rows, 1 or -1 where mirrored, and the angle in radians.
    """
    stream = random.Random(seed)
    stream.random()  # whether the composition acts at all: it always does
    columns = rows = 1.0
    angle = 0.0
    if training.flip:
        columns = -1.0 if stream.random() < _CHANCE else 1.0
        rows = -1.0 if stream.random() < _CHANCE else 1.0
    if training.rotate and stream.random() < _CHANCE:
        angle = float(np.deg2rad(stream.uniform(-training.rotate, training.rotate)))
    return columns, rows, angle


def move(images: Tensor, masks: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Move a batch as :func:`draw` says, on its device.

    Args:
        images: floats (B, S, S, channels).
        masks: uint8 (B, S, S).
        draws: floats (B, 3).

    Returns:
        The same shapes and types.
    """
    side = images.shape[1]
    # Centres of pixels between the borders of the image, -1 and 1: flips and rotations leave the origin where it is.
    axis = (torch.arange(side, device=images.device, dtype=draws.dtype) * 2 + (1 - side)) / side
    columns, rows, angle = (column[:, None, None] for column in draws.unbind(1))
    cos, sin = angle.cos(), angle.sin()
    # For every pixel where it comes from: the rotation is undone first, as it came last.
    u, v = axis[None, None, :], axis[None, :, None]
    grid = torch.stack([columns * (cos * u - sin * v), rows * (sin * u + cos * v)], -1)
    moved = functional.grid_sample(images.movedim(-1, 1), grid, "bilinear", "zeros", align_corners=False)
    labels = functional.grid_sample(masks[:, None].to(grid.dtype), grid, "nearest", "zeros", align_corners=False)
    return moved.movedim(1, -1), labels[:, 0].to(masks.dtype)
