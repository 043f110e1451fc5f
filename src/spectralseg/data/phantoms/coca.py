"""Gated cardiac CT in the layout of COCA: DICOM slices and property lists of OsiriX, as a zip of the top folder.

Irregularities: file numbers and ``InstanceNumber`` from the topmost slice and from 1, or from the lowest one and from
0; origin of ``Point_px`` at the centre or the corner of a pixel; signed pixels with values of padding, or unsigned ones
with an intercept of -1024; a patient with two series, of which one fits; a patient without annotation, and one with an
annotation without images; lesions on the first and the last slice; regions without points, with two points, beyond the
image, overlapping, or named otherwise than an artery; a scan that is not gated.
"""

from __future__ import annotations

import io
import plistlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from spectralseg.data.phantoms._coronary import Lesion, Scan, draw, pixels_inside
from spectralseg.data.phantoms._drawing import generator, spread, zip_members

TOP = "cocacoronarycalciumandchestcts-2"
_PATIENTS = 788
_NAMES = {1: "Left Anterior Descending Artery", 2: "Left Circumflex Artery", 3: "Right Coronary Artery"}
_SERIES, _OTHER_SERIES = "Pro_Gated_CS_3.0_I30f_3_70%", "Pro Gated CS 3.0 I30f 3 0%"
_BETWEEN = 3.0  # millimetres between slices
_PADDING = -2000  # stored value outside the field of view, where pixels are signed
# Positions in the list of patients of irregularities that one patient has.
_TWO_SERIES, _NOT_ANNOTATED, _NO_IMAGES, _ODD_REGIONS = 2, 3, 4, 5


@dataclass(frozen=True)
class _Series:
    """How a series is stored.

    Attributes:
        uid: of the series.
        spacing: millimetres between pixels.
        origin: position of the first pixel of the lowest slice in millimetres (left, posterior, superior).
        topmost_first: whether files and ``InstanceNumber`` start at the topmost slice, and from 1 instead of 0.
        signed: whether stored pixels are signed Hounsfield units, or unsigned ones with an intercept of -1024.
    """

    uid: str
    spacing: float
    origin: tuple[float, float, float]
    topmost_first: bool
    signed: bool


def generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]:
    """Write ``cocacoronarycalciumandchestcts-2.zip``; see :mod:`spectralseg.data.phantoms`."""
    members: dict[str, bytes] = {}
    for position, patient in enumerate(spread([str(n) for n in range(_PATIENTS)], max(5, cases + cases // 2))):
        members |= _patient(seed, position, patient, side)
    members |= _slices(f"{TOP}/deidentified_nongated/12/12", *_scan(seed, -1, "12", side)[:2])
    return [zip_members(folder / f"{TOP}.zip", dict(sorted(members.items())))]


def _scan(seed: int, position: int, patient: str, side: int) -> tuple[Scan, _Series]:
    rng = generator(seed, "coca", patient)
    lesions = 0 if position in (_NOT_ANNOTATED, _NO_IMAGES) else int(rng.integers(3, 8))
    scan = draw(rng, side, int(rng.integers(6, 10)), lesions=lesions, at_ends=position == _ODD_REGIONS)
    spacing = float(rng.uniform(0.33, 0.45))
    series = _Series(
        generate_uid(entropy_srcs=[str(seed), patient]),
        round(spacing, 6),
        (round(-spacing * side / 2, 3), round(-spacing * side / 2 - 150, 3), round(float(rng.uniform(-300, -100)), 2)),
        topmost_first=position % 2 == 0,
        signed=position % 3 == 0,
    )
    return scan, series


def _patient(seed: int, position: int, patient: str, side: int) -> dict[str, bytes]:
    scan, series = _scan(seed, position, patient, side)
    folder = f"{TOP}/Gated_release_final"
    members = _slices(f"{folder}/patient/{patient}/{_SERIES}", scan, series)
    if position == _TWO_SERIES:  # the heart has moved
        moved = Scan(np.roll(scan.image, 3, axis=2), scan.labels, (), scan.field, scan.body)
        other = _Series(generate_uid(entropy_srcs=[series.uid]), *list(vars(series).values())[1:])
        members |= _slices(f"{folder}/patient/{patient}/{_OTHER_SERIES}", moved, other)
    if position != _NOT_ANNOTATED:
        content = _annotation(scan, series, odd=position == _ODD_REGIONS)
        members[f"{folder}/calcium_xml/{patient}.xml"] = plistlib.dumps(content)
    return members


def _slices(folder: str, scan: Scan, series: _Series) -> dict[str, bytes]:
    """Files of a series by their names."""
    depth, members = len(scan.image), {}
    for z, plane in enumerate(scan.image):
        number = depth - z if series.topmost_first else z
        stored = np.where(scan.field, plane, _PADDING) if series.signed else plane.astype(np.int32) + 1024
        members[f"{folder}/IM-0001-{number:04d}.dcm"] = _dicom(stored, z, number, series)
    return members


def _dicom(stored: NDArray[Any], z: int, number: int, series: _Series) -> bytes:
    slice_ = Dataset()
    slice_.SOPClassUID = CTImageStorage
    slice_.SOPInstanceUID = generate_uid(entropy_srcs=[series.uid, str(z)])
    slice_.SeriesInstanceUID = series.uid
    slice_.Modality = "CT"
    slice_.InstanceNumber = number
    slice_.ImagePositionPatient = [*series.origin[:2], round(series.origin[2] + z * _BETWEEN, 2)]
    slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    slice_.PixelSpacing = [series.spacing, series.spacing]
    slice_.SliceThickness = _BETWEEN
    slice_.Rows, slice_.Columns = stored.shape
    slice_.SamplesPerPixel = 1
    slice_.PhotometricInterpretation = "MONOCHROME2"
    slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
    slice_.PixelRepresentation = int(series.signed)
    slice_.RescaleSlope, slice_.RescaleIntercept = 1, 0 if series.signed else -1024
    slice_.PixelData = stored.astype("<i2" if series.signed else "<u2").tobytes()
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    dcmwrite(buffer, slice_, enforce_file_format=True)
    return buffer.getvalue()


def _annotation(scan: Scan, series: _Series, *, odd: bool) -> dict[str, Any]:
    """Content of a property list; ``ImageIndex`` ascends from the lowest slice."""
    images: dict[int, list[dict[str, Any]]] = {}
    for lesion in scan.lesions:
        images.setdefault(lesion.slice, []).append(_region(scan, series, lesion, _NAMES[lesion.artery]))
    if odd:
        first = scan.lesions[0]
        overlapping = Lesion(first.artery, first.slice, first.polygon + np.array([0.3, 0.0]))
        corner = Lesion(first.artery, first.slice, np.array([(-2.2, -2.2), (3.3, -2.2), (3.3, 3.3), (-2.2, 3.3)]))
        empty = _region(scan, series, Lesion(first.artery, first.slice, np.empty((0, 2))), "Unnamed")
        line = _region(scan, series, Lesion(first.artery, first.slice, first.polygon[:2]), "1")
        images[first.slice] += [
            _region(scan, series, overlapping, "555614876"),
            _region(scan, series, corner, "Unnamed"),
            empty,
            line,
        ]
    listed = [
        {"ImageIndex": index, "NumberOfROIs": len(regions), "ROIs": regions}
        for index, regions in sorted(images.items())
    ]
    return {"Images": listed}


def _region(scan: Scan, series: _Series, lesion: Lesion, name: str) -> dict[str, Any]:
    polygon, plane = lesion.polygon, scan.image[lesion.slice]
    inside = pixels_inside(polygon, plane.shape) if len(polygon) > 2 else np.zeros(plane.shape, bool)
    if not inside.any():
        values, area = np.zeros(1), 0.0
    else:
        values, area = np.where(scan.field, plane, _PADDING if series.signed else plane)[inside], float(inside.sum())
    corner = 0.0 if series.topmost_first else 0.5
    left, posterior = (polygon * series.spacing + series.origin[:2]).T
    superior = series.origin[2] + lesion.slice * _BETWEEN
    return {
        "Area": area * series.spacing**2 / 100,  # square centimetres
        "Dev": float(values.std()),
        "Max": float(values.max()),
        "Mean": float(values.mean()),
        "Min": float(values.min()),
        "Name": name,
        "NumberOfPoints": len(polygon),
        "Point_mm": [f"({x:.6f}, {y:.6f}, {superior:.6f})" for x, y in zip(left, posterior, strict=True)],
        "Point_px": [f"({x + corner:.6f}, {y + corner:.6f})" for x, y in polygon],
        "Total": float(values.sum()),
    }
