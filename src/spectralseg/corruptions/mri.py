"""Artefacts of magnetic resonance imaging, modelled as in TorchIO (Pérez-García et al. 2021) and clipped to [0, 1].

The bias field depends on the coil and is one field for the whole volume. Ghosts have one direction per volume. Slices
are acquired one after the other, so that each has its own motion.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from spectralseg.corruptions.noise import Images
from spectralseg.corruptions.photographs import PUBLISHED_SIDE, Array

_ORDER = 3


def bias_field(images: Images, coefficient: float, rng: np.random.Generator) -> Images:
    """Multiplies by the exponential of a random cubic polynomial (Van Leemput et al. 1999).

    Its coefficients are uniform within ±``coefficient``; each coordinate runs from -1 to 1 over the case. The geometric
    mean of the field is 1, because preparation normalises the scale of each volume.
    """
    powers = np.indices((_ORDER + 1,) * 3).sum(0)
    coefficients = rng.uniform(-coefficient, coefficient, powers.shape) * (powers <= _ORDER)
    axes = [np.vander(_centred(length), _ORDER + 1, increasing=True) for length in images.shape[:3]]
    logarithm = np.einsum("zi,yj,xk,ijk->zyx", *axes, coefficients, optimize=True)
    return _clipped(images * np.exp(logarithm - logarithm.mean())[..., None])


def ghosting(images: Images, ghosts: float, intensity: float, rng: np.random.Generator) -> Images:
    """Ghosts along a random axis of the slices, from a periodic disturbance of k-space.

    Every ``ghosts``-th line is multiplied by 1 - ``intensity``, except for the central one.
    """
    axis = 1 + int(rng.integers(2))
    factors = np.ones(images.shape[axis], np.float32)
    factors[:: int(ghosts)] -= intensity
    factors[len(factors) // 2] = 1
    spectrum = np.fft.fft(images, axis=axis)
    spectrum *= np.expand_dims(np.fft.ifftshift(factors), [n for n in range(4) if n != axis])
    return _clipped(np.fft.ifft(spectrum, axis=axis).real)


def patient_motion(
    images: Images, degrees: float, translation: float, movements: float, rng: np.random.Generator
) -> Images:
    """Motion during the acquisition (Shaw et al. 2019): k-space is composed of slices in different positions.

    Between movements at nearly regular times, the slice is rotated by up to ±``degrees`` and shifted along each axis
    by up to ±``translation`` pixels of a slice of 224. The centre of k-space comes from the position of the label.
    """
    shift = translation * images.shape[1] / PUBLISHED_SIDE
    moved = [_moving(image, (degrees, shift, shift), int(movements), rng) for image in images]
    return _clipped(np.stack(moved))


def _moving(image: Array, limits: tuple[float, float, float], movements: int, rng: np.random.Generator) -> Array:
    axes = [(0, 1, 2), (1, 0, 2)][rng.integers(2)]  # the first is the phase-encoding direction
    image = image.transpose(axes)
    side = len(image)
    times = (np.arange(1, movements + 1) + rng.uniform(-0.3, 0.3, movements)) / (movements + 1)
    edges = [0, *(times * side).astype(int), side]
    lines = _lines(image)
    for (first, last), position in zip(pairwise(edges), rng.uniform(-1, 1, (movements + 1, 3)), strict=True):
        if not first <= side // 2 < last:
            lines[first:last] = _lines(_moved(image, *(position * limits)))[first:last]
    return np.fft.ifft(np.fft.ifftshift(lines, 0), axis=0).real.transpose(axes)


def _lines(image: Array) -> Array:
    """K-space of an image along its first axis, with the zero frequency in the middle."""
    return np.fft.fftshift(np.fft.fft(image, axis=0), 0)


def _moved(image: Array, degrees: float, right: float, down: float) -> Array:
    centre = (len(image) - 1) / 2
    matrix: Array = cv2.getRotationMatrix2D((centre, centre), degrees, 1)
    matrix[:, 2] += (right, down)
    return cv2.warpAffine(image, matrix, image.shape[1::-1]).reshape(image.shape)


def _centred(length: int) -> Array:
    """Coordinates of the elements of an axis, from -1 to 1; 0 for a single one."""
    return np.linspace(-1, 1, length) if length > 1 else np.zeros(1)


def _clipped(images: Array) -> Images:
    clipped: Images = np.clip(images, 0, 1).astype(np.float32, copy=False)
    return clipped
