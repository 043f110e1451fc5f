"""From stored images to model input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def to_float(images: NDArray[Any]) -> NDArray[np.float32]:
    """Stored unsigned integers to float32 in [0, 1]."""
    return images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max)


def standardise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """[0, 1] images (B, H, W, channels) to model input (B, channels, H, W) of zero mean and unit variance."""
    return ((images - mean) / std).movedim(-1, 1)
