"""Mask files. PNG, BMP and TIFF are decoded without OpenCV, which scoring two folders does not need otherwise."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spectralseg.data.readers._limits import (
    MAX_IMAGE_BYTES,
    Picture,
    decoding_picture,
    inspect_picture,
    regular_file,
)
from spectralseg.data.readers._tiff import is_tiff, read_tiff
from spectralseg.errors import InputError, explained

Decoder = Callable[[bytes], NDArray[Any] | None]  # content of a file -> pixels, None if it is damaged

ARTEFACT = 8  # largest channel difference of grey JPEG masks


def read_mask(path: Path) -> tuple[NDArray[Any], Picture]:
    """Stored grey values (H, W) of an image file, and its header.

    Raises:
        InputError: the file is missing, damaged, coloured or transparent.
        ModuleNotFoundError: the file is a JPEG or WebP image, and OpenCV is not installed.
    """
    content = read_bytes(path)
    if is_tiff(content):
        with decoding_picture(path):
            mask, picture = read_tiff(path, content)
    else:
        picture = inspect_picture(path, content)
        mask = decode(path, content, _DECODERS.get(picture.format, _decode_by_opencv))
    return _one_channel(path, mask, picture.lossy), picture


def read_bytes(path: Path) -> bytes:
    """Content of an image file.

    Raises:
        InputError: the file is missing, not a regular file, too large or not readable.
    """
    regular_file(path, MAX_IMAGE_BYTES)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {explained(error)}") from None


def decode(path: Path, content: bytes, decoder: Decoder) -> NDArray[Any]:
    """Pixels of a file that is not a TIFF file.

    Raises:
        InputError: the file is damaged or truncated.
    """
    decoded = decoder(content) if _is_complete(content) else None
    if decoded is None:
        raise InputError(f"{path}: damaged or truncated image file; download or copy it again")
    return decoded


def _is_complete(content: bytes) -> bool:
    """Whether a JPEG or PNG file has an end marker, as some decoders silently fill missing pixels."""
    if content.startswith(b"\xff\xd8"):
        # Markers cannot occur within compressed data, so that an end marker must follow the last scan.
        end = content.rfind(b"\xff\xd9")
        return end >= 0 and content.find(b"\xff\xda", end) < 0
    if content.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" in content
    return bool(content)


def _decode_png(content: bytes) -> NDArray[Any] | None:
    try:
        decoded: NDArray[Any] = imagecodecs.png_decode(content)
    except imagecodecs.PngError:
        return None
    with_alpha = decoded.ndim == 3 and decoded.shape[-1] in (2, 4)
    return decoded[..., :-1] if with_alpha else decoded  # inspect_picture has checked that alpha is opaque


def _decode_bmp(content: bytes) -> NDArray[Any] | None:
    try:
        with Image.open(io.BytesIO(content), formats=("BMP",)) as picture:
            return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    except Exception:  # Pillow raises nearly any exception for damaged files
        return None


def _decode_by_opencv(content: bytes) -> NDArray[Any] | None:
    from spectralseg.data.readers import _opencv

    return _opencv.decode_mask(content)


_DECODERS: Mapping[str, Decoder] = {"PNG": _decode_png, "BMP": _decode_bmp}  # by format of Pillow


def _one_channel(path: Path, mask: NDArray[Any], lossy: bool) -> NDArray[Any]:
    """Mask (H, W) of grey values, which are often stored as RGB with equal channels."""
    if mask.ndim == 2:
        return mask
    # The colour transform of JPEG causes small differences between equal channels.
    tolerance = ARTEFACT if lossy else 0
    channels = np.ascontiguousarray(mask.transpose(2, 0, 1))
    if (channels.max(axis=0) - channels.min(axis=0)).max() > tolerance:
        raise InputError(f"{path}: the mask has colours or a palette; convert it to grey values, one per class")
    channel: NDArray[Any] = channels[1]
    return channel
