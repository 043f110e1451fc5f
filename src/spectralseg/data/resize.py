"""Resampling with one pixel-centre convention, here and in :mod:`spectralseg.evaluation`: half-pixel centres."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def resize_image(image: NDArray[Any], size: int) -> NDArray[np.float32]:
    """``(H, W)`` or ``(H, W, 3)`` to ``(size, size[, 3])``: area averaging when shrinking, cubic when enlarging."""
    interpolation = cv2.INTER_AREA if min(image.shape[:2]) >= size else cv2.INTER_CUBIC
    resized: Any = cv2.resize(image.astype(np.float32), (size, size), interpolation=interpolation)
    return resized  # type: ignore[no-any-return]


def resize_labels(labels: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """``(H, W)`` labels to ``shape`` by nearest neighbour (the exact variant: no half-pixel shift)."""
    resized: Any = cv2.resize(labels, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized  # type: ignore[no-any-return]
