"""Uniform decoding of TIFF files: images, masks and tiles.

Image libraries disagree on TIFF: some apply the orientation tag, scale 12 bits to 16, invert WhiteIsZero images at 8
bits only, or misread separate colour planes. Here pixel values and order are those of the file, except that WhiteIsZero
is inverted and a palette is applied, at all bit depths.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from spectralseg.data.readers._limits import (
    MAX_IMAGE_BYTES,
    MAX_PIXELS,
    Picture,
    refuse_larger,
    refuse_transparent,
    regular_file,
)
from spectralseg.errors import InputError

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PHOTOMETRIC = tifffile.PHOTOMETRIC
_COMPRESSION = tifffile.COMPRESSION
_JPEG = (_COMPRESSION.OJPEG, _COMPRESSION.JPEG)
_COLOUR_TYPES = (np.uint8, np.uint16, np.float32)
_LOSSY = ("JPEG", "JP2000", "WEBP", "LERC")  # substrings of compression names


class Tiff(NamedTuple):
    """A decoded TIFF file with one image.

    Attributes:
        pixels: (H, W) or (H, W, 3), native endianness, any integer or floating-point type; 1-bit images are 0 and 255.
        picture: the header.
    """

    pixels: NDArray[Any]
    picture: Picture


def is_tiff(content: bytes) -> bool:
    """Whether the content of a file starts like TIFF or BigTIFF."""
    return content.startswith(_MAGIC)


def read_tiff(path: Path, content: bytes) -> Tiff:
    """Decode the content of the TIFF file ``path``.

    Raises:
        InputError: the file has several images, missing parts, too many pixels, transparency, or colours other than
            grey values, RGB or a palette.
        Exception: of any kind, if the file is damaged or not a TIFF file.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = _single_page(path, file)
        _refuse_missing_parts(path, page, len(content))
        tag = page.tags.get("Orientation")
        orientation = tag.value if tag is not None else 1
        inverted = page.photometric == _PHOTOMETRIC.MINISWHITE
        pixels = _colours(path, page, _planes(page))
        return Tiff(
            pixels,
            Picture(
                (page.imagelength, page.imagewidth),
                "TIFF",
                "L" if pixels.ndim == 2 else "RGB",
                turned=orientation in range(2, 9),
                quarter_turn=orientation in range(5, 9),
                lossy=any(part in _COMPRESSION(page.compression).name for part in _LOSSY),
                inverted=inverted,
            ),
        )


def read_tile(path: Path) -> Tiff:
    """Decode a TIFF file with one 8-bit RGB image, (H, W, 3) uint8.

    Raises:
        InputError: the file has another kind of image, several images or missing parts.
        Exception: of any kind, if the file is damaged or not a TIFF file.
    """
    regular_file(path, MAX_IMAGE_BYTES)
    with tifffile.TiffFile(path) as file:
        page = _single_page(path, file)
        faithful = page.photometric == _PHOTOMETRIC.RGB or page.compression in _JPEG
        if len(page.shape) != 3 or page.shape[2] != 3 or page.dtype != np.uint8 or not faithful:
            kind = getattr(page.photometric, "name", "unknown")
            raise InputError(
                f"{path}: is {page.dtype} of shape {page.shape} ({kind}), not an 8-bit RGB image; "
                "use the published tile"
            )
    return read_tiff(path, path.read_bytes())


def _single_page(path: Path, file: tifffile.TiffFile) -> Any:
    page: Any = file.pages.first
    # len(file.pages) would visit all pages.
    if len(list(itertools.islice(file.pages, 2))) > 1 or _described_images(file, page) > 1:
        raise InputError(f"{path}: holds several images; give one file for each")
    refuse_larger(path, "the image", (page.imagelength, page.imagewidth), MAX_PIXELS)
    if page.imagedepth > 1:
        raise InputError(f"{path}: holds a volume of {page.imagedepth} planes; give one file for each")
    return page


def _described_images(file: tifffile.TiffFile, page: Any) -> int:
    """Number of images according to the metadata of tifffile or ImageJ, which may share one header."""
    with contextlib.suppress(TypeError, ValueError, KeyError):  # invalid metadata is ignored
        if file.is_imagej:
            return int((file.imagej_metadata or {}).get("images", 1))
        if page.is_shaped:
            shape = tifffile.tifffile.shaped_description_metadata(page.shaped_description)["shape"]
            return int(math.prod(shape) // math.prod(page.shape))
    return 1


def _refuse_missing_parts(path: Path, page: Any, stored: int) -> None:
    """Raise an :class:`InputError` if strips or tiles are missing, which tifffile fills with zeros."""
    ends = [start + length for start, length in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if len(ends) != math.prod(page.chunked) or not all(page.databytecounts) or max(ends) > stored:
        raise InputError(f"{path}: parts of the image are missing; replace it by an intact copy")


def _planes(page: Any) -> NDArray[Any]:
    """Pixels as (H, W, samples), from interleaved or separate planes."""
    by_plane: NDArray[Any] = page.asarray(squeeze=False, maxworkers=1)[:, 0]  # (planes, H, W, samples of a plane)
    return by_plane[0] if len(by_plane) == 1 else by_plane[..., 0].transpose(1, 2, 0)


def _colours(path: Path, page: Any, planes: NDArray[Any]) -> NDArray[Any]:
    """Convert (H, W, samples) to grey values (H, W) or RGB (H, W, 3)."""
    bits, kind, samples = page.bitspersample, page.photometric, planes.shape[-1]
    colours = 3 if kind == _PHOTOMETRIC.RGB or (samples >= 3 and page.compression in _JPEG) else 1
    if 1 < bits < 8 or planes.dtype.kind not in "buif" or (colours == 3 and planes.dtype not in _COLOUR_TYPES):
        raise InputError(f"{path}: holds pixels of {bits}-bit {planes.dtype}; convert it to 8 bit")
    supported = kind in (_PHOTOMETRIC.MINISBLACK, _PHOTOMETRIC.MINISWHITE, _PHOTOMETRIC.PALETTE) or colours == 3
    if not supported or samples not in (colours, colours + 1):
        name = getattr(kind, "name", "unknown")
        raise InputError(
            f"{path}: holds {name} colours in {samples} channels, which decoders read differently; convert it to RGB"
        )
    if samples > colours:
        refuse_transparent(path, planes[..., colours], 2**bits - 1 if planes.dtype.kind == "u" else 1)
    pixels = planes[..., 0] if colours == 1 else planes[..., :3]
    if kind == _PHOTOMETRIC.PALETTE:
        return _look_up(path, page.colormap, pixels)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
        bits = 8
    if kind == _PHOTOMETRIC.MINISWHITE:
        if pixels.dtype.kind != "u":
            raise InputError(f"{path}: is WhiteIsZero with {pixels.dtype} pixels, which has no meaning; convert it")
        pixels = pixels.dtype.type(2**bits - 1) - pixels
    return np.ascontiguousarray(pixels)


def _look_up(path: Path, palette: NDArray[np.uint16], pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of palette indices (H, W): the high bytes of a 16-bit palette.

    For an 8-bit colour v, some programs write v * 256, others v * 257.
    """
    if 0 < palette.max() < 256:
        raise InputError(f"{path}: has a palette of 8 instead of 16 bits, which decoders read differently; convert it")
    return np.ascontiguousarray((palette >> 8).astype(np.uint8).T[pixels.astype(np.intp)])
