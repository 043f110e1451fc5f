"""CT series: a folder with one DICOM file per slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from spectralseg.data.prepared import MAX_VOXELS
from spectralseg.data.readers._formats import Volume, decoding
from spectralseg.data.readers._limits import refuse_larger, regular_file, usable_voxel_size
from spectralseg.errors import InputError

_UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_MAX_BYTES = 2**26  # of a file; a slice of 512 x 512 pixels has 2**19
_MOST_SLICES = 10_000
_UNEVEN = 0.1  # of the gap between slices: tolerance of positions, which are rounded
_UNIT = 1e-3  # tolerance of direction cosines
# Tags that all slices of a series have in common, and further ones that are used.
_COMMON = ("SeriesInstanceUID", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")
_ROUNDED = {"PixelSpacing": 2, "ImageOrientationPatient": 6}  # of these, numbers that may differ by _ROUNDING
_ROUNDING = 1e-5  # over a thousand pixels, a hundredth of a millimetre
_OTHERS = (
    "InstanceNumber",
    "ImagePositionPatient",
    "SamplesPerPixel",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
)


@dataclass(frozen=True)
class Series:
    """Headers of a CT series.

    Attributes:
        files: one per slice, in the direction of the normal of the slices, which is superior for axial slices.
        names: position of each slice in the order of file names.
        numbers: ``InstanceNumber`` of each slice; empty if a slice has none.
        shape: columns, rows and slices.
        zooms: millimetres per column, row and slice; the last from the positions of slices, not from their thickness.
        affine: column, row and slice index to millimetres (right, anterior, superior), float64 (4, 4). Indices are of
            the centres of voxels.
    """

    files: tuple[Path, ...]
    names: tuple[int, ...]
    numbers: tuple[int, ...]
    shape: tuple[int, int, int]
    zooms: tuple[float, float, float]
    affine: NDArray[np.float64]


def read_series(files: Sequence[Path]) -> Series:
    """Read the headers of a series, without pixels.

    Args:
        files: the slices, in the order of their names.

    Raises:
        InputError: a file is damaged or not a slice of CT with uncompressed pixels, slices belong to different series,
            there are less than two, or their positions are duplicate, uneven or sheared.
    """
    folder = files[0].parent
    if not 2 <= len(files) <= _MOST_SLICES:
        raise InputError(f"{folder}: holds {len(files)} slices, expected 2 to {_MOST_SLICES}; restore the series")
    headers = [_read_header(file) for file in files]
    for file, header in zip(files, headers, strict=True):
        for tag in _COMMON:
            if not _agree(file, header, files[0], headers[0], tag):
                raise InputError(
                    f"{file}: {tag} differs from that of {files[0].name}; keep the slices of one series per folder"
                )
    across, down, spacing = _axes(files[0], headers[0])
    positions = np.array([_numbers(file, h, "ImagePositionPatient", 3) for file, h in zip(files, headers, strict=True)])
    normal = np.cross(across, down)
    order = np.argsort(positions @ normal, kind="stable")
    step = _step(folder, [files[k].name for k in order], positions[order], normal)
    affine = np.eye(4)
    affine[:3] = np.column_stack([across * spacing[1], down * spacing[0], step, positions[order[0]]])
    affine[:2] *= -1  # DICOM has millimetres to the left and posterior
    shape = int(headers[0].Columns), int(headers[0].Rows), len(files)
    refuse_larger(folder, "the volume", shape, MAX_VOXELS)
    numbers = tuple(_whole(headers[k].get("InstanceNumber")) for k in order)
    return Series(
        tuple(files[k] for k in order),
        tuple(order.tolist()),
        tuple(number for number in numbers if number is not None) if None not in numbers else (),
        shape,
        (float(spacing[1]), float(spacing[0]), float(np.linalg.norm(step))),
        affine,
    )


def read_hounsfield(series: Series) -> Volume:
    """Read the pixels of a series in Hounsfield units: slope times stored value plus intercept, of each slice.

    Returns:
        Array of columns, rows and slices: int16 if all values are, else float32.

    Raises:
        InputError: a file is damaged, or holds more or fewer pixels than its header says.
    """
    array = np.empty(series.shape[::-1], np.float32)
    for plane, file in zip(array, series.files, strict=True):
        with decoding(file, "a DICOM file"):
            content = pydicom.dcmread(file)
            promised = plane.size * content.BitsAllocated // 8
            if len(content.PixelData) != promised + promised % 2:  # DICOM pads to an even length
                raise InputError(
                    f"{file}: holds more or less pixels than its header says; replace it by an intact copy"
                )
            plane[:] = content.pixel_array * float(content.RescaleSlope) + float(content.RescaleIntercept)
    limits = np.iinfo(np.int16)
    if limits.min <= array.min() and array.max() <= limits.max and np.array_equal(array, np.rint(array)):
        return Volume(array.astype(np.int16).transpose(2, 1, 0), series.zooms, series.affine)
    return Volume(array.transpose(2, 1, 0), series.zooms, series.affine)


def _read_header(file: Path) -> pydicom.Dataset:
    regular_file(file, _MAX_BYTES)
    with decoding(file, "a DICOM file"):
        syntax = read_file_meta_info(file).get("TransferSyntaxUID")
        if syntax not in _UNCOMPRESSED:  # checked first, as pydicom inflates deflated files without a limit
            raise InputError(
                f"{file}: its transfer syntax ({getattr(syntax, 'name', 'none')}) is not an uncompressed one; "
                "convert the series, e.g. with 'gdcmconv --raw'"
            )
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*_COMMON, *_OTHERS])
        slope, intercept = (float(header.get(tag, math.nan)) for tag in ("RescaleSlope", "RescaleIntercept"))
        planar = header.get("SamplesPerPixel", 1) == 1 and header.get("NumberOfFrames", 1) in (1, None)
        grey = planar and header.get("PhotometricInterpretation") == "MONOCHROME2"
        if not grey or not np.isfinite([slope, intercept]).all() or slope == 0:
            raise InputError(
                f"{file}: is not a slice of CT, with one grey value per pixel, RescaleSlope other than 0 and "
                "RescaleIntercept; replace it by an intact copy"
            )
        refuse_larger(file, "the image", (int(header.Rows), int(header.Columns)), MAX_VOXELS)
    return header


def _axes(file: Path, header: pydicom.Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Directions of growing columns and rows (left, posterior, superior), and millimetres between rows and columns."""
    across, down = _numbers(file, header, "ImageOrientationPatient", 6).reshape(2, 3)
    spacing = _numbers(file, header, "PixelSpacing", 2)
    perpendicular = np.allclose([across @ across, down @ down, across @ down], [1, 1, 0], atol=_UNIT)
    if not perpendicular or not usable_voxel_size(spacing):
        raise InputError(f"{file}: the header gives no usable axes or pixel size; replace it by an intact copy")
    return across, down, spacing


