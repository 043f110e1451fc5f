"""Blur, lighting and compression artefacts of cameras, microscopes, viewers and archives.

Lengths are published for images of 224 pixels and scale with the side. Brightness, contrast and gamma change a whole
case alike; all others act on each image or slice separately. Albumentations has most of these corruptions, but only
with integer radii, and its motion blur lacks the published deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spectralseg.corruptions.noise import Images

Array = NDArray[Any]

PUBLISHED_SIDE = 224
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def gaussian_blur(images: Images, sigma: float, rng: np.random.Generator) -> Images:
    """Gaussian blur of standard deviation ``sigma``."""
    return np.clip(_each(images, lambda image: cv2.GaussianBlur(image, (0, 0), sigma * _scale(images))), 0, 1)


def defocus_blur(images: Images, radius: float, rng: np.random.Generator) -> Images:
    """Blur by a disc of this radius with an antialiased edge."""
    scaled = radius * _scale(images)
    reach = int(np.ceil(scaled))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(scaled + 0.5 - np.hypot(y, x), 0, 1).astype(np.float32)
    return _filtered(images, disc)


def motion_blur(images: Images, radius: float, sigma: float, rng: np.random.Generator) -> Images:
    """Blur along a line of random direction within 45 degrees of the rows.

    The weights along the line are half a normal curve of deviation ``sigma``, truncated at twice the radius, as in
    ImageMagick. Unlike there, the kernel is centred on its centre of mass, so that structures keep their positions.
    """
    angle = np.deg2rad(rng.uniform(-45, 45))
    along = np.linspace(0, 2 * radius, 16 * round(radius) + 1)
    weights = np.exp(-0.5 * (along / sigma) ** 2)
    along = (along - np.average(along, weights=weights)) * _scale(images)
    reach = int(np.ceil(np.abs(along).max()))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    positions = np.rint(reach + np.outer((np.sin(angle), np.cos(angle)), along)).astype(int)
    np.add.at(kernel, tuple(positions), weights)
    return _filtered(images, kernel)


def brightness(images: Images, factor: float, rng: np.random.Generator) -> Images:
    """Multiply values by ``factor``."""
    scaled: Images = np.clip(images * np.float32(factor), 0, 1)
    return scaled


def contrast(images: Images, factor: float, rng: np.random.Generator) -> Images:
    """Multiply differences from the mean luminance by ``factor``."""
    mean = np.float32(_luminance(images).mean())
    stretched: Images = np.clip(mean + (images - mean) * np.float32(factor), 0, 1)
    return stretched


def gamma(images: Images, exponent: float, rng: np.random.Generator) -> Images:
    """Raise values to the power of ``exponent``."""
    changed: Images = np.power(images, np.float32(exponent))
    return changed


def saturate(images: Images, increase: float, rng: np.random.Generator) -> Images:
    """Add ``increase`` to the saturation (HSV); grey turns red, hue 0. Images of one channel stay unchanged."""
    if images.shape[-1] == 1:
        return images

    def saturated(image: Array) -> Array:
        hsv: Array = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = np.clip(hsv[..., 1] + increase, 0, 1)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)

    return np.clip(_each(images, saturated), 0, 1)


def jpeg(images: Images, quality: float, rng: np.random.Generator) -> Images:
    """JPEG compression of the image in 8 bits at this quality."""

    def compressed(image: Array) -> Array:
        levels = np.rint(image[..., ::-1] * 255).astype(np.uint8)  # OpenCV orders channels BGR
        _, code = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
        decoded: Any = cv2.imdecode(code, cv2.IMREAD_UNCHANGED)
        return decoded.reshape(image.shape)[..., ::-1]  # type: ignore[no-any-return]

    return _each(images, compressed) / np.float32(255)


def pixelate(images: Images, factor: float, rng: np.random.Generator) -> Images:
    """Shrink each side to this share by area averaging, then enlarge it by nearest neighbour."""
    side = images.shape[1]
    small = max(1, int(side * factor))

    def pixelated(image: Array) -> Array:
        coarse = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST_EXACT)

    return np.clip(_each(images, pixelated), 0, 1)  # means of ones may exceed 1 by rounding


def specular_highlights(images: Images, share: float, rng: np.random.Generator) -> Images:
    """White reflections of the light source on this share of the pixels: bright regions, modulated by random relief."""
    size = 3 * _scale(images)  # of a reflection, in pixels

    def glared(image: Array) -> Array:
        relief = cv2.GaussianBlur(rng.standard_normal(image.shape[:2], dtype=np.float32), (0, 0), size)
        light = cv2.GaussianBlur(_luminance(image), (0, 0), size)
        faces_lamp = light + 0.25 * relief / relief.std()
        glare = np.clip((faces_lamp - np.quantile(faces_lamp, 1 - share)) / 0.05, 0, 1)[..., None]
        glaring: Array = image + (1 - image) * glare
        return glaring

    return np.clip(_each(images, glared), 0, 1)


def _scale(images: Images) -> float:
    return float(images.shape[1] / PUBLISHED_SIDE)


def _luminance(images: Array) -> Array:
    """Luminance without the channel axis."""
    return images[..., 0] if images.shape[-1] == 1 else images @ _LUMINANCE


def _each(images: Images, change: Callable[[Array], Array]) -> Images:
    """Apply ``change`` to each image and restore the channel axis, which OpenCV drops for one channel."""
    return np.stack([change(image).reshape(image.shape) for image in images]).astype(np.float32, copy=False)


def _filtered(images: Images, kernel: Array) -> Images:
    weights = (kernel / kernel.sum()).astype(np.float32)
    return np.clip(_each(images, lambda image: cv2.filter2D(image, -1, weights)), 0, 1)
