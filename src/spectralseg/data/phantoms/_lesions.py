"""Dermoscopic images of skin lesions for the phantoms of the ISIC challenges.

An image depends on seed, id and side only, so that an id of two challenges gives the same image in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spectralseg.data.phantoms._drawing import blob, clouds, colour, generator, jpeg, spread, to_uint8
from spectralseg.data.splits import read_list

Floats = NDArray[Any]
Mask = NDArray[np.bool_]

# Two test images of ISIC-2017 are identical; the second is also a training image of ISIC-2018.
_SAME_PICTURE = {"ISIC_0012152": "ISIC_0012216"}


@dataclass(frozen=True)
class Look:
    """Appearance of images: camera, light and skin.

    Attributes:
        tint: factor per colour, red first.
        exposure: factor of the brightness.
        pigment: range of optical densities of lesions.
        radius: range of radii of lesions, relative to the shorter side.
        blur: standard deviation of the defocus, relative to the shorter side.
        hairs: maximum number of hairs.
        aperture: share of images with a round aperture and black corners.
        marks: share of images with ink or a colour sticker on the skin.
        ruler: share of images with a scale at the edge.
    """

    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exposure: float = 1.0
    pigment: tuple[float, float] = (0.35, 1.3)
    radius: tuple[float, float] = (0.16, 0.4)
    blur: float = 0.004
    hairs: int = 14
    aperture: float = 0.15
    marks: float = 0.0
    ruler: float = 0.15


_USUAL = Look()
# ISIC-2017 images that are not in ISIC-2018: another camera and other patients.
_SHIFTED = Look((0.9, 0.92, 1.06), 0.88, (0.4, 1.0), (0.12, 0.3), 0.01, 30, 0.6, 0.5, 0.5)


def isic2018_ids(cases: int) -> list[str]:
    """Ids of the ISIC-2018 phantom, including :func:`shared_ids`."""
    parts = read_list("isic2018_bcdu_sorted").parts
    ids = shared_ids(cases)
    for part, count in (("train", cases), ("validation", max(1, cases // 6)), ("test", max(1, cases // 2))):
        existing = sum(parts[case] == part for case in ids)
        others = [case for case, p in parts.items() if p == part and case not in ids]
        ids = ids + spread(others, max(1, count - existing))
    return sorted(ids)


def isic2017_ids(cases: int) -> list[str]:
    """Ids of the ISIC-2017 phantom: one half is also in ISIC-2018, the other half is not."""
    isic2018 = read_list("isic2018_bcdu_sorted").parts
    alone = [case for case in read_list("isic2017_official_test").parts if case not in isic2018]
    shared = shared_ids(cases)
    return sorted({*shared, "ISIC_0012152", *spread(alone[1:], len(shared) - 1)})


def shared_ids(cases: int) -> list[str]:
    """Ids that are in the phantoms of both challenges."""
    isic2018 = read_list("isic2018_bcdu_sorted").parts
    both = [case for case in read_list("isic2017_official_test").parts if case in isic2018 and case != "ISIC_0012216"]
    return ["ISIC_0012216", *spread(both, max(1, cases // 4 - 1))]


def pair(seed: int, case: str, side: int) -> tuple[bytes, bytes]:
    """JPEG image and PNG mask of an id."""
    case = _SAME_PICTURE.get(case, case)
    look = _USUAL if case in read_list("isic2018_bcdu_sorted").parts else _SHIFTED
    picture, mask = draw(generator(seed, "isic", case), side, look)
    return jpeg(picture), bytes(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1])


def draw(rng: np.random.Generator, side: int, look: Look) -> tuple[NDArray[np.uint8], Mask]:
    """One RGB image of about that side, and its lesion mask."""
    rows = side * rng.uniform(0.8, 1.15)
    shape = (round(rows), round(rows * rng.choice([1.07, 1.33, 1.34, 1.5])))
    mask = _outline(rng, shape, look)
    picture: Any = _skin(rng, shape)
    picture *= np.exp(-_absorption(rng, mask, look))
    picture *= (look.exposure * rng.uniform(0.9, 1.08) * _light(rng, shape))[..., None]
    picture = picture * colour(*look.tint)
    picture = cv2.GaussianBlur(picture, (0, 0), max(0.35, look.blur * min(shape) * rng.uniform(0.6, 1.4)))
    picture += rng.normal(0, 0.01, picture.shape).astype(np.float32)
    canvas = np.ascontiguousarray(to_uint8(picture))
    if rng.uniform() < look.marks:
        _mark(rng, canvas, mask)
    _draw_hairs(rng, canvas, int(rng.uniform() ** 2 * look.hairs))
    if rng.uniform() < look.ruler:
        _draw_ruler(rng, canvas)
    if rng.uniform() < look.aperture:
        canvas = _through_tube(rng, canvas)
    return canvas, mask


def _outline(rng: np.random.Generator, shape: tuple[int, int], look: Look) -> Mask:
    radius = min(shape) * (look.radius[0] + (look.radius[1] - look.radius[0]) * rng.uniform() ** 1.3)
    centre = (shape[0] * rng.uniform(0.36, 0.64), shape[1] * rng.uniform(0.34, 0.66))
    radii = (radius, radius * rng.uniform(0.6, 1.0))
    return blob(rng, shape, centre, radii, angle=rng.uniform(0, np.pi), wobble=rng.uniform(0.08, 0.26))


def _skin(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Pale pink to light brown skin with lines, redness and freckles."""
    side = min(shape)
    tone = rng.uniform(0, 1)
    base = colour(0.93, 0.78, 0.72) * (1 - tone) + colour(0.84, 0.63, 0.49) * tone
    red = 0.06 * clouds(rng, shape, 0.3 * side) + 0.03 * clouds(rng, shape, 0.08 * side)
    red += rng.uniform(0, 0.12) * np.clip(clouds(rng, shape, 0.2 * side) - 0.7, 0, 1.5)
    lines = 0.018 * clouds(rng, shape, max(1.5, 0.012 * side)) + 0.02 * clouds(rng, shape, 0.5 * side)
    density = red[..., None] * colour(0.15, 0.9, 0.7) + lines[..., None]
    for _ in range(int(rng.uniform() ** 2 * 9)):
        spot = _spot(rng, shape, side * rng.uniform(0.012, 0.035))
        density += rng.uniform(0.15, 0.6) * spot[..., None] * _BROWN
    skin: Floats = base * np.exp(-density)
    return skin


