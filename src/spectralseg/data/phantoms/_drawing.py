"""Shapes, textures and archives of the phantoms."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.files import replacing


def generator(seed: int, *keys: object) -> np.random.Generator:
    """A random generator that depends on the seed and the keys only."""
    digest = hashlib.sha256("/".join(map(str, (seed, *keys))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def texture(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> NDArray[np.float32]:
    """Smooth noise of zero mean and unit standard deviation; ``scale`` is its correlation length in pixels."""
    noise: NDArray[np.float32] = ndimage.gaussian_filter(
        rng.standard_normal(shape).astype(np.float32), scale, mode="wrap"
    )
    noise -= noise.mean()
    noise /= max(float(noise.std()), 1e-6)
    return noise


def blob(
    rng: np.random.Generator,
    shape: tuple[int, int],
    centre: tuple[float, float],
    radii: tuple[float, float],
    *,
    angle: float = 0.0,
    wobble: float = 0.0,
) -> NDArray[np.bool_]:
    """A filled ellipse with an irregular outline, boolean (H, W).

    ``centre`` and ``radii`` are in (row, column) pixels, ``angle`` in radians; ``wobble`` is the relative amplitude of
    the low harmonics of the outline.
    """
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    y, x = rows - centre[0], columns - centre[1]
    u = (np.cos(angle) * y + np.sin(angle) * x) / radii[0]
    v = (-np.sin(angle) * y + np.cos(angle) * x) / radii[1]
    phase = np.arctan2(u, v)
    outline = np.ones_like(phase)
    for harmonic in range(2, 6):
        outline += wobble * rng.normal() / harmonic * np.cos(harmonic * phase + rng.uniform(0, 2 * np.pi))
    inside: NDArray[np.bool_] = np.hypot(u, v) < np.maximum(outline, 0.2)
    return inside


def to_uint8(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Convert [0, 1] to 0..255, clipped and rounded."""
    levels: NDArray[np.uint8] = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return levels


def zip_members(path: Path, members: dict[str, bytes], *, compress: bool = False) -> Path:
    """Write a zip whose bytes depend on the members only (fixed times and modes). Names that end in '/' are folders."""
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", method) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            archive.writestr(info, content)
    return path


def tar_members(path: Path, members: dict[str, bytes]) -> Path:
    """Write a ``.tar.gz`` whose bytes depend on the members only (fixed times, modes and owners)."""
    with (
        replacing(path) as partial,
        partial.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def clouds(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> NDArray[np.float32]:
    """As :func:`texture` for two dimensions, but fast for any ``scale``: enlarged coarse noise."""
    if scale < 4:  # the grid would be visible
        return texture(rng, shape, 0.45 * scale)
    grid = [max(3, round(n / scale) + 2) for n in shape]
    coarse = rng.standard_normal(grid).astype(np.float32)
    noise = np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)
    noise -= noise.mean()
    noise /= max(float(noise.std()), 1e-6)
    return noise


def spread(items: Sequence[str], count: int) -> list[str]:
    """``count`` evenly spaced items of a sequence; all of them if it is shorter."""
    count = min(count, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def colour(red: float, green: float, blue: float) -> NDArray[np.float32]:
    """A colour, or a factor per colour, as an array (3,)."""
    return np.array([red, green, blue], np.float32)


def jpeg(picture: NDArray[np.uint8], quality: int = 92) -> bytes:
    """Encode an RGB or grey picture as JPEG."""
    ordered = picture[..., ::-1] if picture.ndim == 3 else picture
    return bytes(cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])
