"""Arrays of a case in native geometry as files that other tools read: NIfTI for volumes, PNG for images."""

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

_REMEDY_OF_READERS = re.compile(
    "; [^;]*(archive|as published|intact copy|single frame|exclude the case|download)[^;]*$"
)


def file_ending(data: PreparedDataset) -> str:
    """How the names of a dataset's files end: ``.nii.gz`` where cases are volumes, else ``.png``."""
    return file_endings(data)[0]


def file_endings(data: PreparedDataset) -> tuple[str, ...]:
    """How the names of label maps that are read may end, in lower or upper case; the first is :func:`file_ending`."""
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

    A volume whose axes are stored in another order or direction is put on the grid of the case, without resampling,
    where its affine says that it lies in the same place. A mask of one class may be stored as 0 and 255, also where
    every pixel is 255.

    Returns:
        uint8 (H, W) or (D, H, W), ordered as :meth:`PreparedDataset.native_labels`.

    Raises:
        InputError: the file is missing or damaged, lies on another grid than the case, is compressed with loss, or
            holds other labels than 0..K.
    """
    geometry, shape, scaling, tolerance = data.geometry(case), data.native_shape(case), "", WHOLE
    if geometry is None:
        with _blaming_the_prediction():
            found, picture = read_mask(path)
        if picture.lossy:
            raise InputError(f"{path}: is a {picture.format} file, whose compression changes labels; save it as PNG")
    else:
        with _blaming_the_prediction():
            volume = read_nifti(path)
        found, scaling = _on_grid(path, volume, geometry, shape, data.spacing(case)), volume.scaling
        shape, tolerance = geometry.in_file_order(shape), volume.tolerance
    if found.shape != tuple(shape):
        remedy = _remedy_for_shape(found.shape, tuple(shape), data.info["image_size"])
        raise InputError(f"{path}: has shape {found.shape}, the case {tuple(shape)}; {remedy}")
    labels = _whole(path, found, len(data.classes), scaling, tolerance)
    return labels if geometry is None else geometry.from_file(labels)


@contextmanager
def _blaming_the_prediction() -> Iterator[None]:
    """Replace remedies of readers, which take the file for one of a published dataset."""
    try:
        yield
    except InputError as error:
        raise InputError(_REMEDY_OF_READERS.sub("; write the prediction again, as one label map", str(error))) from None


def _on_grid(
    path: Path, volume: Volume, geometry: Geometry, shape: Sequence[int], spacing: Sequence[float] | None
) -> NDArray[Any]:
    """The array of a volume in the axes of the case's label file, whatever axes its own file has.

    Where affine and voxel size of a header contradict each other, as in ACDC, some tools go by the one, some by the
    other: the volume may lie where either says.

    Raises:
        InputError: it lies elsewhere in space, but has the shape of the case.
    """
    shape = geometry.in_file_order(shape)
    possible = [geometry.affine, *([geometry.scaled(spacing)] if spacing else [])]
    for affine in possible:
        # How the axes of the volume run on the grid of the case; both may be oblique in space.
        axes = nib.orientations.io_orientation(np.linalg.inv(affine) @ volume.affine)
        if np.isfinite(axes).all():
            array = nib.orientations.apply_orientation(volume.array, axes)
            placed = volume.affine @ nib.orientations.inv_ornt_aff(axes, volume.array.shape)
            if array.shape == shape and coincide(placed, affine, shape):
                return np.asarray(array)
    if volume.array.shape == shape:
        sizes = [np.linalg.norm(affine[:3, :3], axis=0) for affine in (volume.affine, *possible)]
        differ = "affines differ"
        if not any(np.allclose(sizes[0], size, rtol=0.01) for size in sizes[1:]):
            voxels = [" x ".join(f"{side:.4g}" for side in size) for size in (sizes[0], sizes[-1])]
            differ = f"voxels of {voxels[0]} mm instead of {voxels[1]} mm"
        raise InputError(
            f"{path}: lies elsewhere in space than the labels of the case ({differ}); predict from the image as "
            "published, or as 'spectralseg export-nnunet' writes it"
        )
    return volume.array


def _remedy_for_shape(found: tuple[int, ...], shape: tuple[int, ...], prepared: int) -> str:
    """What to do about a label map of another shape, (H, W) or in the order of the file's axes."""
    if sorted(found) == sorted(shape):
        return "its axes are in another order; write it with the axes, and the affine, of the case"
    if sorted(found).count(prepared) >= 2:
        return f"it has the {prepared} pixels of the prepared images; resize it to the native size of the case"
    return "give labels in native geometry"


def _whole(path: Path, found: NDArray[Any], largest: int, scaling: str, tolerance: float) -> NDArray[np.uint8]:
    floating = found.dtype.kind == "f"
    with np.errstate(invalid="ignore"):  # of NaN and infinity, which equal no label
        labels: NDArray[np.uint8] = (np.rint(found) if floating else found).astype(np.uint8)
        whole = is_whole(found, tolerance) & (np.rint(found) == labels) if floating else found == labels
    if largest == 1 and whole.all() and np.isin(labels, (0, 255)).all() and labels.any():
        labels //= 255
    wrong = found[~whole | (labels > largest)]
    if not wrong.size:
        return labels
    remedy = f"give whole numbers, 0 for background up to {largest}"
    if floating and found.min() >= 0 and found.max() <= 1:
        remedy = f"it looks like a probability: threshold it or take the most probable class, and {remedy}"
    if scaling:
        remedy += f", stored without scaling ({scaling})"
    raise InputError(f"{path}: holds the label {wrong[0]:g}; {remedy}")
