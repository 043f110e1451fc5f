"""Decoding by OpenCV, without its messages and without applying orientation tags."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Errors are raised instead.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# An orientation tag would rotate the image but not its mask.
_FLAGS = cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH


def decode_image(content: bytes, flags: int) -> NDArray[Any] | None:
    """Pixels (H, W), or BGR (H, W, 3), of an image file with the further ``flags``; None if it is damaged."""
    decoded: NDArray[Any] | None
    try:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), _FLAGS | flags)
    except cv2.error:
        return None
    return decoded


def decode_mask(content: bytes) -> NDArray[Any] | None:
    """Pixels (H, W), or BGR (H, W, 3) for colours, of a mask file; None if it is damaged."""
    return decode_image(content, cv2.IMREAD_ANYCOLOR)