# Absorption per colour, red first: superficial melanin, deep melanin (blue-grey), and blood.
_BROWN = colour(0.75, 1.15, 1.3)
_BLUE_GREY = colour(1.25, 1.05, 0.75)
_RED = colour(0.12, 0.75, 0.6)


def _spot(rng: np.random.Generator, shape: tuple[int, int], radius: float) -> Floats:
    y, x = np.ogrid[: shape[0], : shape[1]]
    distance = (y - rng.uniform(0, shape[0])) ** 2 + (x - rng.uniform(0, shape[1])) ** 2
    return np.exp(-distance / (2 * radius**2)).astype(np.float32)


def _absorption(rng: np.random.Generator, mask: Mask, look: Look) -> Floats:
    """Optical density of the lesion per pixel and colour: patches, network, globules, soft or sharp edge."""
    shape = (mask.shape[0], mask.shape[1])
    side = min(shape)
    inside: Floats = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    radius = max(float(inside.max()), 1.0)
    cover = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.7, radius * rng.uniform(0.04, 0.22)))
    depth = 0.55 + 0.45 * np.sqrt(np.clip(inside / radius, 0, 1))
    patches = 1 + rng.uniform(0.12, 0.4) * clouds(rng, shape, 0.5 * radius)
    net = np.exp(-((clouds(rng, shape, max(1.8, 0.022 * side)) / 0.45) ** 2)) - 0.4
    globules = np.clip(clouds(rng, shape, max(1.5, 0.02 * side)) - 1.3, 0, 1)
    structure = 1 + rng.uniform(0, 0.5) * net + rng.uniform(0, 0.7) * globules
    pigment = rng.uniform(*look.pigment) * cover * depth * np.clip(patches * structure, 0.15, 2.2)
    second = (_BLUE_GREY, _RED, _BROWN)[rng.choice(3, p=[0.25, 0.3, 0.45])]
    share = np.clip(0.5 + 0.8 * clouds(rng, shape, 0.6 * radius), 0, 1)[..., None] * rng.uniform(0.3, 1)
    density: Floats = pigment[..., None] * (_BROWN * (1 - share) + second * share)
    return density.astype(np.float32)


