"""Files of images and label maps in native geometry: NIfTI for volumes, PNG for images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from numpy.typing import NDArray

from spectralseg.data import PreparedDataset
from spectralseg.data.geometry import Geometry, coincide
from spectralseg.data.readers._formats import WHOLE, is_whole, read_nifti
from spectralseg.data.readers._masks import read_mask
from spectralseg.errors import InputError

nib: Any = nibabel  # its annotations are partial, which strict type checking refuses

VOLUME_ENDINGS = (".nii.gz", ".nii")
IMAGE_ENDINGS = (".png", ".tif", ".tiff", ".bmp")
_EXCHANGEABLE = {1: 255, 255: 1}  # values of a mask of one class
_REMEDY_OF_READERS = re.compile("; [^;]*(archive|published|intact copy|single frame|exclude the case|download)[^;]*$")


def file_ending(data: PreparedDataset) -> str:
    """Suffix of the files of a dataset: ``.nii.gz`` for volumes, ``.png`` for images."""
    return file_endings(data)[0]


def file_endings(data: PreparedDataset) -> tuple[str, ...]:
    """Accepted suffixes of label maps, in lower or upper case; the first is :func:`file_ending`."""
    return VOLUME_ENDINGS if data.volumes else IMAGE_ENDINGS[:1]


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
    import cv2  # imported here, as reading label files needs no OpenCV

    if not cv2.imwrite(str(path), stored[..., ::-1] if stored.ndim == 3 else stored):
        raise InputError(f"{path}: cannot be written; choose another folder")


class Grid(NamedTuple):
    """The pixels of a case.

    Attributes:
        shape: pixels per axis, (H, W) or (D, H, W).
        geometry: voxel grid of the file of a volume; None for an image.
        spacing: millimetres per axis; None if unknown.
    """

    shape: tuple[int, ...]
    geometry: Geometry | None = None
    spacing: tuple[float, ...] | None = None


class Stored(NamedTuple):
    """The numbers of a label file before they are checked.

    Attributes:
        array: (H, W), or a volume in the axis order of the file.
        scaling: see :class:`spectralseg.data.readers._formats.Volume`.
        tolerance: likewise.
        grid: of the file.
    """

    array: NDArray[Any]
    scaling: str
    tolerance: float
    grid: Grid

    def labels(self, path: Path, values: Sequence[int], more: str = "") -> NDArray[np.uint8]:
        """Labels 0..K: 0 where the file holds 0, k where it holds the k-th of ``values``.

        A mask of one class with the value 1 may be stored as 0 and 255, and the reverse.

        Args:
            path: the file, for messages.
            values: of the classes, ascending, at most 255 of them.
            more: addition to the remedy in the error about other values.

        Returns:
            uint8 (H, W) or (D, H, W), in the axis order of the case.

        Raises:
            InputError: the file holds another value.
        """
        labels = _to_labels(path, self, values, more)
        return labels if self.grid.geometry is None else self.grid.geometry.from_file(labels)


def read_stored(path: Path, what: str = "prediction") -> Stored:
    """Read a label file without comparing it with a case: NIfTI of two or three axes, or an image file.

    Args:
        path: the file; its suffix tells volumes from images.
        what: what the file is, for messages.

    Raises:
        InputError: the file is missing or damaged, or has lossy compression or colours.
    """
    with _remedies_for(what):
        if not path.name.lower().endswith(VOLUME_ENDINGS):
            mask, image = read_mask(path)
            if image.lossy:
                raise InputError(f"{path}: is a {image.format} file, whose compression changes labels; save it as PNG")
            return Stored(mask, "", WHOLE, Grid(mask.shape))
        volume = read_nifti(path, planes=True)
        geometry = Geometry.of_file_order(volume.affine)
        grid = Grid(volume.array.shape[::-1], geometry, volume.zooms[::-1])
        return Stored(volume.array, volume.scaling, volume.tolerance, grid)


def read_on_grid(path: Path, grid: Grid, remedy: Callable[[tuple[int, ...]], str]) -> Stored:
    """Read a label file on the grid of a case.

    If the axes of a volume are stored in another order or direction, but its affine covers the same region, the axes
    are reordered without resampling.

    Args:
        path: the label file.
        grid: of the case.
        remedy: what to do about a file of another shape, (H, W) or in the order of the axes in the file.

    Raises:
        InputError: as :func:`read_stored`, or the file has another grid than the case.
    """
    stored, geometry = read_stored(path), grid.geometry
    array, shape = stored.array, grid.shape
    if geometry is not None and stored.grid.geometry is not None:
        array = _on_grid(path, array, stored.grid.geometry.affine, geometry, grid)
        shape = geometry.in_file_order(shape)
    if array.shape != tuple(shape):
        raise InputError(f"{path}: has shape {array.shape}, the case {tuple(shape)}; {remedy(array.shape)}")
    return stored._replace(array=array, grid=grid)


def read_labels(path: Path, data: PreparedDataset, case: str) -> NDArray[np.uint8]:
    """Read a predicted label map of a test case of a prepared dataset; see :func:`read_on_grid`.

    A mask of one class may be stored as 0 and 255, even if every pixel is 255.

    Returns:
        uint8 (H, W) or (D, H, W), ordered as :meth:`PreparedDataset.native_labels`.

    Raises:
        InputError: the file is missing or damaged, has another grid than the case, has lossy compression, or holds
            other labels than 0..K.
    """
    grid = Grid(data.native_shape(case), data.geometry(case), data.spacing(case))

    def remedy(actual: tuple[int, ...]) -> str:
        return _remedy_for_shape(actual, grid, data)

    return read_on_grid(path, grid, remedy).labels(path, range(1, len(data.classes) + 1))


@contextmanager
def _remedies_for(what: str) -> Iterator[None]:
    """Replace remedies in errors of readers, which are written for files of published datasets."""
    try:
        yield
    except InputError as error:
        raise InputError(_REMEDY_OF_READERS.sub(f"; write the {what} again, as one label map", str(error))) from None


def _on_grid(
    path: Path, stored: NDArray[Any], stored_affine: NDArray[np.float64], geometry: Geometry, grid: Grid
) -> NDArray[Any]:
    """The array of a volume with the axes of the case's label file.

    If affine and voxel size of a header contradict each other, as in ACDC, tools differ in which of them they use; the
    volume may match either.

    Raises:
        InputError: the volume has the shape of the case but covers another region.
    """
    shape, spacing = geometry.in_file_order(grid.shape), grid.spacing
    affines = [geometry.affine, *([geometry.scaled(spacing)] if spacing else [])]
    for affine in affines:
        # Orientation of the volume relative to the grid of the case; both may be oblique in space.
        axes = nib.orientations.io_orientation(np.linalg.inv(affine) @ stored_affine)
        if np.isfinite(axes).all():
            array = nib.orientations.apply_orientation(stored, axes)
            placed = stored_affine @ nib.orientations.inv_ornt_aff(axes, stored.shape)
            if array.shape == shape and coincide(placed, affine, shape):
                return np.asarray(array)
    if stored.shape == shape:
        sizes = [np.linalg.norm(affine[:3, :3], axis=0) for affine in (stored_affine, *affines)]
        difference = "affines differ"
        if not any(np.allclose(sizes[0], size, rtol=0.01) for size in sizes[1:]):
            voxels = [" x ".join(f"{side:.4g}" for side in size) for size in (sizes[0], sizes[-1])]
            difference = f"voxels of {voxels[0]} mm instead of {voxels[1]} mm"
        raise InputError(
            f"{path}: lies elsewhere in space than the labels of the case ({difference}); predict from the image as "
            "published, or as 'spectralseg export-nnunet' writes it"
        )
    return stored


def _remedy_for_shape(actual: tuple[int, ...], grid: Grid, data: PreparedDataset) -> str:
    prepared = data.info["image_size"]
    if sorted(actual) != sorted(grid.shape) and sorted(actual).count(prepared) >= 2:
        back = {"resize": "resize it", "crop": "crop or pad it about its centre"}[data.fit]
        return f"it has the {prepared} pixels of the prepared images; {back} to the native size of the case"
    return remedy_for_shape(actual, grid.shape)


def remedy_for_shape(actual: Sequence[int], shape: Sequence[int]) -> str:
    """What to do about a label map of another shape than its case."""
    if sorted(actual) == sorted(shape):
        return "its axes are in another order; write it with the axes, and the affine, of the case"
    return "give labels in native geometry"


def _to_labels(path: Path, stored: Stored, values: Sequence[int], more: str) -> NDArray[np.uint8]:
    """Check that the numbers in a file are 0 or among ``values``, and convert them to labels 0..K."""
    array = stored.array
    floating = array.dtype.kind == "f"
    numbers = np.rint(array) if floating else array
    labels, valid = _matched(numbers, values)
    if len(values) == 1 and values[0] in _EXCHANGEABLE and not valid.all():
        exchanged, matching = _matched(numbers, [_EXCHANGEABLE[values[0]]])
        labels, valid = (exchanged, matching) if matching.all() else (labels, valid)
    if floating:
        valid &= is_whole(array, stored.tolerance)
    wrong = array[~valid]
    if not wrong.size:
        return labels
    remedy = f"give 0 for background or one of the labels {', '.join(map(str, values))}{more}"
    if _are_consecutive(values):
        remedy = f"give whole numbers, 0 for background up to {len(values)}{more}"
    if floating and array.min() >= 0 and array.max() <= 1:
        remedy = f"it looks like a probability: threshold it or take the most probable class, and {remedy}"
    if stored.scaling:
        remedy += f", stored without scaling ({stored.scaling})"
    raise InputError(f"{path}: holds the label {wrong[0]:g}; {remedy}")


def _are_consecutive(values: Sequence[int]) -> bool:
    """Whether values are 1..K, the labels themselves."""
    return list(values) == list(range(1, len(values) + 1))


def _matched(numbers: NDArray[Any], values: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The label of each number, and whether the number is 0 or one of the ascending ``values``."""
    if _are_consecutive(values):  # most label maps; much faster
        with np.errstate(invalid="ignore"):  # casting NaN and infinity, which equal no label
            labels = numbers.astype(np.uint8)
        return labels, (labels == numbers) & (labels <= len(values))
    table = np.array([0, *values])
    places = np.minimum(np.searchsorted(table, numbers), len(values))
    return places.astype(np.uint8), table[places] == numbers
