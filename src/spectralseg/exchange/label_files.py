"""Files of images and label maps in native geometry: NIfTI for volumes, PNG for images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
from numpy.typing import NDArray

from spectralseg.data import PreparedDataset
from spectralseg.data.geometry import Geometry, coincide
from spectralseg.data.readers._formats import WHOLE, Volume, is_whole, read_nifti
from spectralseg.data.readers.paired_images import read_mask
from spectralseg.errors import InputError

nib: Any = nibabel  # its annotations are partial, which strict type checking refuses

_REMEDY_OF_READERS = re.compile("; [^;]*(archive|published|intact copy|single frame|exclude the case|download)[^;]*$")


def file_ending(data: PreparedDataset) -> str:
    """Suffix of the files of a dataset: ``.nii.gz`` for volumes, ``.png`` for images."""
    return file_endings(data)[0]


def file_endings(data: PreparedDataset) -> tuple[str, ...]:
    """Accepted suffixes of label maps, in lower or upper case; the first is :func:`file_ending`."""
    return (".nii.gz", ".nii") if data.volumes else (".png",)


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
        path: a ``.nii.gz`` or ``.png`` file.
        array: a volume (D, H, W), of which floating-point numbers and integers of more than 32 bits are stored in
            single precision; or an image (H, W) or (H, W, 3) of unsigned integers of 8 or 16 bits.
        geometry: voxel grid of the volume; None for an image.
        spacing: millimetres per axis of the array; None if unknown.

    Raises:
        InputError: PNG cannot store the values of the image.
    """
    if geometry is None:
        _write_image(path, array)
        return
    stored = geometry.to_file(array)
    exact = stored.dtype.kind in "iu" and stored.dtype.itemsize <= 4
    image = nib.Nifti1Image(stored if exact else stored.astype(np.float32), geometry.affine)
    image.header.set_qform(geometry.affine, code=1)
    image.header.set_sform(geometry.affine, code=1)
    image.header.set_xyzt_units("mm")
    if spacing is not None:  # in some files the affine has unit scale, and only the header has the voxel size
        image.header.set_zooms(geometry.in_file_order(spacing))
    nib.save(image, path)


def _write_image(path: Path, array: NDArray[Any]) -> None:
    with np.errstate(invalid="ignore"):  # casting NaN and infinity, which the comparison below finds
        stored = array if array.dtype == np.uint8 else array.astype(np.uint16)
    if not np.array_equal(stored, array):
        raise InputError(f"{path.name}: has values other than whole numbers from 0 to 65535, which PNG cannot store")
    if not cv2.imwrite(str(path), stored[..., ::-1] if stored.ndim == 3 else stored):
        raise InputError(f"{path}: cannot be written; choose another folder")


def read_labels(path: Path, data: PreparedDataset, case: str) -> NDArray[np.uint8]:
    """Read a predicted label map of a case.

    If the axes of a volume are stored in another order or direction, but its affine covers the same region, the axes
    are reordered without resampling. A mask of one class may be stored as 0 and 255, even if every pixel is 255.

    Returns:
        uint8 (H, W) or (D, H, W), ordered as :meth:`PreparedDataset.native_labels`.

    Raises:
        InputError: the file is missing or damaged, has another grid than the case, has lossy compression, or holds
            other labels than 0..K.
    """
    geometry, shape, scaling, tolerance = data.geometry(case), data.native_shape(case), "", WHOLE
    if geometry is None:
        with _remedies_for_predictions():
            array, image = read_mask(path)
        if image.lossy:
            raise InputError(f"{path}: is a {image.format} file, whose compression changes labels; save it as PNG")
    else:
        with _remedies_for_predictions():
            volume = read_nifti(path)
        array, scaling = _on_grid(path, volume, geometry, shape, data.spacing(case)), volume.scaling
        shape, tolerance = geometry.in_file_order(shape), volume.tolerance
    if array.shape != tuple(shape):
        remedy = _remedy_for_shape(array.shape, tuple(shape), data)
        raise InputError(f"{path}: has shape {array.shape}, the case {tuple(shape)}; {remedy}")
    labels = _to_labels(path, array, len(data.classes), scaling, tolerance)
    return labels if geometry is None else geometry.from_file(labels)


