"""Reproducible NIfTI and MetaImage files of the phantoms."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

nib: Any = nibabel  # its annotations are partial, which strict type checking refuses


def nifti(
    array: NDArray[Any], affine: NDArray[Any], *, axes: str | None = None, sform: NDArray[Any] | None = None
) -> bytes:
    """A gzipped NIfTI file whose bytes depend on the arguments only.

    Args:
        array: voxels (x, y, z[, t]).
        affine: voxel indices to millimetres (right, anterior, superior).
        axes: reorient the stored array to these directions, e.g. "RPI".
        sform: a header matrix that contradicts ``affine``, which readers prefer; the voxel size stays correct.
    """
    image = nib.Nifti1Image(array, affine)
    if axes is not None:
        stored = nib.orientations.io_orientation(affine)
        image = image.as_reoriented(nib.orientations.ornt_transform(stored, nib.orientations.axcodes2ornt(axes)))
    header = image.header.copy()
    header.set_xyzt_units("mm", "sec")
    header.set_qform(image.affine, code=1)
    header.set_sform(image.affine if sform is None else sform, code=1)
    image = nib.Nifti1Image(np.asanyarray(image.dataobj), None, header)
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)


_METAIMAGE_TYPES = {"u1": "MET_UCHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT", "f4": "MET_FLOAT"}


def metaimage(
    array: NDArray[Any],
    spacing: Sequence[float],
    name: str,
    *,
    offset: Sequence[float] = (0, 0, 0),
    axes: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
    big_endian: bool = False,
    compressed: bool = False,
) -> tuple[bytes, bytes]:
    """Header and voxels of a MetaImage file.

    Args:
        array: voxels (x, y, z).
        spacing: millimetres per axis.
        name: of the file with the voxels; ``LOCAL`` if both are stored in one file, one after the other.
        offset: position of the first voxel in millimetres (left, posterior, superior).
        axes: directions of the three axes of the array.
        big_endian: byte order of the voxels.
        compressed: whether to deflate the voxels.
    """
    voxels = array.astype(array.dtype.newbyteorder(">" if big_endian else "<")).tobytes(order="F")
    stored = zlib.compress(voxels, 4) if compressed else voxels
    header = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": big_endian,
        "CompressedData": compressed,
        **({"CompressedDataSize": len(stored)} if compressed else {}),
        "TransformMatrix": " ".join(f"{number:g}" for number in axes),
        "Offset": " ".join(f"{number:g}" for number in offset),
        "ElementSpacing": " ".join(f"{number:g}" for number in spacing),
        "DimSize": " ".join(map(str, array.shape)),
        "ElementType": _METAIMAGE_TYPES[array.dtype.str[1:]],
        "ElementDataFile": name,
    }
    return "".join(f"{key} = {value}\n" for key, value in header.items()).encode(), stored
