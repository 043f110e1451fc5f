"""Checks of image and volume files before decoding: type, header, and size limits far above any real image or volume.

Without them, a forged header could make a decoder use up all memory.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from isal import igzip
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from spectralseg import files
from spectralseg.data.prepared import DEFLATE, MAX_VOXELS
from spectralseg.errors import InputError

MAX_PIXELS = 2**27  # of an image plane; the largest photograph of the eight datasets has 2**24.9
MAX_IMAGE_BYTES = 2**30  # of an image file: MAX_PIXELS of 16-bit RGB without compression
MAX_TEXT_BYTES = 2**25  # of an annotation; the largest of the eight datasets has 2**22
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
# Modes of Pillow. Others, such as CMYK, are decoded differently by different libraries.
_MODES = ("1", "L", "P", "RGB", "LA", "PA", "RGBA", "RGBX", "I;16", "I;16B", "I;16L", "I", "F")
_MOST_SCANS = 100  # of a JPEG file; each takes as long as the whole image, and progressive files have about ten
_ORIENTATION = 0x0112  # Exif tag
_NIFTI2_HEADER = 540  # bytes
_SCAN = b"\xff\xda"
_GZIP = b"\x1f\x8b"
_PADDING = 2**20  # bytes of zeros allowed after the voxels
_SMALLEST_MM = 1e-6

regular_file = partial(files.regular_file, remedy="replace it by an intact copy from the official archive")
nib: Any = nibabel  # its annotations are partial, which strict type checking refuses
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is checked instead


def refuse_larger(path: Path, what: str, shape: Sequence[int], most: int) -> None:
    """Raise an :class:`InputError` about ``what`` in ``path`` if ``shape`` has no or more than ``most`` elements."""
    size = " x ".join(map(str, shape))
    if any(length < 1 for length in shape):
        raise InputError(f"{path}: {what} is empty ({size}); replace the file by an intact copy")
    if math.prod(shape) > most:
        raise InputError(
            f"{path}: {what} is {size} in size, more than the limit of {most} elements; replace the file by an intact "
            "copy or exclude the case"
        )


def refuse_hollow(path: Path, what: str, promised: int, stored: int) -> None:
    """Raise an :class:`InputError` if ``stored`` deflated bytes cannot contain the ``promised`` bytes of ``what``."""
    if promised > DEFLATE * stored:
        raise InputError(
            f"{path}: {what} should have {promised} bytes, which {stored} stored ones cannot hold; "
            "replace the file by an intact copy"
        )


def refuse_transparent(path: Path, alpha: NDArray[Any], opaque: int) -> None:
    """Raise an :class:`InputError` unless all alpha values of the image ``path`` are ``opaque``."""
    if (alpha != opaque).any():
        raise InputError(f"{path}: is partly transparent; save it without alpha channel")


def usable_voxel_size(sides: Iterable[float]) -> bool:
    """Whether all sides of a voxel, in any unit of length, are positive and plausible."""
    return all(_SMALLEST_MM < side < 1 / _SMALLEST_MM for side in sides)


class Picture(NamedTuple):
    """Header of an image file whose pixels can be decoded to 8 or 16 bits per channel without loss.

    Attributes:
        shape: rows and columns.
        format: format of Pillow, such as ``PNG`` or ``JPEG``.
        mode: mode of Pillow, such as ``L`` or ``RGB``.
        turned: whether an orientation tag demands a rotation or reflection.
        quarter_turn: whether the tag demands exchanging width and height.
        lossy: whether the compression is lossy.
        inverted: whether the file stores white as 0, and pixel values were inverted.
    """

    shape: tuple[int, int]
    format: str
    mode: str
    turned: bool
    quarter_turn: bool
    lossy: bool
    inverted: bool = False

    @property
    def grey(self) -> bool:
        """Whether there is one channel."""
        return self.mode[0] in "1LIF"


@contextmanager
def decoding_picture(path: Path) -> Iterator[None]:
    """Convert errors of a decoder inside the block to an :class:`InputError` about the image file ``path``."""
    try:
        yield
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"{path}: the image has more than {MAX_PIXELS} pixels by its header; exclude the case"
        ) from None
    except UnidentifiedImageError:
        raise InputError(
            f"{path}: damaged or truncated image file, or not PNG, JPEG, TIFF, BMP or WebP with grey or RGB values; "
            "download or convert it again"
        ) from None
    # Decoders of damaged files raise nearly any exception.
    except Exception as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"{path}: damaged or truncated image file ({reason}); download or copy it again") from None


def inspect_picture(path: Path, content: bytes) -> Picture:
    """Check a PNG, JPEG, BMP or WebP file before its pixels are decoded.

    Raises:
        InputError: the file has another format, is damaged or partly transparent, has several images or too many
            pixels, or colours other than grey values, RGB or a palette.
    """
    with decoding_picture(path), Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
        refuse_larger(path, "the image", picture.size, MAX_PIXELS)
        if picture.format in ("JPEG", "MPO") and content.count(_SCAN) > _MOST_SCANS:
            raise InputError(f"{path}: holds more than {_MOST_SCANS} scans; save it again as a JPEG image")
        if picture.format == "PNG":
            with Image.open(io.BytesIO(content), formats=("PNG",)) as checked:
                checked.verify()  # verifies checksums, which OpenCV ignores
        if picture.mode not in _MODES:
            raise InputError(
                f"{path}: holds {picture.mode} colours, which decoders read differently; convert it to RGB"
            )
        if picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
            raise InputError(f"{path}: holds several pictures; give one file for each")
        if "A" in picture.getbands() or "transparency" in picture.info:
            refuse_transparent(path, np.asarray(picture.convert("RGBA").getchannel("A")), 255)
        orientation = 1
        # Reading tags of a PNG file makes Pillow decode all of it.
        if picture.format != "PNG" or b"eXIf" in content or b"Raw profile type" in content:
            with contextlib.suppress(Exception):  # unreadable tags are ignored
                orientation = int(picture.getexif().get(_ORIENTATION, 1))
        return Picture(
            (picture.height, picture.width),
            str(picture.format),
            picture.mode,
            turned=orientation in range(2, 9),
            quarter_turn=orientation in range(5, 9),
            lossy=picture.format in ("JPEG", "MPO") or (picture.format == "WEBP" and b"VP8L" not in content),
        )


def open_volume(path: Path, *, planes: bool = False) -> tuple[Any, NDArray[Any]]:
    """Header and scaled voxels of a NIfTI file with a plausible header and complete voxels.

    With ``planes``, a file of two axes is read as a volume of one slice.

    The file is inflated once, to the end, which verifies the checksum of gzip. nibabel repairs or ignores most of the
    errors below, and takes twice as long.

    Raises:
        InputError: there are not three axes of plausible length, voxels are not plain numbers, or the file is longer or
            shorter than its header says.
        Exception: of any kind, if the file is not a NIfTI file.
    """
    stored = regular_file(path)
    unzip: Any = igzip.open  # it has no annotations
    zipped = path.suffix.lower() == ".gz"
    with unzip(path) if zipped else path.open("rb") as stream:
        head = stream.read(_NIFTI2_HEADER)
        if head.startswith(_GZIP):
            twice, once = "twice; decompress it once", "unlike its name says; rename it to end with .nii.gz"
            raise InputError(f"{path}: is compressed {twice}" if zipped else f"{path}: is compressed, {once}")
        sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}
        kind = nib.Nifti2Header if _NIFTI2_HEADER in sizes else nib.Nifti1Header
        header = kind(head[: kind.sizeof_hdr], check=False)
        if header["magic"].item() != header.single_magic:
            raise ValueError("it does not start like one")
        if planes and int(header["dim"][0]) == 2:
            _add_axis(header)
        start, end = _voxel_bytes(path, header)
        refuse_hollow(path, "the volume", end, stored)
        header.check_fix()
        voxels = np.empty(end - start, np.uint8)
        stream.seek(start)
        if _read_into(stream, voxels) < len(voxels) or stream.read(_PADDING).strip(b"\0") or stream.read(1):
            raise InputError(f"{path}: holds more or less data than its header says; replace it by an intact copy")
    array = voxels.view(header.get_data_dtype()).reshape(header.get_data_shape(), order="F")
    return header, nib.volumeutils.apply_read_scaling(array, *header.get_slope_inter())


def _add_axis(header: Any) -> None:
    """Make the header of a plane that of a volume with one slice, whose thickness is 1 if the header has none."""
    header["dim"][0], header["dim"][3] = 3, 1
    if not usable_voxel_size(header["pixdim"][3:4]):
        header["pixdim"][3] = 1


def _read_into(stream: Any, array: NDArray[np.uint8]) -> int:
    """Fill an array from a stream and return the number of bytes read."""
    filled = 0
    while filled < len(array) and (count := stream.readinto(array[filled:].data)):
        filled += count
    return filled


def _voxel_bytes(path: Path, header: Any) -> tuple[int, int]:
    """Start and end of the voxels in the file, after checking the header."""
    axes = int(header["dim"][0])
    shape = [int(length) for length in header["dim"][1 : 1 + max(0, axes)]]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) != 3:
        raise InputError(f"{path}: has {axes} axes instead of 3; give the volume of a single frame")
    refuse_larger(path, "the volume", shape, MAX_VOXELS)
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise InputError(f"{path}: holds {dtype} instead of plain numbers; use the published file")
    if not usable_voxel_size(header["pixdim"][1:4]):
        raise InputError(f"{path}: the header gives no usable voxel size; replace it by an intact copy")
    offset = float(header["vox_offset"])
    if not header.single_vox_offset <= offset < 2**31:
        raise InputError(f"{path}: its header places the voxels at byte {offset:g}; use the published file")
    return int(offset), int(offset) + math.prod(shape) * int(dtype.itemsize)
