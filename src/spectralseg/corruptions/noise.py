"""Pixel noise, after Hendrycks and Dietterich (2019) where a severity sweep uses it.

The paper states "Gaussian and Bernoulli noise" at a level of 0.01 and defines neither. :data:`CORRUPTIONS` holds every
plausible interpretation under a name of its own, with the level as its only parameter. Level 0 is the identity.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Corruption = Callable[[Images, float, np.random.Generator], Images]


def gaussian(images: Images, variance: float, rng: np.random.Generator) -> Images:
    """Additive normal noise of this *variance*, clipped to [0, 1]; the default of ``skimage.util.random_noise``."""
    return gaussian_sd(images, float(np.sqrt(variance)), rng)


def gaussian_sd(images: Images, sd: float, rng: np.random.Generator) -> Images:
    """Additive normal noise of this *standard deviation*, independent per value, clipped to [0, 1]."""
    return np.clip(images + np.float32(sd) * rng.standard_normal(images.shape, dtype=np.float32), 0, 1)


def bernoulli(images: Images, probability: float, rng: np.random.Generator) -> Images:
    """Salt and pepper: each pixel (all channels alike) turns black or white with this probability in total."""
    return _salt_and_pepper(images, probability, _draw_pixels(images, rng))


def bernoulli_dropout(images: Images, probability: float, rng: np.random.Generator) -> Images:
    """Product with a Bernoulli mask: each pixel (all channels alike) turns black with this probability."""
    return np.where(_draw_pixels(images, rng) < probability, np.float32(0), images)


def bernoulli_additive(images: Images, probability: float, rng: np.random.Generator) -> Images:
    """Clipped sum with a Bernoulli mask: each pixel (all channels alike) turns white with this probability."""
    return np.where(_draw_pixels(images, rng) < probability, np.float32(1), images)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian": gaussian,
    "gaussian_sd": gaussian_sd,
    "bernoulli": bernoulli,
    "bernoulli_dropout": bernoulli_dropout,
    "bernoulli_additive": bernoulli_additive,
}


def impulse(images: Images, share: float, rng: np.random.Generator) -> Images:
    """Salt and pepper on this share of the values, independent per channel: coloured dots in a colour image."""
    return _salt_and_pepper(images, share, rng.random(images.shape, dtype=np.float32))


def shot(images: Images, photons: float, rng: np.random.Generator) -> Images:
    """Poisson noise of a detector that counts this many photons at value 1."""
    return np.clip(rng.poisson(images * np.float32(photons)) / np.float32(photons), 0, 1).astype(np.float32)


def speckle(images: Images, sd: float, rng: np.random.Generator) -> Images:
    """Multiplicative normal noise: its standard deviation is ``sd`` times the value."""
    return np.clip(images + images * np.float32(sd) * rng.standard_normal(images.shape, dtype=np.float32), 0, 1)


def rician(images: Images, relative_sd: float, rng: np.random.Generator) -> Images:
    """Magnitude of image plus complex normal noise; its deviation is relative to that of all images."""
    sd = np.float32(relative_sd) * images.std()
    real, imaginary = (sd * rng.standard_normal(images.shape, dtype=np.float32) for _ in range(2))
    magnitude: Images = np.clip(np.hypot(images + real, imaginary), 0, 1)
    return magnitude


def _draw_pixels(images: Images, rng: np.random.Generator) -> Images:
    return rng.random(images.shape[:-1], dtype=np.float32)[..., None]


def _salt_and_pepper(images: Images, share: float, draw: Images) -> Images:
    peppered = np.where(draw < share, np.float32(0), images)
    return np.where(draw < share / 2, np.float32(1), peppered)
