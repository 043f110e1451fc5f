"""Abdominal CT volumes in the layout of BTCV / Synapse: ``RawData.zip`` with 13 native labels.

Irregularities of the original: one training and one test case without gallbladder, one case stored with all axes
reversed, one label file of floating-point numbers, unlabelled test images, values of -1024 outside the field of view.
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

GALLBLADDER = 4
UNLABELLED = ("0061", "0062")


@dataclass(frozen=True)
class _Organ:
    """An ellipsoid in body coordinates.

    v runs from anterior (-1) to posterior (1), u from the patient's right (-1) to left (1), t from the lowest (0) to
    the highest (1) slice. ``value`` is in Hounsfield units.
    """

    label: int
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    value: float
    angle: float = 0.0
    grain: float = 6.0


# In drawing order.
_ORGANS = (
    _Organ(6, (-0.10, -0.44, 0.70), (0.60, 0.44, 0.62), 108, 0.15),
    _Organ(6, (-0.46, -0.08, 0.82), (0.26, 0.40, 0.34), 108, 0.4),
    _Organ(7, (-0.32, 0.36, 0.72), (0.26, 0.29, 0.44), 62, 0.5, 14),
    _Organ(1, (0.26, 0.68, 0.74), (0.36, 0.16, 0.46), 122, -0.25),
    _Organ(2, (0.44, -0.42, 0.30), (0.25, 0.18, 0.46), 172, 0.3),
    _Organ(3, (0.42, 0.44, 0.38), (0.25, 0.18, 0.44), 172, -0.3),
    _Organ(11, (-0.10, 0.10, 0.48), (0.10, 0.34, 0.28), 88, 0.35, 12),
    _Organ(10, (-0.02, -0.10, 0.56), (0.07, 0.11, 0.30), 158),
    _Organ(4, (-0.40, -0.36, 0.46), (0.17, 0.13, 0.30), 14, 0.3, 3),
    _Organ(12, (0.22, -0.24, 0.66), (0.04, 0.10, 0.14), 66, 0.7),
    _Organ(13, (0.22, 0.26, 0.66), (0.04, 0.10, 0.14), 66, -0.7),
    _Organ(5, (0.08, 0.08, 0.98), (0.06, 0.06, 0.22), 48),
    _Organ(9, (0.16, -0.13, 0.50), (0.10, 0.11, 2.00), 128),
    _Organ(8, (0.20, 0.11, 0.50), (0.11, 0.10, 2.00), 176),
)


def generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]:
    """Write ``RawData.zip``; see :mod:`spectralseg.data.phantoms`."""
    parts = read_list("synapse_transunet").parts
    train = spread([i for i, part in parts.items() if part == "train"], max(1, cases))
    test = spread([i for i, part in parts.items() if part == "test"], max(1, cases // 2))
    without_gallbladder = {train[len(train) // 2], test[len(test) // 2]}
    members = {}
    for number in (*train, *test, *UNLABELLED):
        axes = "RPI" if number == train[0] else "LAS"
        image, labels, affine = _case(seed, number, side, gallbladder=number not in without_gallbladder)
        folder_name = "Testing" if number in UNLABELLED else "Training"
        members[f"RawData/{folder_name}/img/img{number}.nii.gz"] = nifti(image, affine, axes=axes)
        if number not in UNLABELLED:
            stored = labels.astype(np.float32) if number == train[-1] else labels
            members[f"RawData/Training/label/label{number}.nii.gz"] = nifti(stored, affine, axes=axes)
    return [zip_members(folder / "RawData.zip", members)]


def _case(
    seed: int, number: str, side: int, *, gallbladder: bool
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Image and labels with axes (x, y, z) to the left, posterior and superior, and their affine."""
    rng = generator(seed, "synapse", number)
    depth = int(rng.integers(7, 11))
    body = _Body.draw(rng, side)
    organs = [_varied(rng, organ) for organ in _ORGANS if gallbladder or organ.label != GALLBLADDER]
    blur, noise = rng.uniform(0.5, 0.8), rng.uniform(7, 16)
    images, labels = [], []
    for z in range(depth):
        image, label = _slice(generator(seed, "synapse", number, z), body, organs, (z + 0.5) / depth)
        image = ndimage.gaussian_filter(image, blur) + noise * texture(rng, image.shape, 0.6)
        images.append(np.where(body.field, np.clip(np.rint(image), -1000, 2500), -1024).astype(np.int16))
        labels.append(label)
    in_plane, between = rng.uniform(0.59, 0.98), rng.choice([2.5, 3.0, 4.0, 5.0])
    affine = np.diag([-in_plane, -in_plane, between, 1.0])
    affine[:3, 3] = side / 2 * in_plane, side / 2 * in_plane + rng.uniform(-20, 20), rng.uniform(-300, 100)
    return np.stack(images).transpose(2, 1, 0), np.stack(labels).transpose(2, 1, 0), affine


