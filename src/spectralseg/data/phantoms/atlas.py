"""T1-weighted brain MR with small stroke lesions, in the layout of ATLAS R2.0: ``ATLAS_R2.0.tar.gz``.

All scans share one grid and nearly the same anatomy, as scans registered to a template do: smooth white matter, a rim
of grey matter, dark ventricles. A lesion has the value of grey matter or of a ventricle, so that its intensity alone
does not give it away, but lies in white matter, where neither belongs. Lesions lie in the central half of each side.

Irregularities of the original: cohorts with scanners of their own, a subject with two sessions, test scans without
masks, masks of floating-point numbers (one with 0.999999999767 for 1), two lesions in one mask, a lesion on the edge
slice, dot files of a file manager, and a table and the template beside the scans.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.data.phantoms._drawing import generator, tar_members, texture
from spectralseg.data.phantoms._volumes import nifti

COHORTS = ("R001", "R005", "R031")
TESTING = "R047"
DEPTH = 8
ALMOST_ONE = 0.999999999767
_SPACE = "space-MNI152NLin2009aSym"
_WIDTH, _BRAIN = 0.85, (0.37, 0.44)  # width of a slice and radii of the brain, as shares of the side
_MNI_SIDE, _MNI_HEIGHT = 233.0, 189.0  # millimetres
_WHITE, _GREY, _FLUID = 0.8, 0.5, 0.2
_GREY_LESIONS = 0.8  # share of the lesions with the value of grey matter; the others have that of the ventricles
_AREA = (2, 10)  # pixels of a lesion on a slice


def generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]:
    """Write ``ATLAS_R2.0.tar.gz``; see :mod:`spectralseg.data.phantoms`.

    A fifth of the subjects are test cases, so that there are about a quarter as many as training cases; at least five
    subjects are drawn. Slices have ``side`` x 0.85 ``side`` pixels, and there are 8 of them.
    """
    top, subjects = "ATLAS_2", max(5, round(1.25 * cases))
    grid = _Grid.of(side)
    members = {
        f"{top}/20211112_ATLAS_2.0_SupplementaryInfo.csv": _table(subjects),
        f"{top}/MNI152NLin2009aSym.nii.gz": nifti(_stored(_template(grid), 1000), grid.affine),
        f"{top}/.DS_Store": b"\0\0\0\1Bud1",
    }
    for cohort in COHORTS:
        members[f"{top}/Training/{cohort}/dataset_description.json"] = _description(cohort)
    for number in range(subjects):
        subject = _subject(number)
        for session in (1, 2) if number == 1 else (1,):
            scan = _Scan.draw(grid, seed, subject, session, edge=number == 2, lesions=2 if number == 3 else None)
            path = _path(f"{top}/Training", subject, session)
            members[f"{path}_T1w.nii.gz"] = nifti(scan.image, grid.affine)
            members[f"{path}_label-L_desc-T1lesion_mask.nii.gz"] = nifti(_mask(scan.labels, number), grid.affine)
            if number == 0:
                parent, _, name = path.rpartition("/")
                members[f"{parent}/._{name}_T1w.nii.gz"] = b"\0\5\x16\7"
                members[f"{parent}/.{name}_T1w.nii.gz"] = b""
    for number in range(max(1, cases // 4)):
        subject = f"{TESTING.lower()}s{number + 1:03}"
        scan = _Scan.draw(grid, seed, subject, 1)
        members[f"{_path(f'{top}/Testing', subject, 1)}_T1w.nii.gz"] = nifti(scan.image, grid.affine)
    return [tar_members(folder / "ATLAS_R2.0.tar.gz", dict(sorted(members.items())))]


def _subject(number: int) -> str:
    cohort = COHORTS[number % len(COHORTS)]
    return f"{cohort.lower()}s{number // len(COHORTS) + 1:03}"


def _path(part: str, subject: str, session: int) -> str:
    """Path of the files of a scan, without the ends of their names."""
    folder = f"{part}/{subject[:4].upper()}/sub-{subject}/ses-{session}/anat"
    return f"{folder}/sub-{subject}_ses-{session}_{_SPACE}"


def _table(subjects: int) -> bytes:
    rows = [f"sub-{_subject(number)},{_subject(number)[:4].upper()}" for number in range(subjects)]
    return "\n".join(["BIDS ID,Cohort", *rows, ""]).encode()


def _description(cohort: str) -> bytes:
    name = f"Synthetic images in the layout of ATLAS R2.0, cohort {cohort}"
    return json.dumps({"Name": name, "BIDSVersion": "1.6.0"}).encode()


def _mask(labels: NDArray[np.uint8], number: int) -> NDArray[np.uint8] | NDArray[np.float32] | NDArray[np.float64]:
    """The labels as stored: mostly integers, in some masks floating-point numbers."""
    if number == 3:
        return labels * ALMOST_ONE
    return labels.astype(np.float32) if number % 3 == 1 else labels


@dataclass(frozen=True)
class _Grid:
    """The voxel grid that all scans share, with axes (x, y, z) to the right, anterior and superior.

    Attributes:
        u: of each voxel, from the left (-1) to the right (1) edge of the brain at its largest.
        v: the same from posterior (-1) to anterior (1).
        t: from the lowest (0) to the highest (1) slice.
        affine: voxel indices to millimetres.
    """

    u: NDArray[np.float64]
    v: NDArray[np.float64]
    t: NDArray[np.float64]
    affine: NDArray[np.float64]

    @staticmethod
    def of(side: int) -> _Grid:
        width = round(_WIDTH * side)
        x, y, z = np.ogrid[:width, :side, :DEPTH]
        u, v = (x - (width - 1) / 2) / (_BRAIN[0] * side), (y - (side - 1) / 2) / (_BRAIN[1] * side)
        affine = np.diag([_MNI_SIDE / side, _MNI_SIDE / side, _MNI_HEIGHT / DEPTH, 1.0])
        affine[:3, 3] = -98, -134, -72
        return _Grid(u, v, (z + 0.5) / DEPTH, affine)

    @property
    def radius(self) -> NDArray[np.float64]:
        """Distance from the axis of the brain; 1 at its surface, which narrows toward the lowest and highest slice."""
        return np.hypot(self.u, self.v) / (1 - 0.9 * (self.t - 0.5) ** 2)

    @property
    def lateral(self) -> NDArray[np.float64]:
        """Distance from the axes of the two ventricles, positive away from the midline, in the units of u."""
        return np.asarray(np.abs(self.u) - 0.16 - 0.1 * self.v**2)

    @property
    def central(self) -> NDArray[np.bool_]:
        """The central half of both sides of a slice, where lesions lie."""
        rows: NDArray[np.bool_] = np.abs(self.u) < _WIDTH / 4 / _BRAIN[0]
        return rows & np.asarray(np.abs(self.v) < 1 / 4 / _BRAIN[1])


def _ventricles(grid: _Grid, size: float) -> NDArray[np.float64]:
    """Signed distance from two curved ventricles, negative inside, in units of their half-width."""
    height = (grid.t - 0.5) / 0.42
    across = grid.lateral / (0.11 * size)
    along = grid.v / (0.42 * size)
    return np.sqrt(across**2 + along**2 + height**2) - 1


def _template(grid: _Grid, ventricles: float = 1.0) -> NDArray[np.float64]:
    """Brightness of a healthy brain in [0, 1] at every voxel; 0 outside."""
    image = np.full(grid.radius.shape, _WHITE)
    image[grid.radius > 0.78] = _GREY
    image[_ventricles(grid, ventricles) < 0] = _FLUID
    image[grid.radius > 1] = 0
    return image


@dataclass(frozen=True)
class _Scan:
    """Image, int16, and labels of a scan, (x, y, z)."""

    image: NDArray[np.int16]
    labels: NDArray[np.uint8]

    @staticmethod
    def draw(
        grid: _Grid, seed: int, subject: str, session: int, *, edge: bool = False, lesions: int | None = None
    ) -> _Scan:
        """Draw a scan, with a lesion on the lowest slice if ``edge``; by default with one to three lesions."""
        scanner = generator(seed, "atlas", subject[:4])
        scale, noise = scanner.uniform(600, 1400), scanner.uniform(0.01, 0.02)
        ventricles = generator(seed, "atlas", subject).uniform(0.92, 1.08)
        rng = generator(seed, "atlas", subject, session)
        image = _template(grid, ventricles)
        brain, labels = image > 0, np.zeros(image.shape, np.uint8)
        allowed = grid.central & (grid.lateral > 0) & (grid.radius < 0.7) & (_ventricles(grid, ventricles) > 0.5)
        for number in range(lesions or int(rng.integers(1, 4))):
            lowest = 0 if edge and number == 0 else int(rng.integers(DEPTH))
            value = _GREY if rng.random() < _GREY_LESIONS else _FLUID
            free = allowed & ~ndimage.binary_dilation(labels, iterations=2)
            free = ndimage.binary_opening(free, np.ones((2, 1, 1)))  # without single pixels
            lesion = _lesion(rng, free, slice(lowest, lowest + int(rng.integers(1, 4))))
            image[lesion], labels[lesion] = value, 1
        image = ndimage.gaussian_filter(image, (0.35, 0.35, 0))
        image *= np.exp(0.04 * texture(rng, image.shape[:2], max(image.shape) / 5))[..., None]
        image += noise * rng.standard_normal(image.shape)
        return _Scan(_stored(np.where(brain, np.clip(image, 0.01, None), 0), scale), labels)


def _lesion(rng: np.random.Generator, allowed: NDArray[np.bool_], slices: slice) -> NDArray[np.bool_]:
    """A lesion of 2 to 10 connected pixels on each of some slices, at a random place of the allowed region."""
    centre = rng.permutation(np.argwhere(allowed[..., slices.start]))[0]
    rows, columns = np.ogrid[: allowed.shape[0], : allowed.shape[1]]
    distance = np.hypot(rows - centre[0], rng.uniform(0.7, 1.4) * (columns - centre[1]))
    lesion = np.zeros_like(allowed)
    for z in range(*slices.indices(allowed.shape[-1])):
        lesion[..., z] = _grown(distance, allowed[..., z], int(rng.integers(_AREA[0], _AREA[1] + 1)))
    return lesion


def _grown(distance: NDArray[np.float64], allowed: NDArray[np.bool_], area: int) -> NDArray[np.bool_]:
    """Connected allowed pixels: the one of least distance, then repeatedly that of the neighbours."""
    region, neighbours = np.zeros_like(allowed), allowed
    while neighbours.any() and region.sum() < area:
        region.flat[np.where(neighbours, distance, np.inf).argmin()] = True
        neighbours = ndimage.binary_dilation(region) & allowed & ~region
    return region


def _stored(image: NDArray[np.float64], scale: float) -> NDArray[np.int16]:
    return np.rint(image * scale).astype(np.int16)
