"""Cardiac CT without contrast agent, with calcified lesions of the coronary arteries.

Lesions have 2 to 10 pixels per slice and the Hounsfield units of bone, so that intensity alone does not identify them.
They lie on the coronary arteries, whose place on the heart is predictable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.data.phantoms._drawing import blob, texture

SMALLEST, LARGEST = 2, 10  # pixels of a lesion on a slice
_CALCIFIED = 140  # smallest Hounsfield units of a lesion; the surroundings have at most _SOFT
_SOFT = 110
# Place of the left anterior descending, left circumflex and right coronary artery in the lowest and the highest slice,
# in coordinates of the heart: v from anterior (-1) to posterior (1), u from the patient's right (-1) to left (1).
_ARTERIES = (
    ((-0.62, 0.62), (-0.72, 0.12)),
    ((0.62, 0.60), (0.20, 0.78)),
    ((-0.10, -0.86), (-0.42, -0.66)),
)
# Bone in coordinates of the body: v, u, its radii, and mean Hounsfield units.
_BONES = (
    (0.62, 0.0, 0.20, 0.17, 260),
    (0.86, 0.0, 0.12, 0.06, 420),
    (0.74, -0.14, 0.07, 0.12, 480),
    (0.74, 0.14, 0.07, 0.12, 480),
    (-0.84, 0.0, 0.07, 0.20, 300),
)
_RIBS = (-0.9, -0.5, 0.0, 0.5, 0.9)  # angles in radians on both sides
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Lesion:
    """The part of a lesion on one slice.

    Attributes:
        artery: 1 left anterior descending, 2 left circumflex, 3 right coronary artery.
        slice: its index, from inferior to superior.
        polygon: (N, 2) column and row of each vertex; it is larger than the lesion, whose pixels inside are the
            calcified ones.
    """

    artery: int
    slice: int
    polygon: NDArray[np.float64]


@dataclass(frozen=True)
class Scan:
    """A scan with slices (z, y, x): inferior first, anterior at the top, the patient's right at the left.

    Attributes:
        image: int16 Hounsfield units.
        labels: uint8, the artery of each calcified pixel.
        lesions: on each slice.
        field: boolean (y, x), the circular field of view; outside of it, ``image`` is -1024.
        body: boolean (y, x).
    """

    image: NDArray[np.int16]
    labels: NDArray[np.uint8]
    lesions: tuple[Lesion, ...]
    field: NDArray[np.bool_]
    body: NDArray[np.bool_]


def draw(rng: np.random.Generator, side: int, depth: int, *, lesions: int, at_ends: bool = False) -> Scan:
    """Draw a scan.

    Args:
        rng: source of randomness.
        side: rows and columns in pixels.
        depth: number of slices.
        lesions: number of lesions, each on one or two slices; 0 for a patient without calcification.
        at_ends: put the first two lesions on the first and the last slice.
    """
    chest = _Chest(rng, side)
    planes = [chest.slice(rng, (z + 0.5) / depth) for z in range(depth)]
    labels = np.zeros((depth, side, side), np.uint8)
    parts = []
    for number in range(lesions):
        artery = number % len(_ARTERIES) + 1
        start = (0, depth - 1)[number] if at_ends and number < 2 else int(rng.integers(depth))
        value, shift = rng.uniform(180, 620), rng.normal(0, 0.04, 2)
        for z in range(start, min(depth, start + int(rng.integers(1, 3)))):
            centre = chest.artery(artery, (z + 0.5) / depth) + shift * chest.radii
            polygon, inside = _small_outline(rng, centre, (side, side))
            parts.append(Lesion(artery, z, polygon))
            _soften_around(planes[z], inside, labels[z] > 0)
            calcified = value + 25 * rng.standard_normal(int(inside.sum()))
            planes[z][inside] = np.maximum(calcified, _CALCIFIED)
            labels[z][inside] = artery
    image = np.where(chest.field, np.clip(np.rint(planes), -1000, 2000), -1024).astype(np.int16)
    return Scan(image, labels, tuple(parts), chest.field, chest.body)


def pixels_inside(polygon: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre lies inside a polygon of columns and rows (n, 2), boolean ``shape``, by the even-odd rule."""
    rows, columns = np.indices(shape)
    inside = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crossed = (y0 >= rows) != (y1 >= rows)
        to_the_right = (y1 - rows) * (x0 - x1) >= (x1 - columns) * (y0 - y1)
        inside ^= crossed & (to_the_right == (y1 >= rows))
    return inside