@dataclass(frozen=True)
class _Body:
    """The body of a patient: position, size, fat and muscle."""

    side: int
    centre: tuple[float, float]
    radii: tuple[float, float]
    fat: float
    muscle: float
    identity: int
    field: NDArray[np.bool_]

    @staticmethod
    def draw(rng: np.random.Generator, side: int) -> _Body:
        centre = (side * rng.uniform(0.47, 0.52), side * rng.uniform(0.48, 0.52))
        size = rng.uniform(0.88, 1.04)
        radii = (side * 0.36 * size * rng.uniform(0.9, 1.08), side * 0.465 * size)
        rows, columns = np.ogrid[:side, :side]
        field = np.hypot(rows - (side - 1) / 2, columns - (side - 1) / 2) < 0.5 * side
        identity = int(rng.integers(2**31))
        return _Body(side, centre, radii, rng.uniform(0.06, 0.17), rng.uniform(45, 65), identity, field)

    def region(
        self, v: float, u: float, rv: float, ru: float, *, angle: float = 0.0, wobble: float = 0.0, key: object = 0
    ) -> NDArray[np.bool_]:
        """A blob in body coordinates; its outline is the same in all slices of a patient."""
        inner = 1 - self.fat
        row, column = self.centre[0] + v * inner * self.radii[0], self.centre[1] + u * inner * self.radii[1]
        radii = max(rv * inner * self.radii[0], 0.6), max(ru * inner * self.radii[1], 0.6)
        # Only the window around the blob is computed, which is faster for small organs.
        reach = max(radii) * (1 + 4 * wobble) + 1
        top, left = max(0, int(row - reach)), max(0, int(column - reach))
        bottom, right = min(self.side, int(row + reach) + 2), min(self.side, int(column + reach) + 2)
        region = np.zeros((self.side, self.side), np.bool_)
        region[top:bottom, left:right] = blob(
            generator(self.identity, "outline", key),
            (bottom - top, right - left),
            (row - top, column - left),
            radii,
            angle=angle,
            wobble=wobble,
        )
        return region


def _varied(rng: np.random.Generator, organ: _Organ) -> _Organ:
    shift, stretch = rng.normal(0, 0.03, 3), rng.uniform(0.82, 1.16, 3)
    return _Organ(
        organ.label,
        (organ.centre[0] + shift[0], organ.centre[1] + shift[1], organ.centre[2] + shift[2]),
        (organ.radii[0] * stretch[0], organ.radii[1] * stretch[1], organ.radii[2] * stretch[2]),
        organ.value * rng.uniform(0.85, 1.15),
        organ.angle + rng.normal(0, 0.12),
        organ.grain,
    )


