"""Resampling with half-pixel centres, the convention of :mod:`spectralseg.evaluation`, too.

OpenCV is imported inside the functions, as predictions in native geometry are scored without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def resize_image(image: NDArray[Any], size: int, extent: tuple[float, float] | None = None) -> NDArray[Any]:
    """``(H, W)`` or ``(H, W, 3)`` to ``(size, size[, 3])``: area averaging when shrinking, cubic when enlarging.

    Args:
        image: float32, or uint8, which is rounded.
        size: side of the result in pixels.
        extent: rows and columns of ``image`` in the result, by default all. An image of 1613 x 2419 pixels, decoded at
            1/8, has 202 x 303 pixels, but an extent of 201.625 x 302.375.
    """
    import cv2

    height, width = extent or image.shape[:2]
    interpolation = cv2.INTER_AREA if min(height, width) >= size else cv2.INTER_CUBIC
    # Factors allow for fractional extents; the result may then have one more pixel.
    resized: Any = cv2.resize(image, None, fx=size / width, fy=size / height, interpolation=interpolation)
    return resized[:size, :size]  # type: ignore[no-any-return]


def resize_labels(labels: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """``(H, W)`` labels to ``shape`` by exact nearest neighbour, without half-pixel shift."""
    import cv2

    resized: Any = cv2.resize(labels, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized  # type: ignore[no-any-return]