def _small_outline(
    rng: np.random.Generator, centre: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A polygon around a lesion, and the pixels of the lesion, whose number is within the limits."""
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False) + rng.uniform(0, 0.4)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    while True:
        radii = rng.uniform(0.7, 1.8, 2)
        position = centre[::-1] + rng.uniform(-0.5, 0.5, 2)
        inside = pixels_inside(position + radii * circle, shape)
        if SMALLEST <= inside.sum() <= LARGEST:
            return position + (radii + 0.6) * circle, inside


def _soften_around(plane: Floats, inside: NDArray[np.bool_], calcified: NDArray[np.bool_]) -> None:
    """Limit pixels around a lesion that belong to no lesion."""
    around = ndimage.binary_dilation(inside, iterations=3) & ~inside & ~calcified
    plane[around] = np.minimum(plane[around], _SOFT)


class _Chest:
    """The chest of a patient; lengths in pixels."""

    def __init__(self, rng: np.random.Generator, side: int) -> None:
        self.shape = (side, side)
        self.centre = np.array([0.5, 0.5]) * side + rng.normal(0, 0.01, 2) * side
        self.size = np.array([0.35, 0.46]) * side * rng.uniform(0.94, 1.02)
        self.heart = self.centre + self.size * (-0.22 + rng.normal(0, 0.02), 0.12 + rng.normal(0, 0.02))
        self.radii = self.size * (0.44, 0.40) * rng.uniform(0.95, 1.05)
        rows, columns = np.indices(self.shape)
        self.field = np.hypot(rows - (side - 1) / 2, columns - (side - 1) / 2) < 0.5 * side
        self.body = self.region(rng, 0, 0, 0.98, 0.98)
        self.bones = [(self.region(rng, *bone[:4]), bone[4] * rng.uniform(0.85, 1.15)) for bone in _BONES]
        for angle in _RIBS:
            for sign in (-1, 1):
                v, u = 0.86 * np.sin(angle), sign * 0.88 * np.cos(angle)
                rib = self.region(rng, v, u, 0.12, 0.06, angle=-sign * angle)
                self.bones.append((rib, rng.uniform(280, 620)))

    def region(
        self, rng: np.random.Generator, v: float, u: float, rv: float, ru: float, *, angle: float = 0.0
    ) -> NDArray[np.bool_]:
        """A region in coordinates of the body."""
        centre, radii = self.centre + (v, u) * self.size, np.maximum((rv, ru) * self.size, 0.8)
        return blob(rng, self.shape, tuple(centre), tuple(radii), angle=angle, wobble=0.03)

    def artery(self, artery: int, t: float) -> NDArray[np.float64]:
        """Row and column of an artery, from the lowest (t = 0) to the highest slice (t = 1)."""
        low, high = np.array(_ARTERIES[artery - 1])
        place: NDArray[np.float64] = self.heart + self.radii * ((1 - t) * low + t * high)
        return place

    def slice(self, rng: np.random.Generator, t: float) -> Floats:
        """A slice in Hounsfield units, without lesions."""
        image = np.full(self.shape, -1000, np.float32)
        grain = texture(rng, self.shape, max(self.shape) / 60)
        fixed = np.random.default_rng(0)  # outlines are the same in all slices
        image[self.body] = -95
        image[self.region(fixed, 0, 0, 0.93, 0.94)] = 45
        for u in (-0.5, 0.5):
            image[self.region(fixed, 0.02, u, 0.74, 0.38)] = -840
        image[self._around_heart(1.0)] = -85
        image[self._around_heart(0.84)] = 42
        image[self.region(fixed, 0.36, 0.20, 0.11, 0.09)] = 40
        for artery in range(1, len(_ARTERIES) + 1):
            row, column = self.artery(artery, t)
            image[blob(fixed, self.shape, (row, column), (0.014 * self.shape[0],) * 2)] = 40
        image = ndimage.gaussian_filter(image + 8 * grain, 0.6)
        for bone, value in self.bones:
            image[bone] = value + 110 * grain[bone]
        noisy: Floats = image + 10 * texture(rng, self.shape, 0.6)
        return noisy

    def _around_heart(self, scale: float) -> NDArray[np.bool_]:
        rows, columns = np.indices(self.shape)
        v, u = ((axis - c) / (scale * r) for axis, c, r in zip((rows, columns), self.heart, self.radii, strict=True))
        return np.asarray(np.hypot(v, u) < 1)
