"""ACDC cine cardiac MR: ``database/training/patientNNN/`` with ``Info.cfg`` and two labelled frames per patient.

Slices keep the order and orientation of the file, because stacks are oblique (short axis) and many headers have a unit
matrix instead of the patient's axes. Image and labels share the voxel grid. If both headers give axes, or neither does,
they must agree.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from spectralseg.data.cases import Case, Sample, require_files
from spectralseg.data.geometry import Geometry
from spectralseg.data.readers._formats import (
    Volume,
    decoding,
    read_nifti,
    refuse_other_grid,
    refuse_other_place,
    to_slices,
    whole_labels,
)
from spectralseg.data.readers._limits import MAX_TEXT_BYTES, regular_file
from spectralseg.errors import InputError

PHASES = ("ED", "ES")
LABELS = 3


def read(root: Path, *, folder: str = "training") -> list[Case]:
    """List the labelled frames: two cases per patient, end-diastole and end-systole.

    ``Info.cfg`` gives the phase of each frame; end-diastole is not always the earlier one.

    Args:
        root: folder with the unpacked archive.
        folder: part of the database, ``training`` (patients 001-100) or ``testing`` (101-150).

    Raises:
        InputError: a patient has no ``Info.cfg``, or an entry or a file that it refers to is missing.
    """
    infos = require_files(root, f"{folder}/patient*/Info.cfg")
    for database in sorted({info.parent.parent for info in infos}):
        for patient in sorted(database.glob("patient*")):
            if patient.is_dir() and patient / "Info.cfg" not in infos:
                raise InputError(f"{patient}: Info.cfg is missing; restore it from the official archive")
    return [case for info in infos for case in _cases_of(info)]


def _cases_of(info: Path) -> list[Case]:
    entries = _entries(info)
    patient = info.parent.name
    if entries.get("ED") and entries.get("ED") == entries.get("ES"):
        raise InputError(f"{info}: gives the same frame for ED and ES; restore the file from the official archive")
    cases = []
    for phase in PHASES:
        if not re.fullmatch("[0-9]{1,4}", entries.get(phase, "")):
            raise InputError(f"{info}: has no frame number '{phase}:'; restore the file from the official archive")
        frame = f"{int(entries[phase]):02d}"
        image = info.with_name(f"{patient}_frame{frame}.nii.gz")
        labels = info.with_name(f"{patient}_frame{frame}_gt.nii.gz")
        for path in (image, labels):
            if not path.is_file():
                raise InputError(f"{path}: Info.cfg gives this frame as {phase}, but the file is missing; restore it")
        attributes = {"frame": frame, "phase": phase, "disease": entries.get("Group", "")}
        cases.append(Case(f"{patient}_{phase}", patient, partial(_load, image, labels), attributes, image))
    return cases


def _entries(info: Path) -> dict[str, str]:
    """Dictionary of the ``key: value`` lines."""
    regular_file(info, MAX_TEXT_BYTES)
    with decoding(info, "a text of 'key: value' lines"):
        lines = info.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _load(image_path: Path, label_path: Path) -> Sample:
    image, label = read_nifti(image_path), read_nifti(label_path)
    refuse_other_grid(label_path, label, image)
    remarks = []
    if _has_axes(label) == _has_axes(image):
        refuse_other_place(label_path, label, image)
    else:
        remarks.append("only one of image and labels gives the patient's axes")
    labels = whole_labels(label_path, label.array, LABELS, label.scaling, label.tolerance)
    if label.scaling:
        remarks.append(f"labels scaled by the header ({label.scaling})")
    # The affine has unit scale in some files, so that the voxel size of the header is used.
    return Sample(
        to_slices(image.array),
        to_slices(labels),
        image.zooms[::-1],
        tuple(remarks),
        geometry=Geometry.of_file_order(label.affine),
    )


def _has_axes(volume: Volume) -> bool:
    return volume.placed and not volume.unit_affine
