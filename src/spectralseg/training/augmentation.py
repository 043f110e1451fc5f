"""Flips and rotations: with albumentations for one image, or on a device for a batch.

Both use the same random numbers, so their images are equal up to the rounding of interpolation. Masks are interpolated
by nearest neighbour; pixels from outside the image are 0.
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

_PROBABILITY = 0.5  # of each transform


class Albumentations:
    """The reference implementation."""

    def __init__(self, training: Training) -> None:
        os.environ.setdefault(
            "NO_ALBUMENTATIONS_UPDATE", "1"
        )  # otherwise its import asks the network for a newer version
        import albumentations as A  # takes a second; not needed for batches on a device

        transforms: list[Any] = []
        if training.flip:
            transforms += [A.HorizontalFlip(p=_PROBABILITY), A.VerticalFlip(p=_PROBABILITY)]
        if training.rotate:
            limit = (-training.rotate, training.rotate)
            border = {"border_mode": cv2.BORDER_CONSTANT, "fill": 0, "fill_mask": 0}
            transforms.append(A.Rotate(limit=limit, **border, p=_PROBABILITY))
        self.compose = A.Compose(transforms)

    def __call__(
        self, image: NDArray[np.float32], mask: NDArray[np.uint8], seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Augment an image (S, S, channels) and its mask (S, S) with the random numbers of ``seed``."""
        # One stream for all transforms: with set_random_seed each gets the same draws, so that all are applied or none.
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        pair = self.compose(image=image, mask=mask)
        return np.ascontiguousarray(pair["image"]), np.ascontiguousarray(pair["mask"])


def draw(training: Training, seed: int) -> tuple[float, float, float]:
    """The flips and the rotation that :class:`Albumentations` applies with this seed.

    Returns:
        Direction of columns and of rows, 1 or, if mirrored, -1; and the angle in radians.
    """
    stream = random.Random(seed)
    stream.random()  # the composition draws whether to apply any transform; it always does
    columns = rows = 1.0
    angle = 0.0
    if training.flip:
        columns = -1.0 if stream.random() < _PROBABILITY else 1.0
        rows = -1.0 if stream.random() < _PROBABILITY else 1.0
    if training.rotate and stream.random() < _PROBABILITY:
        angle = float(np.deg2rad(stream.uniform(-training.rotate, training.rotate)))
    return columns, rows, angle


def move(images: Tensor, masks: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Flip and rotate a batch on its device.

    Args:
        images: floats (B, S, S, channels).
        masks: uint8 (B, S, S).
        draws: floats (B, 3), a row from :func:`draw` for each image.

    Returns:
        Images and masks of the same shapes and types.
    """
    side = images.shape[1]
    # Pixel centres, with the borders of the image at -1 and 1, so that flips and rotations keep the origin.
    axis = (torch.arange(side, device=images.device, dtype=draws.dtype) * 2 + (1 - side)) / side
    columns, rows, angle = (column[:, None, None] for column in draws.unbind(1))
    cos, sin = angle.cos(), angle.sin()
    # Source position of every pixel: the rotation is inverted first, as it is applied last.
    u, v = axis[None, None, :], axis[None, :, None]
    grid = torch.stack([columns * (cos * u - sin * v), rows * (sin * u + cos * v)], -1)
    moved = functional.grid_sample(images.movedim(-1, 1), grid, "bilinear", "zeros", align_corners=False)
    labels = functional.grid_sample(masks[:, None].to(grid.dtype), grid, "nearest", "zeros", align_corners=False)
    return moved.movedim(1, -1), labels[:, 0].to(masks.dtype)
