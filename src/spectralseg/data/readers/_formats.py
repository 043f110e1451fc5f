"""NIfTI volumes and label arrays, decoded and checked for several readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from spectralseg.data.cases import Sample
from spectralseg.data.geometry import Geometry, coincide
from spectralseg.data.readers._limits import open_volume
from spectralseg.errors import InputError, explained

nib: Any = nibabel  # its annotations are partial, which strict type checking refuses
_MILLIMETRES = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # by unit code: unknown, metre, millimetre, micrometre
_ROUNDING = 0.01  # relative rounding error of headers
WHOLE = 2e-3  # tolerance of floating-point labels, below 1/255
_SCALED = 1e-2  # maximum tolerance of labels that the header scales
_SINGLE = 4 * float(np.finfo(np.float32).eps)  # relative error of single-precision computations

# With indices that grow to the left, posterior and superior, slices (z, y, x) have the radiological orientation:
# anterior at the top, the patient's right at the left, inferior slices first.
DISPLAY = "LPS"


@contextmanager
def decoding(
    path: Path, kind: str, remedy: str = "replace it by an intact copy from the official archive"
) -> Iterator[None]:
    """Convert errors of a decoder inside the block to an :class:`InputError` about ``path``.

    Args:
        path: the decoded file.
        kind: expected kind of file, e.g. "a NIfTI volume".
        remedy: advice for the user.
    """
    try:
        yield
    except InputError:
        raise
    # Decoders of damaged files raise nearly any exception.
    except Exception as error:
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: cannot be read: {explained(error)}") from None
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"{path}: cannot be read as {kind} ({reason}); {remedy}") from None


@dataclass(frozen=True)
class Volume:
    """A NIfTI volume as stored.

    Attributes:
        array: three axes in file order (x, y, z).
        zooms: voxel size of the header in millimetres per axis, in file order.
        affine: voxel indices to millimetres (right, anterior, superior).
        placed: whether the header gives the axes of the patient; otherwise ``affine`` is a guess.
        scaling: scaling of the stored numbers by the header, as text; empty without scaling.
        tolerance: of labels from integers: about half the step of stored numbers, so that distinct numbers stay
            distinct labels.
    """

    array: NDArray[Any]
    zooms: tuple[float, float, float]
    affine: NDArray[np.float64]
    placed: bool = True
    scaling: str = ""
    tolerance: float = WHOLE

    @property
    def unit_affine(self) -> bool:
        """Whether the affine has unit scale and no rotation, as in many files of ACDC."""
        return _is_unit(self.affine)


def _is_unit(affine: NDArray[np.float64]) -> bool:
    return np.array_equal(np.abs(affine[:3, :3]), np.eye(3))


def read_nifti(path: Path, *, planes: bool = False) -> Volume:
    """Read a three-dimensional NIfTI file; lengths in metres or micrometres become millimetres.

    With ``planes``, a two-dimensional file is read as a volume of one slice.

    An affine of unit scale with another voxel size, as in ACDC, is accepted; the voxel size is used.

    Raises:
        InputError: the file is missing, damaged or implausible, has another number of axes, or its voxel size and
            affine differ by more than 1 %.
    """
    with decoding(path, "a NIfTI volume"):
        header, array = open_volume(path, planes=planes)
        zooms = np.asarray(header.get_zooms()[:3], np.float64)
        affine = np.asarray(header.get_best_affine(), np.float64)
        placed = bool(header["sform_code"] > 0 or header["qform_code"] > 0)
        slope, intercept = header.get_slope_inter()
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and sides.min() > 0 and abs(np.linalg.det(affine[:3, :3] / sides)) > 1e-3):
        raise InputError(f"{path}: the header gives no usable axes; replace it by an intact copy")
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MILLIMETRES:
        raise InputError(f"{path}: the header gives lengths in an unknown unit (code {unit}); use the published file")
    zooms *= _MILLIMETRES[unit]
    if not _is_unit(affine):
        affine[:3] *= _MILLIMETRES[unit]
        _refuse_contradiction(path, zooms, sides * _MILLIMETRES[unit])
    scaled = slope is not None and (slope, intercept) != (1, 0)
    scaling = f"scl_slope {slope:g}, scl_inter {intercept:g}" if scaled else ""
    # Scaled values are rounded to the nearest stored number, at most half a step away.
    tolerance = min(_SCALED, 0.6 * abs(slope) + _SINGLE * abs(intercept)) if scaled else WHOLE
    x, y, z = zooms.tolist()
    return Volume(array.reshape(array.shape[:3]), (x, y, z), affine, placed, scaling, tolerance)


def _refuse_contradiction(path: Path, zooms: NDArray[np.float64], sides: NDArray[np.float64]) -> None:
    if not np.allclose(sides, zooms, rtol=_ROUNDING):
        raise InputError(
            f"{path}: pixdim gives voxels of {_millimetres(zooms)}, the affine of {_millimetres(sides)}; "
            "correct the header, or use the published file"
        )


def _millimetres(voxel: Iterable[float]) -> str:
    return " x ".join(f"{side:.4g}" for side in voxel) + " mm"


def load_pair(image_path: Path, label_path: Path, largest_label: int) -> Sample:
    """Image and labels of NIfTI files with the patient's axes, axial slices in the order of :data:`DISPLAY`.

    Raises:
        InputError: a header does not give the patient's axes, grids differ, or labels are not whole numbers up to the
            largest.
    """
    image, label = read_nifti(image_path), read_nifti(label_path)
    for path, volume in ((image_path, image), (label_path, label)):
        refuse_without_axes(path, volume)
    refuse_other_grid(label_path, label, image)
    refuse_other_place(label_path, label, image)
    geometry = Geometry(label.affine, DISPLAY[::-1])
    image, label = reorient(image, DISPLAY), reorient(label, DISPLAY)
    labels = to_slices(whole_labels(label_path, label.array, largest_label, label.scaling, label.tolerance))
    remarks = (f"labels scaled by the header ({label.scaling})",) if label.scaling else ()
    return Sample(to_slices(image.array), labels, image.zooms[::-1], remarks, geometry=geometry)


def refuse_without_axes(path: Path, volume: Volume, remedy: str = "use the published file") -> None:
    """Raise an :class:`InputError` unless the header of a volume gives the patient's axes."""
    if not volume.placed or (volume.unit_affine and not np.allclose(volume.zooms, 1, rtol=_ROUNDING)):
        raise InputError(f"{path}: the header does not give the patient's axes; {remedy}")


