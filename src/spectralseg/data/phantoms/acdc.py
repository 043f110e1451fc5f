"""Short-axis cardiac MR in the layout of ACDC: ``ACDC.zip`` with two labelled frames per patient.

Irregularities of the original: end-diastole is the later frame in patient090, cine and text files beside the labelled
frames, a patient of the official test part, slices without structures at both ends of a stack, and affines of unit
scale with another voxel size. The cine files, which are not read, have a quarter of the resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.data.phantoms._drawing import blob, generator, spread, texture, zip_members
from spectralseg.data.phantoms._volumes import nifti
from spectralseg.data.splits import read_list

REVERSED = "patient090"
OFFICIAL_TEST = "patient101"
# Relative size of cavity and wall at end-diastole, and of the cavity at end-systole.
_DISEASES = {
    "NOR": (1.0, 1.0, 0.68),
    "DCM": (1.35, 0.8, 0.88),
    "HCM": (0.85, 1.45, 0.55),
    "MINF": (1.15, 0.85, 0.82),
    "RV": (0.95, 1.0, 0.7),
}
_CITATION = "Synthetic images in the layout of ACDC. Papers that use the original cite Bernard et al., IEEE TMI 2018.\n"


def generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]:
    """Write ``ACDC.zip``; a patient counts as two cases. See :mod:`spectralseg.data.phantoms`."""
    parts = read_list("acdc_transunet").parts
    patients = {REVERSED}
    for part, count in (("train", cases // 2), ("validation", cases // 8), ("test", cases // 4)):
        ids = [patient for patient, its_part in parts.items() if its_part == part and patient != REVERSED]
        patients.update(spread(ids, max(1, count - 1 if part == "train" else count)))
    members: dict[str, bytes] = {}
    for patient in sorted(patients):
        members |= _patient(seed, f"ACDC/database/training/{patient}", side)
    members |= _patient(seed, f"ACDC/database/testing/{OFFICIAL_TEST}", side)
    return [zip_members(folder / "ACDC.zip", members)]


@dataclass(frozen=True)
class _Heart:
    """Properties of the heart of a patient, constant over slices and frames; lengths in pixels."""

    patient: str
    seed: int
    shape: tuple[int, int]
    depth: int
    centre: tuple[float, float]
    cavity: float
    wall: float
    right: float
    direction: float
    squeeze: float
    blood: float
    muscle: float

    def rng(self, *keys: object) -> np.random.Generator:
        return generator(self.seed, "acdc", self.patient, *keys)


def _patient(seed: int, path: str, side: int) -> dict[str, bytes]:
    patient = path.rsplit("/", 1)[-1]
    rng = generator(seed, "acdc", patient)
    disease = list(_DISEASES)[int(rng.integers(len(_DISEASES)))]
    ed, es, frames = (11, 3, 12) if patient == REVERSED else (1, int(rng.integers(5, 10)), int(rng.integers(10, 13)))
    heart = _draw_heart(rng, seed, patient, disease, side)
    spacing = (rng.uniform(1.2, 1.9), float(rng.choice([5.0, 8.0, 10.0])))
    scale = rng.uniform(200, 1100)
    members = {
        f"{path}/Info.cfg": _info(rng, ed, es, frames, disease),
        f"{path}/MANDATORY_CITATION.md": _CITATION.encode(),
    }
    ends = []
    for frame, systole in ((ed, 0.0), (es, 1.0)):
        image, labels = _frame(heart, systole, frame)
        stored = np.rint(image * scale).astype(np.int16)
        ends.append(stored[::4, ::4])
        unit_affine = heart.rng("header").random() < 0.5
        members[f"{path}/{patient}_frame{frame:02d}.nii.gz"] = _stored(stored, spacing, unit_affine)
        members[f"{path}/{patient}_frame{frame:02d}_gt.nii.gz"] = _stored(labels, spacing, unit_affine)
    share = np.abs(np.linspace(-1, 1, frames))
    cine = np.stack([(s * ends[0] + (1 - s) * ends[1]).astype(np.int16) for s in share], axis=-1)
    members[f"{path}/{patient}_4d.nii.gz"] = nifti(cine, np.diag([-4 * spacing[0], -4 * spacing[0], spacing[1], 1]))
    return dict(sorted(members.items()))


def _draw_heart(rng: np.random.Generator, seed: int, patient: str, disease: str, side: int) -> _Heart:
    cavity, wall, left = _DISEASES[disease]
    height, width = (int(side * rng.uniform(0.85, 1.15)) for _ in range(2))
    return _Heart(
        patient=patient,
        seed=seed,
        shape=(height, width),
        depth=int(rng.integers(6, 13)),
        centre=(height * rng.uniform(0.44, 0.54), width * rng.uniform(0.48, 0.58)),
        cavity=side * 0.105 * cavity * rng.uniform(0.9, 1.1),
        wall=side * 0.048 * wall * rng.uniform(0.9, 1.1),
        right=(1.25 if disease == "RV" else 1.0) * rng.uniform(0.9, 1.1),
        direction=rng.normal(0.15, 0.2),
        squeeze=left * rng.uniform(0.95, 1.05),
        blood=rng.uniform(0.68, 0.85),
        muscle=rng.uniform(0.22, 0.34),
    )


def _info(rng: np.random.Generator, ed: int, es: int, frames: int, disease: str) -> bytes:
    height, weight = rng.uniform(150, 190), rng.uniform(50, 105)
    lines = f"ED: {ed}\nES: {es}\nGroup: {disease}\nHeight: {height:.1f}\nNbFrame: {frames}\nWeight: {weight:.1f}\n"
    return lines.encode()


def _stored(array: NDArray[np.int16] | NDArray[np.uint8], spacing: tuple[float, float], unit_affine: bool) -> bytes:
    affine = np.diag([-spacing[0], -spacing[0], spacing[1], 1.0])
    return nifti(array, affine, sform=np.diag([-1.0, -1.0, 1.0, 1.0]) if unit_affine else None)


def _frame(heart: _Heart, systole: float, frame: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image in [0, about 1] and labels of one frame, (x, y, z), from base to apex."""
    bias_rng = heart.rng("bias")
    bias = np.exp(0.18 * texture(bias_rng, heart.shape, max(heart.shape) / 4))
    chest, roughness = _chest(heart)
    images, labels = [], []
    for z in range(heart.depth):
        background = chest + roughness * texture(heart.rng("grain", z), heart.shape, 1.5)
        image, label = _slice(heart, background, z, systole)
        image = ndimage.gaussian_filter(image, 0.7) * bias
        real, imaginary = (0.03 * heart.rng("noise", frame, z, part).standard_normal(heart.shape) for part in "ri")
        images.append(np.hypot(image + real, imaginary).astype(np.float32))
        labels.append(label)
    return np.stack(images).transpose(2, 1, 0), np.stack(labels).transpose(2, 1, 0)


