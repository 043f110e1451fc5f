"""Cardiac CT in the layout of orCaScore: ``Challenge_data.zip`` with MetaImage volumes of four vendors.

The dataset is given to registered teams; the name of the archive is that of its top folder. Reference masks are beside
the scans.

Irregularities, one each: deflated voxels, big-endian voxels, voxels in the file of the header, names in lower case with
a header that still has them in upper case, axes from posterior to anterior and superior to inferior, unsigned
Hounsfield units + 1024, an artery that is unknown, a patient without calcification. Each patient has a CT angiography
with other slices, and there are scans of the test set without masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.phantoms._coronary import Scan, draw
from spectralseg.data.phantoms._drawing import generator, spread, zip_members
from spectralseg.data.phantoms._volumes import metaimage

ARCHIVE = "Challenge_data.zip"
TEST_SET = ("TEV1P1", "TEV2P3")
UNKNOWN_ARTERY = 4
# Millimetres between pixels and between slices of each vendor.
_VENDORS = {1: (0.37, 3.0), 2: (0.41, 2.5), 3: (0.48, 1.5), 4: (0.43, 3.0)}
_TRAINING, _VALIDATION, _TEST = (1, 2, 3, 4, 5), (6,), (7, 8)  # patient numbers of the default split
# Irregularities in the order of cases of the training part, then of the test part.
_FORMS: tuple[dict[str, Any], ...] = (
    {"compressed": True},
    {"big_endian": True},
    {"local": True},
    {"lower_case": True},
    {"flipped": True},
    {"unsigned": True},
)


def generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]:
    """Write ``Challenge_data.zip``; see :mod:`spectralseg.data.phantoms`."""
    counts = (max(2, cases), max(1, cases // 8), max(2, cases // 2))
    patients = [
        patient
        for numbers, count in zip((_TRAINING, _VALIDATION, _TEST), counts, strict=True)
        for patient in spread([f"TRV{vendor}P{number}" for number in numbers for vendor in _VENDORS], count)
    ]
    members: dict[str, bytes] = {}
    for position, patient in enumerate(patients):
        form = _FORMS[position % len(_FORMS)]
        members |= _patient(seed, patient, side, form, first=position == 0, last=position == len(patients) - 1)
    for patient in TEST_SET:
        members |= _scans(seed, patient, side, _scan(seed, patient, side, 2), {}, "Test_set/Images")
    return [zip_members(folder / ARCHIVE, {f"Challenge_data/{name}": members[name] for name in sorted(members)})]


def _scan(seed: int, patient: str, side: int, lesions: int) -> Scan:
    rng = generator(seed, "orcascore", patient)
    return draw(rng, side, int(rng.integers(6, 10)), lesions=lesions)


def _patient(seed: int, patient: str, side: int, form: dict[str, Any], *, first: bool, last: bool) -> dict[str, bytes]:
    """Files of a training patient; the first has a lesion of an unknown artery, the last one no calcification."""
    lesions = 0 if last else int(generator(seed, "orcascore lesions", patient).integers(3, 8))
    scan = _scan(seed, patient, side, lesions)
    labels = np.where(scan.labels == 1, UNKNOWN_ARTERY, scan.labels).astype(np.uint8) if first else scan.labels
    folder = "Training_set/Images"
    members = _scans(seed, patient, side, scan, form, folder)
    return members | _files(f"{patient}R", folder, labels.astype(np.int16), patient, side, form)


def _scans(seed: int, patient: str, side: int, scan: Scan, form: dict[str, Any], folder: str) -> dict[str, bytes]:
    """The CT and the angiography, which has other slices and a part of the resolution."""
    image: NDArray[Any] = scan.image
    if form.get("unsigned"):
        image = (scan.image.astype(np.int32) + 1024).astype(np.uint16)
    angiography = np.repeat(scan.image, 2, axis=0)[:-1, ::4, ::4]
    return _files(f"{patient}CTI", folder, image, patient, side, form) | _files(
        f"{patient}CTAI", folder, angiography, patient, side, {**form, "unsigned": False}
    )


def _files(
    name: str, folder: str, slices: NDArray[Any], patient: str, side: int, form: dict[str, Any]
) -> dict[str, bytes]:
    """Header and voxels of a volume (z, y, x) with the members' names."""
    in_plane, between = _VENDORS[int(patient[3])]
    scale = side / slices.shape[1]
    offset, axes = [-in_plane * side / 2, -in_plane * side / 2, -120.0], [1, 0, 0, 0, 1, 0, 0, 0, 1]
    if form.get("flipped"):
        offset[1] += (slices.shape[1] - 1) * in_plane * scale
        offset[2] += (len(slices) - 1) * between
        axes, slices = [1, 0, 0, 0, -1, 0, 0, 0, -1], slices[::-1, ::-1]
    data = "LOCAL" if form.get("local") else f"{name}.zraw" if form.get("compressed") else f"{name}.raw"
    header, voxels = metaimage(
        slices.transpose(2, 1, 0),
        (in_plane * scale, in_plane * scale, between),
        data,
        offset=offset,
        axes=axes,
        big_endian=bool(form.get("big_endian")),
        compressed=bool(form.get("compressed")),
    )
    members = {f"{name}.mhd": header + voxels} if data == "LOCAL" else {f"{name}.mhd": header, data: voxels}
    change = str.lower if form.get("lower_case") else str
    return {f"{folder}/{change(member)}": content for member, content in members.items()}