def _agree(file: Path, header: pydicom.Dataset, other: Path, other_header: pydicom.Dataset, tag: str) -> bool:
    """Whether two slices have the same value of a tag, but for rounding."""
    if header.get(tag) == other_header.get(tag):
        return True
    if tag not in _ROUNDED:
        return False
    values = _numbers(file, header, tag, _ROUNDED[tag]), _numbers(other, other_header, tag, _ROUNDED[tag])
    return bool(np.abs(values[0] - values[1]).max() <= _ROUNDING)


def _numbers(file: Path, header: pydicom.Dataset, tag: str, count: int) -> NDArray[np.float64]:
    value: Any = header.get(tag)
    try:
        numbers = np.array([] if value is None else value, np.float64).ravel()
    except (TypeError, ValueError):  # pydicom keeps text that is not a number
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise InputError(f"{file}: the header does not give {count} numbers as {tag}; replace it by an intact copy")
    return numbers


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int) else None


def _step(
    folder: Path, names: Sequence[str], positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean vector from a slice to the next one, in millimetres; ``positions`` ascend along ``normal``."""
    steps = np.diff(positions, axis=0)
    gaps = steps @ normal
    usual = float(np.median(gaps))
    for k, gap in enumerate(gaps):
        if gap < _UNEVEN * usual or usual <= 0:
            raise InputError(f"{folder}: slices {names[k]} and {names[k + 1]} have the same position; remove one")
        if abs(gap - usual) > _UNEVEN * usual:
            raise InputError(
                f"{folder}: slices {names[k]} and {names[k + 1]} are {gap:.4g} mm apart, others {usual:.4g} mm; "
                "restore the missing slices"
            )
    if np.abs(steps - gaps[:, None] * normal).max() > _UNEVEN * usual:
        raise InputError(f"{folder}: slices are shifted against each other (gantry tilt); exclude the case")
    mean: NDArray[np.float64] = normal * ((positions[-1] - positions[0]) @ normal / len(steps))
    return mean
