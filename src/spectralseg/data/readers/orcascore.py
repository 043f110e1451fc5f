"""orCaScore cardiac CT: ``Challenge_data/Training_set/Images/TRV<vendor>P<patient>CTI.mhd`` and reference masks.

Each of the 32 training patients, eight per vendor, has a non-contrast CT (``CTI``) with a reference mask, and a CT
angiography (``CTAI``), which is neither labelled nor used. Names in lower case and NIfTI files are accepted, as copies
of the dataset have them.

The name of the reference masks is ``TRV1P1R.mhd`` by secondary sources, and could not be verified. A file is taken for
the mask of a patient if its name starts with the patient's id, it is neither of the two scans, and its grid is that of
the CT. Masks have the labels 1 (left anterior descending artery with left main), 2 (left circumflex), 3 (right coronary
artery) and 4 (artery unknown), which all become the class 1.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.cases import Case, Sample, layout_remedy, match_files
from spectralseg.data.geometry import Geometry, coincide
from spectralseg.data.patterns import PathPattern
from spectralseg.data.readers._formats import (
    DISPLAY,
    Volume,
    read_nifti,
    refuse_other_grid,
    refuse_other_place,
    reorient,
    to_slices,
    whole_labels,
)
from spectralseg.data.readers._metaimage import read_metaimage
from spectralseg.errors import InputError

FILES = PathPattern(r"(?P<set>TR|TE|VA)V(?P<vendor>[0-9])P(?P<patient>[0-9]+)(?P<kind>[^/]*)\.(?:mhd|mha|nii|nii\.gz)")
CT, ANGIOGRAPHY = "CTI", "CTAI"
LABELS = 4
_SHIFT = 1024  # of Hounsfield units stored as unsigned integers
_log = logging.getLogger(__name__)


def read(root: Path) -> list[Case]:
    """List the labelled non-contrast scans, one case per patient, with the attributes ``vendor`` and ``patient``.

    Angiographies, and scans of the test and validation sets, which have no masks, are ignored and counted in the log.

    Raises:
        InputError: there is no scan, a patient has two scans or no file that could be the mask, or a mask has no scan.
    """
    scans: dict[str, Path] = {}
    masks: dict[str, list[Path]] = {}
    attributes: dict[str, dict[str, str]] = {}
    unlabelled = 0
    for path, parts in match_files(root, FILES):
        identity, kind = f"TRV{parts['vendor']}P{int(parts['patient'])}", parts.get("kind", "").upper()
        if kind == ANGIOGRAPHY or parts["set"].upper() != "TR":
            unlabelled += 1
        elif kind == CT:
            if identity in scans:
                raise InputError(f"{path}: case {identity} appears twice, also as {scans[identity]}; remove one copy")
            scans[identity] = path
            attributes[identity] = {"vendor": parts["vendor"], "patient": str(int(parts["patient"]))}
        else:
            masks.setdefault(identity, []).append(path)
    if not scans:
        raise InputError(f"{root}: no file is named like TRV1P1CTI.mhd; {layout_remedy(root, FILES)}")
    if unlabelled:
        _log.info("%d angiographies or scans of the test and validation sets are ignored", unlabelled)
    for identity in sorted(scans.keys() ^ masks.keys()):
        path, missing = (scans[identity], "reference mask") if identity in scans else (masks[identity][0], "CT")
        raise InputError(f"{path}: the {missing} of case {identity} is missing; restore it, or remove this file")
    return [
        Case(identity, identity, partial(_load, scan, masks[identity]), attributes[identity], _voxel_file(scan))
        for identity, scan in scans.items()
    ]


def _voxel_file(scan: Path) -> Path:
    """The file with the voxels, whose checksum identifies copies of a scan."""
    beside = (scan.with_suffix(suffix) for suffix in (".raw", ".zraw") if scan.suffix.lower() == ".mhd")
    return next((path for path in beside if path.is_file()), scan)


def _load(scan: Path, candidates: Sequence[Path]) -> Sample:
    image = _read_volume(scan)
    path, mask = _reference(image, candidates)
    labels = whole_labels(path, mask.array, LABELS, mask.scaling, mask.tolerance)
    remarks = [f"labels scaled by the header ({mask.scaling})"] if mask.scaling else []
    if unknown := int((labels == LABELS).sum()):
        remarks.append(f"{unknown} voxels of an unknown artery")
    hounsfield: NDArray[np.generic] = image.array
    if hounsfield.min() >= 0:  # air has about -1000 HU
        hounsfield = hounsfield.astype(np.int32) - _SHIFT
        remarks.append(f"no negative intensities, taken as Hounsfield units + {_SHIFT}")
    geometry = Geometry(mask.affine, DISPLAY[::-1])
    displayed = reorient(Volume(hounsfield, image.zooms, image.affine), DISPLAY)
    foreground = reorient(Volume((labels > 0).astype(np.uint8), mask.zooms, mask.affine), DISPLAY)
    slices = to_slices(displayed.array), to_slices(foreground.array)
    return Sample(*slices, displayed.zooms[::-1], tuple(remarks), geometry=geometry)


def _read_volume(path: Path) -> Volume:
    return read_nifti(path) if path.name.lower().endswith((".nii", ".nii.gz")) else read_metaimage(path)


def _reference(image: Volume, candidates: Sequence[Path]) -> tuple[Path, Volume]:
    """The candidate on the grid of the image, which must be the only one."""
    volumes = {path: _read_volume(path) for path in candidates}
    matching = [path for path, volume in volumes.items() if _on_grid(volume, image)]
    if len(matching) > 1:
        raise InputError(f"{matching[0]}: {matching[1].name} is a mask of the same scan, too; remove one of them")
    if not matching:
        path = candidates[0]
        refuse_other_grid(path, volumes[path], image)
        refuse_other_place(path, volumes[path], image)
    return matching[0], volumes[matching[0]]


def _on_grid(volume: Volume, image: Volume) -> bool:
    return volume.array.shape == image.array.shape and coincide(volume.affine, image.affine, image.array.shape)
