"""MetaImage volumes: a text header ``.mhd`` with raw or deflated voxels in a file beside it, or both in one file.

The format is that of ITK's MetaIO: https://itk.org/Wiki/ITK/MetaIO/Documentation. Coordinates are millimetres to the
left, posterior and superior.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.patterns import composed
from spectralseg.data.prepared import MAX_VOXELS
from spectralseg.data.readers._formats import Volume, decoding
from spectralseg.data.readers._limits import refuse_hollow, refuse_larger, regular_file, usable_voxel_size
from spectralseg.errors import InputError

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # MetaIO stores 4 bytes on every machine
    "MET_ULONG": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_MAX_HEADER = 2**16  # bytes
_ZLIB_OR_GZIP = 47  # window bits of zlib
# Values that MetaIO allows, and this reader does not support.
_SUPPORTED = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "ElementNumberOfChannels": "1",
    "HeaderSize": "0",
    "ElementToIntensityFunctionSlope": "1",
    "ElementToIntensityFunctionOffset": "0",
}
# Older and alternative names of keys.
_SYNONYMS = {
    "Position": "Offset",
    "Origin": "Offset",
    "Orientation": "TransformMatrix",
    "Rotation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}


def read_metaimage(path: Path) -> Volume:
    """Read a three-dimensional MetaImage file with one channel.

    Args:
        path: header file. ``ElementDataFile`` names the file of the voxels in the same folder, in upper or lower case,
            or is ``LOCAL`` for voxels after the header.

    Returns:
        The volume in file order. Its affine is in millimetres to the right, anterior and superior, as of NIfTI files.
        Without ``TransformMatrix``, axes are those of the patient.

    Raises:
        InputError: a file is missing, damaged or implausible, the voxels are more or fewer than ``DimSize`` says, or
            the header uses a feature that is not supported.
    """
    regular_file(path)
    with decoding(path, "a MetaImage header"):
        header, start = _header(path)
        for key, value in _SUPPORTED.items():
            if header.get(key, value).lower() != value.lower():
                raise InputError(f"{path}: {key} is {header[key][:40]}, only {value} is supported; convert the file")
        shape = tuple(int(length) for length in _numbers(path, header, "DimSize"))
        refuse_larger(path, "the volume", shape, MAX_VOXELS)
        spacing = _numbers(path, header, "ElementSpacing" if "ElementSpacing" in header else "ElementSize")
        affine = _affine(path, header, spacing)
        dtype = _dtype(path, header)
        data, start = _data_file(path, header, start)
    voxels = _voxels(data, start, math.prod(shape) * dtype.itemsize, deflated=_is_true(header, "CompressedData"))
    array: NDArray[Any] = np.frombuffer(voxels, dtype).reshape(shape, order="F")
    x, y, z = spacing.tolist()
    return Volume(array.astype(dtype.newbyteorder("="), copy=False), (x, y, z), affine)


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The entries up to ``ElementDataFile``, which is the last one, and the position of the byte behind it."""
    with path.open("rb") as stream:
        header: dict[str, str] = {}
        while stream.tell() < _MAX_HEADER and (line := stream.readline(_MAX_HEADER)):
            key, separator, value = _text(line).partition("=")
            if not separator and key.strip():
                break
            key = key.strip()
            header[_SYNONYMS.get(key, key)] = value.strip()
            if key == "ElementDataFile":
                return header, stream.tell()
    raise InputError(f"{path}: is not a MetaImage header with the entry ElementDataFile; replace it by an intact copy")


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _numbers(path: Path, header: Mapping[str, str], key: str, count: int = 3) -> NDArray[np.float64]:
    try:
        numbers = np.array([float(number) for number in header[key].split()])
    except (KeyError, ValueError):
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise InputError(f"{path}: the header does not give {count} numbers as {key}; replace it by an intact copy")
    return numbers


def _affine(path: Path, header: Mapping[str, str], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxel indices to millimetres (right, anterior, superior)."""
    if not usable_voxel_size(spacing):
        raise InputError(f"{path}: the header gives no usable voxel size; replace it by an intact copy")
    affine = np.eye(4)
    axes = _numbers(path, header, "TransformMatrix", 9).reshape(3, 3) if "TransformMatrix" in header else np.eye(3)
    if not np.allclose(axes @ axes.T, np.eye(3), atol=1e-3):
        raise InputError(f"{path}: the axes in TransformMatrix are not perpendicular; replace it by an intact copy")
    affine[:3, :3] = axes.T * spacing  # the file lists the direction of one axis after the other
    if "Offset" in header:
        affine[:3, 3] = _numbers(path, header, "Offset")
    affine[:2] *= -1
    return affine


def _dtype(path: Path, header: Mapping[str, str]) -> np.dtype[Any]:
    name = header.get("ElementType", "")
    if name not in _TYPES:
        raise InputError(f"{path}: ElementType '{name[:40]}' is not supported; convert the file to MET_SHORT")
    return np.dtype((">" if _is_true(header, "BinaryDataByteOrderMSB") else "<") + _TYPES[name])


def _is_true(header: Mapping[str, str], key: str) -> bool:
    return header.get(key, "").lower() in ("true", "1")


def _data_file(path: Path, header: Mapping[str, str], start: int) -> tuple[Path, int]:
    """The file with the voxels, and the position of the first one."""
    name = header["ElementDataFile"]
    if name.upper() == "LOCAL":
        return path, start
    if not name or any(character in name for character in "/\\%\0") or name.upper().startswith("LIST"):
        raise InputError(
            f"{path}: ElementDataFile is '{name[:80]}', expected LOCAL or the name of a file in the same folder; "
            "convert it"
        )
    data = path.with_name(name)
    alternatives = [] if data.exists() else _alternatives(data)
    if not data.exists() and len(alternatives) != 1:
        raise InputError(f"{data}: the voxels of {path.name} are missing; restore the file")
    return alternatives[0] if alternatives else data, 0


def _alternatives(path: Path) -> list[Path]:
    """Files of the same name in upper or lower case, or with composed or decomposed characters."""
    name = composed(path.name.casefold())
    return [file for file in path.parent.iterdir() if composed(file.name.casefold()) == name]


def _voxels(path: Path, start: int, promised: int, *, deflated: bool) -> bytes:
    stored = regular_file(path) - start
    if not deflated and stored == promised:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read()
    if deflated:
        refuse_hollow(path, "the volume", promised, stored)
        with decoding(path, "deflated voxels"):
            voxels, complete = _inflated(path, start, promised)
        if complete and len(voxels) == promised:
            return voxels
    raise InputError(f"{path}: holds more or less data than its header says; replace it by an intact copy")


def _inflated(path: Path, start: int, promised: int) -> tuple[bytes, bool]:
    """At most one byte more than promised, and whether the stream is complete, which verifies its checksum."""
    inflator = zlib.decompressobj(_ZLIB_OR_GZIP)

    def pieces() -> Iterator[bytes]:
        left = promised + 1
        with path.open("rb") as stream:
            stream.seek(start)
            while left > 0 and (piece := stream.read(2**20)):
                inflated = inflator.decompress(piece, left)
                left -= len(inflated)
                yield inflated

    voxels = b"".join(pieces())
    return voxels, inflator.eof
