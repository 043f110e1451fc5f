"""What the phantoms of volumetric datasets share: choosing official ids and writing reproducible NIfTI files."""

from __future__ import annotations

import gzip
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray


def spread(ids: list[str], count: int) -> list[str]:
    """At most ``count`` ids, evenly spread over the list, in its order."""
    count = min(max(count, 1), len(ids))
    return [ids[i * len(ids) // count] for i in range(count)]


def nifti(array: NDArray[Any], affine: NDArray[Any], *, axes: str | None = None) -> bytes:
    """A gzipped NIfTI file whose bytes depend on the arguments only.

    Args:
        array: voxels (x, y, z[, t]).
        affine: voxel indices to millimetres (right, anterior, superior).
        axes: store the array with its axes turned to these directions, e.g. "RPI".
    """
    image = nib.Nifti1Image(array, affine)
    if axes is not None:
        stored = nib.orientations.io_orientation(affine)
        image = image.as_reoriented(
            nib.orientations.ornt_transform(stored, nib.orientations.axcodes2ornt(tuple(axes)))
        )
    image.header.set_xyzt_units("mm", "sec")
    return compressed(image)


def compressed(image: Any) -> bytes:
    """The bytes of a NIfTI image, gzipped without a time stamp."""
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)
