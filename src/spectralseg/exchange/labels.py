"""Arrays of a case in native geometry as files that other tools read: NIfTI for volumes, PNG for images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
from numpy.typing import NDArray

from spectralseg.data import PreparedDataset
from spectralseg.data.geometry import Geometry, coincide
from spectralseg.data.readers._formats import WHOLE, read_nifti
from spectralseg.data.readers.paired_images import read_mask
from spectralseg.errors import InputError

nib: Any = nibabel  # its annotations are partial, which strict type checking refuses


def file_ending(data: PreparedDataset) -> str:
    """How the names of a dataset's files end: ``.nii.gz`` where cases are volumes, else ``.png``."""
    return ".nii.gz" if data.volumes else ".png"


def file_name(case: str, ending: str) -> str:
    """Name of the file of a case.

    Raises:
        InputError: the case id cannot be the name of a file.
    """
    name = case + ending
    if Path(name).name != name or name.startswith(".") or len(name.encode()) > 255:
        raise InputError(f"case '{case}': its id cannot be the name of a file; change 'reader_options' to give another")
    return name


def write_array(path: Path, array: NDArray[Any], geometry: Geometry | None, spacing: Sequence[float] | None) -> None:
    """Write an image or a label map in native geometry, without loss.

    Args:
        path: ``.nii.gz`` or ``.png``.
        array: with a geometry (D, H, W), of which integers of more than 32 bits and floating-point numbers are stored
            in single precision; else whole numbers (H, W) or (H, W, 3) of 8 or 16 bits without sign.
        geometry: voxel grid of the file; None for an image.
        spacing: millimetres per axis of the array, where they are known.

    Raises:
        InputError: an image holds numbers that PNG cannot.
    """
    if geometry is None:
        _write_picture(path, array)
        return
    stored = geometry.to_file(array)
    exact = stored.dtype.kind in "iu" and stored.dtype.itemsize <= 4
    image = nib.Nifti1Image(stored if exact else stored.astype(np.float32), geometry.affine)
    image.header.set_qform(geometry.affine, code=1)
    image.header.set_sform(geometry.affine, code=1)
    image.header.set_xyzt_units("mm")
    if spacing is not None:  # some files have an affine of unit scale beside the size of the voxels
        image.header.set_zooms(geometry.in_file_order(spacing))
    nib.save(image, path)


def _write_picture(path: Path, array: NDArray[Any]) -> None:
    with np.errstate(invalid="ignore"):  # of NaN and infinity, which equal no whole number
        stored = array if array.dtype == np.uint8 else array.astype(np.uint16)
    if not np.array_equal(stored, array):
        raise InputError(f"{path.name}: has values other than whole numbers from 0 to 65535, which PNG cannot store")
    if not cv2.imwrite(str(path), stored[..., ::-1] if stored.ndim == 3 else stored):
        raise InputError(f"{path}: cannot be written; choose another folder")


def read_labels(path: Path, data: PreparedDataset, case: str) -> NDArray[np.uint8]:
    """Read somebody's label map of a case.

    Returns:
        uint8 (H, W) or (D, H, W), ordered as :meth:`PreparedDataset.native_labels`.

    Raises:
        InputError: the file is missing or damaged, lies on another grid than the case, is compressed with loss, or
            holds other labels than 0..K.
    """
    geometry, shape, scaling = data.geometry(case), data.native_shape(case), ""
    if geometry is None:
        found, picture = read_mask(path)
        if picture.lossy:
            raise InputError(f"{path}: is a {picture.format} file, whose compression changes labels; save it as PNG")
    else:
        volume = read_nifti(path)
        found, shape, scaling = volume.array, geometry.in_file_order(shape), volume.scaling
    if found.shape != tuple(shape):
        raise InputError(f"{path}: has shape {found.shape}, the case {tuple(shape)}; give labels in native geometry")
    if geometry is not None and not _in_place(volume.affine, geometry, shape, data.spacing(case)):
        raise InputError(
            f"{path}: lies elsewhere in space than the labels of the case (affines differ); predict from the image as "
            "published, or as 'spectralseg export-nnunet' writes it"
        )
    labels = _whole(path, found, len(data.classes), scaling)
    return labels if geometry is None else geometry.from_file(labels)


def _in_place(
    affine: NDArray[np.float64], geometry: Geometry, shape: Sequence[int], spacing: Sequence[float] | None
) -> bool:
    """Where affine and voxel size of a header contradict each other, as in ACDC, some tools go by the one, some by the
    other.
    """
    possible = [geometry.affine, *([geometry.scaled(spacing)] if spacing else [])]
    return any(coincide(affine, one, shape) for one in possible)


def _whole(path: Path, found: NDArray[Any], largest: int, scaling: str) -> NDArray[np.uint8]:
    with np.errstate(invalid="ignore"):  # of NaN and infinity, which equal no label
        labels: NDArray[np.uint8] = (np.rint(found) if found.dtype.kind == "f" else found).astype(np.uint8)
        wrong = found[~(np.abs(found - labels.astype(found.dtype)) <= WHOLE) | (labels > largest)]
    if wrong.size:
        raise InputError(
            f"{path}: holds the label {wrong[0]:g}; give whole numbers, 0 for background up to {largest}"
            + (f", stored without scaling ({scaling})" if scaling else "")
        )
    return labels