def _light(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    fall = rng.uniform(0.02, 0.14)
    slope = rng.uniform(-0.06, 0.06, 2)
    light: Floats = 1 - fall * (y**2 + x**2) + slope[0] * y + slope[1] * x
    return light.astype(np.float32)


def _draw_hairs(rng: np.random.Generator, canvas: NDArray[np.uint8], count: int) -> None:
    """Draw curved hairs with a common main direction."""
    rows, columns = canvas.shape[:2]
    direction = rng.uniform(0, np.pi)
    shade = tuple(int(v) for v in np.array([58, 42, 36]) * rng.uniform(0.5, 1.9))
    t = np.linspace(0, 1, 12)[:, None]
    for _ in range(count):
        angle = direction + rng.normal(0, 0.35)
        length = min(rows, columns) * rng.uniform(0.3, 1.1)
        start = rng.uniform(-0.1, 1.1, 2) * (columns, rows)
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        bend = start + 0.5 * length * along + rng.normal(0, 0.12) * length * across
        points = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * (start + length * along)
        thickness = max(1, round(min(rows, columns) / 250))
        cv2.polylines(canvas, [np.round(points * 16).astype(np.int32)], False, shade, thickness, cv2.LINE_AA, 4)


def _draw_ruler(rng: np.random.Generator, canvas: NDArray[np.uint8]) -> None:
    rows, columns = canvas.shape[:2]
    step = max(4.0, columns / rng.uniform(14, 24))
    for i in range(int(columns / step) + 1):
        length = int(rows * (0.09 if i % 5 == 0 else 0.05))
        cv2.line(canvas, (int(i * step), rows), (int(i * step), rows - length), (30, 28, 34), 1, cv2.LINE_AA)


def _mark(rng: np.random.Generator, canvas: NDArray[np.uint8], mask: Mask) -> None:
    """Draw a colour sticker at the edge, or strokes of a violet pen beside the lesion."""
    rows, columns = canvas.shape[:2]
    if rng.uniform() < 0.5:
        paint = ((222, 172, 60), (70, 110, 190), (80, 150, 90), (190, 70, 80))[rng.integers(4)]
        corner = (int(rng.integers(2)) * columns, int(rng.uniform(0.1, 0.9) * rows))
        sticker = np.zeros(mask.shape, np.uint8)
        cv2.circle(sticker, corner, int(0.22 * min(rows, columns)), 1, -1)
    else:
        paint = (92, 66, 150)
        sticker = np.zeros(mask.shape, np.uint8)
        for _ in range(3):
            points = rng.uniform(0, 1, (2, 2)) * (columns, rows)
            points[1] = points[0] + rng.normal(0, 0.12, 2) * (columns, rows)
            cv2.polylines(sticker, [points.astype(np.int32)], False, 1, max(2, rows // 45))
    canvas[(sticker > 0) & ~mask] = paint


def _through_tube(rng: np.random.Generator, canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = canvas.shape[:2]
    y, x = np.ogrid[:rows, :columns]
    distance = np.hypot(y - rows * rng.uniform(0.48, 0.52), x - columns * rng.uniform(0.48, 0.52))
    radius = 0.5 * np.hypot(rows, columns) * rng.uniform(0.78, 0.95)
    return to_uint8(canvas / 255.0 * np.clip((radius - distance) / (0.03 * columns), 0.02, 1)[..., None])