def reorient(volume: Volume, axes: str) -> Volume:
    """Flip and permute the axes of a volume, without resampling, to the closest match of ``axes``.

    Args:
        volume: the volume as stored.
        axes: target directions of growing indices, e.g. "LPS" for left, posterior, superior.
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
    """Transpose (x, y, z), as stored in NIfTI files, to contiguous slices (z, y, x)."""
    return np.ascontiguousarray(array.transpose(2, 1, 0))


def is_whole(array: NDArray[Any], tolerance: float = WHOLE) -> NDArray[np.bool_]:
    """Mask of numbers that are integers up to a tolerance, see :class:`Volume`; False for NaN and infinity."""
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, which compares as False
        rounded = np.rint(array)
        whole: NDArray[np.bool_] = np.abs(rounded - array) <= tolerance + _SINGLE * np.abs(rounded)
    whole &= np.isfinite(array)
    return whole


def whole_labels(
    path: Path, array: NDArray[Any], largest: int, scaling: str = "", tolerance: float = WHOLE
) -> NDArray[np.uint8]:
    """Convert label values, integers or floating-point numbers, to uint8.

    Args:
        path: label file.
        array: of any shape, integers or floating-point numbers.
        largest: largest label.
        scaling: of the header, see :class:`Volume`.
        tolerance: of values from integers.

    Raises:
        InputError: a value is not an integer or outside 0..``largest``.
    """
    if not array.size:
        raise InputError(f"{path}: the labels are empty; replace the file by an intact copy")
    array = whole_numbers(path, array, scaling, tolerance)
    low, high = array.min(), array.max()
    if low < 0 or high > largest:
        value = low if low < 0 else high
        raise InputError(
            f"{path}: label value {value:g} is unknown, expected 0..{largest}; "
            + (_unscaled(scaling) or "use the published file")
        )
    labels: NDArray[np.uint8] = array.astype(np.uint8, copy=False)
    return labels


def whole_numbers(path: Path, array: NDArray[Any], scaling: str = "", tolerance: float = WHOLE) -> NDArray[Any]:
    """Label values as whole numbers of the same type; arguments as for :func:`whole_labels`.

    Raises:
        InputError: a value is not an integer.
    """
    if array.dtype.kind != "f":
        return array
    if not all(is_whole(plane, tolerance).all() for plane in array.T):
        raise InputError(
            f"{path}: label values are not whole numbers; "
            + (_unscaled(scaling) or "use the published label file, not a resampled one")
        )
    rounded: NDArray[Any] = np.rint(array)
    return rounded


def _unscaled(scaling: str) -> str:
    return f"the header scales labels ({scaling}): store integers without scaling" if scaling else ""


def refuse_other_grid(path: Path, label: Volume, image: Volume) -> None:
    """Raise an :class:`InputError` about the label file ``path`` unless shape and voxel size are those of the image."""
    refuse_other_shape(path, label.array, image.array)
    if not np.allclose(label.zooms, image.zooms, rtol=_ROUNDING):
        raise InputError(
            f"{path}: labels have voxels of {_millimetres(label.zooms)}, the image of {_millimetres(image.zooms)}; "
            "use both published files"
        )


def refuse_other_place(path: Path, label: Volume, image: Volume) -> None:
    """Raise an :class:`InputError` about the label file ``path`` unless its grid coincides with that of the image.

    See :func:`spectralseg.data.geometry.coincide`.
    """
    if not coincide(label.affine, image.affine, image.array.shape):
        raise InputError(
            f"{path}: labels and image lie differently in space (affines differ); use both published files"
        )


def refuse_other_shape(path: Path, labels: NDArray[Any], image: NDArray[Any]) -> None:
    """Raise an :class:`InputError` about the label file ``path`` unless its array has the shape of the image."""
    if labels.shape != image.shape:
        raise InputError(
            f"{path}: labels have shape {labels.shape}, the image has {image.shape}; they must belong to one case"
        )
