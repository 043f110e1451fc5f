"""Corruptions of test images, applied to [0, 1] images before standardisation.

The paper states a noise level of 0.01 and no definition. Gaussian noise is read as *variance* 0.01, the default of
``skimage.util.random_noise`` (a standard deviation of 0.01 would hardly be visible); Bernoulli noise as salt and
pepper on a share of 0.01 of the pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Corruption = Callable[[NDArray[np.float32], float, np.random.Generator], NDArray[np.float32]]


def gaussian(image: NDArray[np.float32], variance: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Additive normal noise of this variance, clipped to [0, 1]. ``image``: (..., channels) in [0, 1]."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + np.float32(np.sqrt(variance)) * noise, 0, 1)


def bernoulli(image: NDArray[np.float32], probability: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Salt and pepper: each pixel (all channels alike) turns black or white with this probability in total."""
    draw = rng.random(image.shape[:-1], dtype=np.float32)[..., None]
    corrupted = np.where(draw < probability, np.float32(0), image)
    return np.where(draw < probability / 2, np.float32(1), corrupted)


CORRUPTIONS: dict[str, Corruption] = {"gaussian": gaussian, "bernoulli": bernoulli}
