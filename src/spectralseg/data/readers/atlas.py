"""ATLAS stroke lesions: T1-weighted scans with one lesion mask each, of release 2.0 or 3.0.

Scans are named ``<folder>/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_<ending>.nii.gz``:

=================  ================================  ================================================================
release            folder                            ending of image and mask
=================  ================================  ================================================================
R2.0               ``Training``                      ``space-MNI152NLin2009aSym_T1w``,
                                                     ``space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask``
R3.0 raw           ``ATLAS3_Training_Raw``           ``space-orig_desc-brain_T1w``,
                                                     ``space-orig_label-lesion_desc-T1lesion_mask``
R3.0 preprocessed  ``ATLAS3_Training_Preprocessed``  ``space-MNI152NLin2009aSym_desc-brainnorm_T1w``,
                                                     ``space-*_label-lesion_desc-T1lesion_mask``
=================  ================================  ================================================================

The ending identifies the release. Folders above the subject may differ, as in the BIDS derivative tree
``train/derivatives/ATLAS/sub-*/...``. In ``label-L``, L is a fixed token, not a side. Volumes are reoriented to axial
slices, without resampling.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np

from spectralseg.data.cases import Case, layout_remedy, match_files
from spectralseg.data.geometry import coincide
from spectralseg.data.patterns import PathPattern
from spectralseg.data.readers._formats import load_pair
from spectralseg.data.readers._limits import regular_file
from spectralseg.errors import InputError

_MNI = "space-mni152nlin2009asym"
_FILES = PathPattern(r"sub-(?P<subject>[a-z0-9]+)_ses-(?P<session>[a-z0-9]+)_(?P<ending>[^/]+)\.nii(?:\.gz)?")
_OLD = PathPattern(r"[^/]*(?:LesionSmooth|t1w_deface_stx)[^/]*")
_TESTING = re.compile(r"(^|_)test(ing)?(_|$)", re.IGNORECASE)  # names of folders with scans whose masks are withheld
_log = logging.getLogger(__name__)
nib: Any = nibabel  # its annotations are partial, which strict type checking refuses


class _Release(NamedTuple):
    """A release of the dataset: the endings of its file names in lower case, and the published number of masks."""

    name: str
    image: str
    mask: str
    published: int


_RELEASES = (
    _Release("R2.0", f"{_MNI}_t1w", f"{_MNI}_label-l_desc-t1lesion_mask", 655),
    _Release("R3.0 raw", "space-orig_desc-brain_t1w", "label-lesion_desc-t1lesion_mask", 1453),
    _Release("R3.0 preprocessed", f"{_MNI}_desc-brainnorm_t1w", "label-lesion_desc-t1lesion_mask", 1453),
)


class _Scan(NamedTuple):
    subject: str
    session: str

    @property
    def name(self) -> str:
        return f"sub-{self.subject}_ses-{self.session}"


def read(root: Path) -> list[Case]:
    """List the labelled scans: one case per session of a subject.

    The group is the subject; attributes are ``site`` (the cohort, such as R001), ``session`` and ``release``. A scan
    whose mask has another shape or place is a case with a defect, as release 3.0 has some. Scans of the test part,
    whose masks are withheld, are counted in the log.

    Args:
        root: folder with the unpacked archive.

    Raises:
        InputError: there is no scan, one without its mask or vice versa, a scan appears twice, or files belong to
            release 1.1 or to two releases, or a mask is in a test folder.
    """
    entries, testing, others = _entries(root)
    release = _release_of(root, entries)
    images, masks = (
        _by_scan([(path, scan) for path, scan, ending in entries if _matches(ending, part)])
        for part in (release.image, release.mask)
    )
    if not images and not masks:
        remedy = layout_remedy(root, _FILES)
        raise InputError(f"{root}: no file matches 'Training/R*/sub-*/ses-*/anat/sub-*_T1w.nii.gz'; {remedy}")
    for scan in sorted(images.keys() ^ masks.keys()):
        path, missing = (images[scan], "lesion mask") if scan in images else (masks[scan], "image")
        raise InputError(f"{path}: the {missing} of this scan is missing; restore it from the official archive")
    _log.info(
        "ATLAS %s: %d of %d labelled scans; ignored %d scans without masks in test folders and %d other NIfTI files",
        *(release.name, len(images), release.published, testing, others),
    )
    return [_case(scan, images[scan], masks[scan], release) for scan in sorted(images)]


def _entries(root: Path) -> tuple[list[tuple[Path, _Scan, str]], int, int]:
    """Files of training scans with the endings of their names; numbers of test images and of other NIfTI files."""
    entries, ignored = [], Counter[str]()
    for path, names in match_files(root, _FILES):
        folders, ending = path.relative_to(root).parts[:-1], names["ending"].lower()
        if any(folder.startswith(".") for folder in folders):
            continue
        if not any(_is_of(release, ending) for release in _RELEASES):
            ignored["other"] += 1
        elif any(_TESTING.search(folder) for folder in folders):
            if not ending.endswith("t1w"):
                raise InputError(
                    f"{path}: is a lesion mask in a test folder, whose scans are not used; move image and mask to "
                    "another folder, or remove the mask"
                )
            ignored["testing"] += 1
        else:
            entries.append((path, _Scan(names["subject"], names["session"]), ending))
    return entries, ignored["testing"], ignored["other"]


def _matches(ending: str, part: str) -> bool:
    """Whether the end of a file name is that of an image or mask; masks of release 3.0 may be in any space."""
    return ending == part or re.fullmatch(rf"space-[a-z0-9]+_{re.escape(part)}", ending) is not None


def _release_of(root: Path, entries: Sequence[tuple[Path, _Scan, str]]) -> _Release:
    """The only release that has all the names; the first one without any.

    Raises:
        InputError: there are files of release 1.1, or of two releases.
    """
    if old := match_files(root, _OLD):
        raise InputError(f"{old[0][0]}: is a file of ATLAS R1.1, which is not supported; give release 2.0 or 3.0 alone")
    remaining, example = list(_RELEASES), ""
    for path, _, ending in entries:
        releases = [release for release in remaining if _is_of(release, ending)]
        if not releases:
            first, second = (
                " or ".join(release.name for release in choice)
                for choice in (remaining, [release for release in _RELEASES if _is_of(release, ending)])
            )
            raise InputError(
                f"{root}: has files of two releases of ATLAS, {first} ({example}) and {second} ({path.name}), "
                "whose subjects overlap; give the folder of one release"
            )
        if len(releases) < len(remaining):
            remaining, example = releases, path.name
    return remaining[0]


def _is_of(release: _Release, ending: str) -> bool:
    return _matches(ending, release.image) or _matches(ending, release.mask)


def _by_scan(files: Sequence[tuple[Path, _Scan]]) -> Mapping[_Scan, Path]:
    by_scan: dict[_Scan, Path] = {}
    for path, scan in files:
        other = by_scan.setdefault(scan, path)
        if other != path:
            raise InputError(f"{path}: scan {scan.name} appears twice, also as {other}; remove one copy")
    return by_scan


def _case(scan: _Scan, image: Path, mask: Path, release: _Release) -> Case:
    cohort = re.match("r[0-9]+", scan.subject, re.IGNORECASE)
    attributes = {
        "site": cohort.group().upper() if cohort else "unknown",
        "session": scan.session,
        "release": release.name,
    }
    load = partial(load_pair, image, mask, 1)
    return Case(scan.name, f"sub-{scan.subject}", load, attributes, image, defect=_defect(image, mask))


def _defect(image: Path, mask: Path) -> str:
    """Why image and mask do not belong together, from their headers; empty if they do, or if a header is damaged.

    Loading the case reports damaged files, of which an intact copy exists.
    """
    try:
        for path in (image, mask):
            regular_file(path)
        (shape, affine), (mask_shape, mask_affine) = (
            (header.get_data_shape()[:3], np.asarray(header.get_best_affine(), np.float64))
            for header in (nib.load(path).header for path in (image, mask))
        )
        if mask_shape != shape:
            return f"its mask has shape {mask_shape}, its image {shape}"
        return "" if coincide(mask_affine, affine, shape) else "its mask and image lie differently in space"
    except Exception:  # of any kind, by a damaged header
        return ""