def _slice(
    rng: np.random.Generator, body: _Body, organs: list[_Organ], t: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """One axial slice in Hounsfield units: anterior at the top, the patient's right at the left."""
    shape = (body.side, body.side)
    image = np.full(shape, -1000, np.float32)
    label = np.zeros(shape, np.uint8)
    grain = texture(rng, shape, body.side / 50)
    cavity = body.region(0, 0, 0.93, 0.95)
    _draw_wall(image, rng, body, grain)
    _draw_bowel(image, rng, body, grain, t)
    if t > 0.84:
        _draw_lung_bases(image, body, grain, t)
    for index, organ in enumerate(organs):
        cut = 1 - ((t - organ.centre[2]) / organ.radii[2]) ** 2
        if cut <= 0.04:
            continue
        v, u, _ = organ.centre
        scale = cut**0.5
        radii = scale * organ.radii[0], scale * organ.radii[1]
        inside = cavity & body.region(v, u, *radii, angle=organ.angle, wobble=0.1, key=index)
        image[inside] = organ.value + organ.grain * grain[inside]
        label[inside] = organ.label
        _draw_inside(image, rng, organ, grain, inside)
    _draw_spine(image, label, body, grain, t)
    return image, label


def _draw_wall(image: NDArray[np.float32], rng: np.random.Generator, body: _Body, grain: NDArray[np.float32]) -> None:
    """Draw couch, skin, subcutaneous fat, muscle with ribs, and abdominal fat."""
    couch = body.region(0.35, 0, 1.22, 1.5) & ~body.region(0.32, 0, 1.22, 1.5)
    image[couch & ~body.region(0.2, 0, 1.0, 3.0)] = -250
    scale = 1 / (1 - body.fat)
    image[body.region(0, 0, scale, scale)] = 20
    fat = body.region(0, 0, scale - 0.025, scale - 0.025)
    image[fat] = -105 + 8 * grain[fat]
    muscle = body.region(0, 0, 1, 1)
    image[muscle] = body.muscle + 10 * grain[muscle]
    back = body.region(-0.08, 0, 0.86, 0.9)
    image[back] = -98 + 14 * grain[back]
    for side in (-1, 1):
        for v in rng.uniform(-0.7, 0.7, 3):
            u = side * 0.95 * float(np.sqrt(1 - v**2))
            image[body.region(v, u, 0.07, 0.035, angle=side * v)] = rng.uniform(250, 500)
        back_muscle = body.region(0.76, side * 0.24, 0.17, 0.2)
        image[back_muscle] = body.muscle + 9 * grain[back_muscle]


def _draw_bowel(
    image: NDArray[np.float32], rng: np.random.Generator, body: _Body, grain: NDArray[np.float32], t: float
) -> None:
    """Draw bowel loops with walls, liquid and gas, more of them in low slices."""
    for _ in range(int(rng.integers(3, 7) * (1.3 - t))):
        v, u = rng.uniform(-0.65, 0.15), rng.uniform(-0.6, 0.65)
        radius, angle = rng.uniform(0.08, 0.15), rng.uniform(0, np.pi)
        loop = body.region(v, u, radius * 1.2, radius, angle=angle, wobble=0.1, key=u)
        image[loop] = rng.uniform(45, 95)
        lumen = body.region(v, u, radius * 0.8, radius * 0.6, angle=angle, wobble=0.1, key=u)
        image[lumen] = rng.uniform(5, 55) + 12 * grain[lumen]
        if rng.random() < 0.4:
            image[body.region(v - 0.3 * radius, u, 0.4 * radius, 0.5 * radius)] = -850


def _draw_lung_bases(image: NDArray[np.float32], body: _Body, grain: NDArray[np.float32], t: float) -> None:
    for u in (-0.5, 0.5):
        size = 0.35 + (t - 0.84)
        lung = body.region(0.45, u, size, 0.7 * size, wobble=0.05, key=u) & body.region(-0.03, 0, 0.88, 0.88)
        image[lung] = -820 + 40 * grain[lung]


def _draw_inside(
    image: NDArray[np.float32],
    rng: np.random.Generator,
    organ: _Organ,
    grain: NDArray[np.float32],
    inside: NDArray[np.bool_],
) -> None:
    """Draw the inner structure of organs: liver vessels, renal pelvis, stomach content."""
    side = image.shape[0]
    unit = side / 128
    if organ.label == 6:
        vessels = texture(rng, image.shape, 2.2 * unit)
        image[inside & (np.abs(vessels) < 0.09)] += 38
    elif organ.label in (2, 3):
        depth = ndimage.distance_transform_edt(inside)
        image[inside & (depth > 0.55 * depth.max())] -= 75
    elif organ.label == 7:
        depth = ndimage.distance_transform_edt(inside)
        content = inside & (depth > 1.6 * unit)
        image[content] = 22 + 16 * grain[content]
        rows = np.nonzero(inside.any(axis=1))[0]
        gas = content & (np.arange(side)[:, None] < rows[0] + 0.32 * len(rows))
        image[gas] = -880


def _draw_spine(
    image: NDArray[np.float32], label: NDArray[np.uint8], body: _Body, grain: NDArray[np.float32], t: float
) -> None:
    bone = body.region(0.47, 0, 0.21, 0.17)
    rest = body.region(0.86, 0, 0.17, 0.04) | body.region(0.64, 0, 0.06, 0.30) | body.region(0.68, 0, 0.14, 0.11)
    # Discs between vertebrae are hardly brighter than muscle.
    value = 210.0 if np.cos(t * 4 * np.pi) > -0.6 else 105.0
    image[rest] = 330 + 40 * grain[rest]
    image[bone] = value + 35 * grain[bone]
    rim = bone & ~ndimage.binary_erosion(bone, iterations=max(1, body.side // 110))
    image[rim] = value + 180
    image[body.region(0.68, 0, 0.07, 0.06)] = 35
    label[bone | rest] = 0