@contextmanager
def _remedies_for_predictions() -> Iterator[None]:
    """Replace remedies in errors of readers, which are written for files of published datasets."""
    try:
        yield
    except InputError as error:
        raise InputError(_REMEDY_OF_READERS.sub("; write the prediction again, as one label map", str(error))) from None


def _on_grid(
    path: Path, volume: Volume, geometry: Geometry, shape: Sequence[int], spacing: Sequence[float] | None
) -> NDArray[Any]:
    """The array of a volume with the axes of the case's label file.

    If affine and voxel size of a header contradict each other, as in ACDC, tools differ in which of them they use; the
    volume may match either.

    Raises:
        InputError: the volume has the shape of the case but covers another region.
    """
    shape = geometry.in_file_order(shape)
    affines = [geometry.affine, *([geometry.scaled(spacing)] if spacing else [])]
    for affine in affines:
        # Orientation of the volume relative to the grid of the case; both may be oblique in space.
        axes = nib.orientations.io_orientation(np.linalg.inv(affine) @ volume.affine)
        if np.isfinite(axes).all():
            array = nib.orientations.apply_orientation(volume.array, axes)
            placed = volume.affine @ nib.orientations.inv_ornt_aff(axes, volume.array.shape)
            if array.shape == shape and coincide(placed, affine, shape):
                return np.asarray(array)
    if volume.array.shape == shape:
        sizes = [np.linalg.norm(affine[:3, :3], axis=0) for affine in (volume.affine, *affines)]
        difference = "affines differ"
        if not any(np.allclose(sizes[0], size, rtol=0.01) for size in sizes[1:]):
            voxels = [" x ".join(f"{side:.4g}" for side in size) for size in (sizes[0], sizes[-1])]
            difference = f"voxels of {voxels[0]} mm instead of {voxels[1]} mm"
        raise InputError(
            f"{path}: lies elsewhere in space than the labels of the case ({difference}); predict from the image as "
            "published, or as 'spectralseg export-nnunet' writes it"
        )
    return volume.array


def _remedy_for_shape(actual: tuple[int, ...], shape: tuple[int, ...], data: PreparedDataset) -> str:
    """The remedy for a label map of another shape, (H, W) or in the order of the axes in the file."""
    if sorted(actual) == sorted(shape):
        return "its axes are in another order; write it with the axes, and the affine, of the case"
    prepared = data.info["image_size"]
    if sorted(actual).count(prepared) >= 2:
        back = {"resize": "resize it", "crop": "crop or pad it about its centre"}[data.fit]
        return f"it has the {prepared} pixels of the prepared images; {back} to the native size of the case"
    return "give labels in native geometry"


def _to_labels(path: Path, array: NDArray[Any], largest: int, scaling: str, tolerance: float) -> NDArray[np.uint8]:
    """Check that the numbers in a file are labels 0..``largest``, and convert them."""
    floating = array.dtype.kind == "f"
    with np.errstate(invalid="ignore"):  # casting NaN and infinity, which the comparison below finds
        labels: NDArray[np.uint8] = (np.rint(array) if floating else array).astype(np.uint8)
        whole = is_whole(array, tolerance) & (np.rint(array) == labels) if floating else array == labels
    if largest == 1 and whole.all() and np.isin(labels, (0, 255)).all() and labels.any():
        labels //= 255
    wrong = array[~whole | (labels > largest)]
    if not wrong.size:
        return labels
    remedy = f"give whole numbers, 0 for background up to {largest}"
    if floating and array.min() >= 0 and array.max() <= 1:
        remedy = f"it looks like a probability: threshold it or take the most probable class, and {remedy}"
    if scaling:
        remedy += f", stored without scaling ({scaling})"
    raise InputError(f"{path}: holds the label {wrong[0]:g}; {remedy}")
