"""Signed distances to the boundary of masks.

MONAI's BoundaryLoss and HausdorffDTLoss use the distance transform of SciPy, which dominates their run time. That of
OpenCV is several times as fast.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def signed_distances(masks: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Euclidean distance of each pixel to the nearest pixel of the other value, negative inside, in pixels.

    Args:
        masks: booleans (B, K, H, W).
        dtype: float32 or float64.

    Returns:
        Distances (B, K, H, W); 0 where a mask is empty or full and has no boundary.
    """
    planes = masks.flatten(0, 1).cpu().numpy().astype(np.uint8)
    distances: NDArray[Any] = np.stack([_distance(np.uint8(1) - plane) - _distance(plane) for plane in planes])
    # The last bit of OpenCV's single-precision result depends on the memory address of the array. Squared distances are
    # integers: rounding to them makes distances up to 1000 pixels exact and reproducible.
    signs, squares = np.sign(distances), np.rint(np.square(distances))
    distances = signs * np.sqrt(squares, dtype=np.float64 if dtype == torch.float64 else np.float32)
    return torch.from_numpy(distances).to(masks.device, dtype).reshape(masks.shape)


def _distance(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Distance of the ones to the nearest zero; 0 without any zero."""
    if plane.all():
        return np.zeros(plane.shape, np.float32)
    distances: Any = cv2.distanceTransform(plane, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distances  # type: ignore[no-any-return]
