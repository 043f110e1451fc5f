"""File formats that several readers share, decoded so that a bad file ends in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from spectralseg.data.geometry import coincide
from spectralseg.data.readers._limits import open_volume
from spectralseg.errors import InputError, explained

nib: Any = nibabel  # its annotations are partial, which strict type checking refuses


@contextmanager
def decoding(
    path: Path, kind: str, remedy: str = "replace it by an intact copy from the official archive"
) -> Iterator[None]:
    """Turn whatever a decoder raises inside the block into an :class:`InputError` about ``path``.

    Args:
        path: the file that is decoded.
        kind: what the file should be, e.g. "a NIfTI volume".
        remedy: what the user can do about it.
    """
    try:
        yield
    except InputError:
        raise
    # A decoder that meets garbage raises nearly any exception, so none is named here; the block holds decoding only.
    except Exception as error:
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: cannot be read: {explained(error)}") from None
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"{path}: cannot be read as {kind} ({reason}); {remedy}") from None


@dataclass(frozen=True)
class Volume:
    """A NIfTI volume as it is stored.

    Attributes:
        array: three axes in file order (x, y, z).
        zooms: millimetres per axis as the header's voxel size states them, in file order.
        affine: voxel indices to millimetres (right, anterior, superior).
    """

    array: NDArray[Any]
    zooms: tuple[float, float, float]
    affine: NDArray[np.float64]


def read_nifti(path: Path) -> Volume:
    """Read a three-dimensional NIfTI file.

    Raises:
        InputError: the file is missing, damaged or implausible, or has another number of axes.
    """
    with decoding(path, "a NIfTI volume"):
        header, array = open_volume(path)
        zooms = tuple(float(zoom) for zoom in header.get_zooms()[:3])
        affine = np.asarray(header.get_best_affine(), np.float64)
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and sides.min() > 0 and abs(np.linalg.det(affine[:3, :3] / sides)) > 1e-3):
        raise InputError(f"{path}: the header gives no usable axes; replace it by an intact copy")
    return Volume(array.reshape(array.shape[:3]), (zooms[0], zooms[1], zooms[2]), affine)


def reorient(volume: Volume, axes: str) -> Volume:
    """Flip and permute the axes of a volume, without resampling, to the closest match of ``axes``.

    Args:
        volume: as stored.
        axes: directions in which the indices shall grow, e.g. "LPS" for left, posterior, superior.
    """
    stored = nib.orientations.io_orientation(volume.affine)
    transform = nib.orientations.ornt_transform(stored, nib.orientations.axcodes2ornt(axes))
    zooms = [0.0, 0.0, 0.0]
    for axis, target in enumerate(transform[:, 0].astype(int)):
        zooms[target] = volume.zooms[axis]
    return Volume(
        nib.orientations.apply_orientation(volume.array, transform),
        (zooms[0], zooms[1], zooms[2]),
        volume.affine @ nib.orientations.inv_ornt_aff(transform, volume.array.shape),
    )


def to_slices(array: NDArray[Any]) -> NDArray[Any]:
    """(x, y, z) as a NIfTI file stores it to contiguous (z, y, x), a stack of slices."""
    return np.ascontiguousarray(array.transpose(2, 1, 0))


def whole_labels(path: Path, array: NDArray[Any], largest: int) -> NDArray[np.uint8]:
    """Label values as uint8, also where the file stores floating-point numbers.

    Raises:
        InputError: a value is no whole number or lies outside 0..``largest``.
    """
    if not array.size:
        raise InputError(f"{path}: the labels are empty; replace the file by an intact copy")
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # of infinity; a comparison with what comes of it is false
            whole = all(np.abs(np.rint(plane) - plane).max() <= 1e-2 for plane in array.T)
        if not whole:
            raise InputError(
                f"{path}: label values are not whole numbers; take the label file as published, not resampled"
            )
        array = np.rint(array)
    low, high = array.min(), array.max()
    if low < 0 or high > largest:
        wrong = low if low < 0 else high
        raise InputError(f"{path}: label value {wrong:g} is unknown, expected 0..{largest}; take the file as published")
    labels: NDArray[np.uint8] = array.astype(np.uint8, copy=False)
    return labels


def refuse_other_grid(path: Path, label: Volume, image: Volume) -> None:
    """Raise an :class:`InputError` about the label file ``path`` unless shape and voxel size are those of the image."""
    refuse_other_shape(path, label.array, image.array)
    if not np.allclose(label.zooms, image.zooms, rtol=0.01):  # headers differ by rounding, not by more
        voxels = [" x ".join(f"{zoom:.4g}" for zoom in volume.zooms) for volume in (label, image)]
        raise InputError(
            f"{path}: labels have voxels of {voxels[0]} mm, the image of {voxels[1]} mm; take both as published"
        )


def refuse_other_place(path: Path, label: Volume, image: Volume) -> None:
    """Raise an :class:`InputError` about the label file ``path`` unless its grid lies on the image's in space.

    See :func:`spectralseg.data.geometry.coincide`.
    """
    if not coincide(label.affine, image.affine, image.array.shape):
        raise InputError(f"{path}: labels and image lie differently in space (affines differ); take both as published")


def refuse_other_shape(path: Path, labels: NDArray[Any], image: NDArray[Any]) -> None:
    """Raise an :class:`InputError` about the label file ``path`` unless its array is as large as the image's."""
    if labels.shape != image.shape:
        raise InputError(
            f"{path}: labels have shape {labels.shape}, the image has {image.shape}; they must belong to one case"
        )