def _slice(
    heart: _Heart, image: NDArray[np.float32], z: int, systole: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Draw the heart over an image of the chest."""
    label = np.zeros(heart.shape, np.uint8)
    # In some patients, the first slice is above the valves and the last one below the apex.
    above, below = heart.rng("ends").random(2) < 0.5
    t = (z - float(above) + 0.5) / (heart.depth - float(above) - float(below))
    _draw_pericardium(image, heart, t)
    if t < 0:
        _draw_vessels(image, heart)
    elif t < 1:
        _draw_ventricles(image, label, heart, t, systole)
    return image, label


def _chest(heart: _Heart) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Brightness and texture amplitude of chest wall, lungs, liver, spine and descending aorta."""
    height, width = heart.shape
    rng = heart.rng("chest")

    def part(v: float, u: float, rv: float, ru: float, wobble: float = 0.06) -> NDArray[np.bool_]:
        jitter = rng.normal(0, 0.012, 2)
        return blob(
            rng,
            heart.shape,
            ((0.5 + v / 2 + jitter[0]) * height, (0.5 + u / 2 + jitter[1]) * width),
            (rv * height / 2, ru * width / 2),
            wobble=wobble,
        )

    image, roughness = np.full(heart.shape, 0.02, np.float32), np.zeros(heart.shape, np.float32)
    for region, value, rough in (
        (part(0, 0, 0.95, 1.02, 0.03), 0.80, 0.06),
        (part(0.02, 0, 0.84, 0.92, 0.03), 0.32, 0.05),
        (part(0.04, -0.45, 0.68, 0.40), 0.07, 0.02),
        (part(0.04, 0.52, 0.66, 0.34), 0.07, 0.02),
        (part(0.62, -0.36, 0.36, 0.52), 0.42, 0.04),
        (part(0.68, 0.46, 0.20, 0.24), 0.50, 0.05),
        (part(0.70, 0.08, 0.16, 0.13), 0.38, 0.06),
        (part(0.52, 0.24, 0.075, 0.075, 0.02), heart.blood, 0.03),
    ):
        image[region], roughness[region] = value, rough
    return image, roughness


def _draw_pericardium(image: NDArray[np.float32], heart: _Heart, t: float) -> None:
    """Draw fat and muscle around the ventricles."""
    size = heart.cavity + heart.wall
    shrink = 1.0 - 0.35 * min(max(t, 0.0), 1.0)
    row, column = heart.centre
    rng = heart.rng("pericardium")
    outer = blob(
        rng, heart.shape, (row, column - 0.45 * size), (1.55 * size * shrink, 2.0 * size * shrink), wobble=0.05
    )
    image[outer] = 0.45 + 0.09 * texture(heart.rng("fat", round(t, 3)), heart.shape, 2)[outer]


def _draw_vessels(image: NDArray[np.float32], heart: _Heart) -> None:
    """Draw the blood in atria and outflow tract, above the valves, which is not labelled."""
    rng = heart.rng("vessels")
    row, column = heart.centre
    for shift in (-1.3, 0.5):
        radii = heart.cavity * rng.uniform(0.7, 1.1), heart.cavity * rng.uniform(0.8, 1.3)
        image[blob(rng, heart.shape, (row, column + shift * heart.cavity), radii, wobble=0.12)] = 0.85 * heart.blood


def _draw_ventricles(
    image: NDArray[np.float32], label: NDArray[np.uint8], heart: _Heart, t: float, systole: float
) -> None:
    taper = float(np.sqrt(max(1 - (0.92 * t) ** 2.4, 0.03)))
    cavity = max(heart.cavity * taper * (1 - systole * (1 - heart.squeeze)), 1.2)
    wall = heart.wall * (0.75 + 0.25 * taper) * (1 + 0.35 * systole)
    row, column = heart.centre[0] + 0.02 * t * heart.shape[0], heart.centre[1] + 0.03 * t * heart.shape[1]
    outer = cavity + wall

    def ring(radius: float) -> NDArray[np.bool_]:
        return blob(heart.rng("ring"), heart.shape, (row, column), (radius * 1.04, radius * 0.96), wobble=0.05)

    epicardium, pool = ring(outer), ring(cavity)
    reach = outer * heart.right * (1 - 0.3 * systole * (1 - heart.squeeze))
    # Towards the apex, the right ventricle becomes smaller and ends before the left one.
    out = (1.05 - 0.35 * t) * outer
    spot = row + out * np.sin(heart.direction), column - out * np.cos(heart.direction)
    radii = (1.15 - 0.45 * t) * reach, (0.98 - 0.5 * t) * reach
    bend = heart.direction + 0.15
    free_wall = max(1.2, 0.3 * heart.wall)
    right = blob(heart.rng("right"), heart.shape, spot, radii, angle=bend, wobble=0.08)
    around = blob(
        heart.rng("right"), heart.shape, spot, (radii[0] + free_wall, radii[1] + free_wall), angle=bend, wobble=0.08
    )

    grain = texture(heart.rng("blood", round(t, 3), systole), heart.shape, 1.2)
    if t < 0.88:
        image[around] = heart.muscle
        crescent = right & ~epicardium
        image[crescent] = 0.94 * heart.blood + 0.05 * grain[crescent]
        label[crescent] = 1
    muscle = epicardium & ~pool
    image[muscle] = heart.muscle + 0.025 * grain[muscle]
    image[pool] = heart.blood + 0.04 * grain[pool]
    label[muscle], label[pool] = 2, 3
    _draw_papillaries(image, heart, (row, column), cavity)


def _draw_papillaries(image: NDArray[np.float32], heart: _Heart, centre: tuple[float, float], cavity: float) -> None:
    """Draw two papillary muscles, which are labelled as cavity."""
    if cavity < 4:
        return
    rng = heart.rng("papillaries")
    for angle in rng.normal((0.9, 2.6), 0.25):
        spot = centre[0] + 0.62 * cavity * np.sin(angle), centre[1] + 0.62 * cavity * np.cos(angle)
        image[blob(rng, heart.shape, spot, (0.17 * cavity, 0.17 * cavity))] = heart.muscle + 0.12
