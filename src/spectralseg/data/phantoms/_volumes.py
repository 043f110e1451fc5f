"""Reproducible NIfTI files of the phantoms."""

from __future__ import annotations

import gzip
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
