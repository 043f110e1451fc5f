"""File formats that several readers share, decoded so that a bad file ends in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
_MILLIMETRES = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # by code of the unit: unknown, metre, millimetre, micrometre
_ROUNDING = 0.01  # headers differ by rounding, not by more
WHOLE = 2e-3  # by how much labels stored as floating-point numbers may differ from whole numbers: less than 1/255
_SCALED = 1e-2  # as much, where a writer scaled them
_SINGLE = 4 * float(np.finfo(np.float32).eps)  # relative error of numbers computed in single precision


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
        placed: the header states the axes of the patient; otherwise ``affine`` is a guess.
        scaling: how the header scales the stored numbers, in its own words; empty where it does not.
        tolerance: by how much labels may differ from whole numbers: about half the distance between stored numbers,
            so that no two of them become one label.
    """

    array: NDArray[Any]
    zooms: tuple[float, float, float]
    affine: NDArray[np.float64]
    placed: bool = True
    scaling: str = ""
    tolerance: float = WHOLE

    @property
    def unit_affine(self) -> bool:
        """The affine says nothing of the voxel size or of oblique axes, as in many files of ACDC."""
        return _is_unit(self.affine)


def _is_unit(affine: NDArray[np.float64]) -> bool:
    return np.array_equal(np.abs(affine[:3, :3]), np.eye(3))


def read_nifti(path: Path) -> Volume:
    """Read a three-dimensional NIfTI file; lengths in metres or micrometres become millimetres.

    An affine of unit scale beside another voxel size is known from ACDC and accepted: the voxel size holds.

    Raises:
        InputError: the file is missing, damaged or implausible, has another number of axes, or its voxel size and its
            affine contradict each other by more than 1 %.
    """
    with decoding(path, "a NIfTI volume"):
        header, array = open_volume(path)
        zooms = np.asarray(header.get_zooms()[:3], np.float64)
        affine = np.asarray(header.get_best_affine(), np.float64)
        placed = bool(header["sform_code"] > 0 or header["qform_code"] > 0)
        slope, intercept = header.get_slope_inter()
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and sides.min() > 0 and abs(np.linalg.det(affine[:3, :3] / sides)) > 1e-3):
        raise InputError(f"{path}: the header gives no usable axes; replace it by an intact copy")
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MILLIMETRES:
        raise InputError(f"{path}: the header gives lengths in an unknown unit (code {unit}); take it as published")
    zooms *= _MILLIMETRES[unit]
    if not _is_unit(affine):
        affine[:3] *= _MILLIMETRES[unit]
        _refuse_contradiction(path, zooms, sides * _MILLIMETRES[unit])
    scaled = slope is not None and (slope, intercept) != (1, 0)
    scaling = f"scl_slope {slope:g}, scl_inter {intercept:g}" if scaled else ""
    # A writer that scales rounds to the nearest stored number, which is half a step away at most.
    tolerance = min(_SCALED, 0.6 * abs(slope) + _SINGLE * abs(intercept)) if scaled else WHOLE
    x, y, z = zooms.tolist()
    return Volume(array.reshape(array.shape[:3]), (x, y, z), affine, placed, scaling, tolerance)


def _refuse_contradiction(path: Path, zooms: NDArray[np.float64], sides: NDArray[np.float64]) -> None:
    if not np.allclose(sides, zooms, rtol=_ROUNDING):
        raise InputError(
            f"{path}: pixdim gives voxels of {_millimetres(zooms)}, the affine of {_millimetres(sides)}; "
            "correct the header, or take the file as published"
        )


def _millimetres(voxel: Iterable[float]) -> str:
    return " x ".join(f"{side:.4g}" for side in voxel) + " mm"


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
        volume.placed,
        volume.scaling,
        volume.tolerance,
    )


def to_slices(array: NDArray[Any]) -> NDArray[Any]:
    """(x, y, z) as a NIfTI file stores it to contiguous (z, y, x), a stack of slices."""
    return np.ascontiguousarray(array.transpose(2, 1, 0))


def is_whole(array: NDArray[Any], tolerance: float = WHOLE) -> NDArray[np.bool_]:
    """Which floating-point numbers are whole to a tolerance, see :class:`Volume`; NaN and infinity are not."""
    with np.errstate(invalid="ignore"):  # of infinity; a comparison with what comes of it is false
        rounded = np.rint(array)
        found: NDArray[np.bool_] = np.abs(rounded - array) <= tolerance + _SINGLE * np.abs(rounded)
    found &= np.isfinite(array)
    return found


def whole_labels(
    path: Path, array: NDArray[Any], largest: int, scaling: str = "", tolerance: float = WHOLE
) -> NDArray[np.uint8]:
    """Label values as uint8, also where the file stores floating-point numbers.

    Args:
        path: label file.
        array: of any shape, integers or floating-point numbers.
        largest: label.
        scaling: of the header, see :class:`Volume`.
        tolerance: by how much values may differ from whole numbers.

    Raises:
        InputError: a value is no whole number or lies outside 0..``largest``.
    """
    if not array.size:
        raise InputError(f"{path}: the labels are empty; replace the file by an intact copy")
    remedy = f"the header scales labels ({scaling}): store integers without scaling" if scaling else ""
    if array.dtype.kind == "f":
        if not all(is_whole(plane, tolerance).all() for plane in array.T):
            raise InputError(
                f"{path}: label values are not whole numbers; "
                + (remedy or "take the label file as published, not resampled")
            )
        array = np.rint(array)
    low, high = array.min(), array.max()
    if low < 0 or high > largest:
        wrong = low if low < 0 else high
        raise InputError(
            f"{path}: label value {wrong:g} is unknown, expected 0..{largest}; "
            + (remedy or "take the file as published")
        )
    labels: NDArray[np.uint8] = array.astype(np.uint8, copy=False)
    return labels


def refuse_other_grid(path: Path, label: Volume, image: Volume) -> None:
    """Raise an :class:`InputError` about the label file ``path`` unless shape and voxel size are those of the image."""
    refuse_other_shape(path, label.array, image.array)
    if not np.allclose(label.zooms, image.zooms, rtol=_ROUNDING):
        raise InputError(
            f"{path}: labels have voxels of {_millimetres(label.zooms)}, the image of {_millimetres(image.zooms)}; "
            "take both as published"
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
