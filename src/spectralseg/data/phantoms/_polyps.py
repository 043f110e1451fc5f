"""Colonoscopy frames with polyps for the phantoms of Kvasir-SEG and PolypGen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from spectralseg.data.phantoms._drawing import blob, clouds, colour, to_uint8

Floats = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Look:
    """Appearance of the frames of a centre: endoscopes, light and patients.

    Attributes:
        tint: factor per colour, red first.
        exposure: factor of the brightness.
        contrast: mean contrast of polyps to the surrounding mucosa.
        radius: range of radii of polyps, relative to the shorter side.
        blur: standard deviation of the defocus, relative to the shorter side.
        highlights: share of the surface with specular highlights.
        frame: shape of the visible field.
    """

    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exposure: float = 1.0
    contrast: float = 0.9
    radius: tuple[float, float] = (0.18, 0.44)
    blur: float = 0.004
    highlights: float = 0.012
    frame: Literal["octagon", "round", "corner", "full"] = "octagon"


def draw(
    rng: np.random.Generator, shape: tuple[int, int], look: Look, *, empty: bool = False
) -> tuple[NDArray[np.uint8], Mask]:
    """One RGB frame of ``shape`` (rows, columns) and its polyp mask; with ``empty``, there is no polyp."""
    y, x = _axes(shape)
    light, lumen = _folds(rng, shape, y, x)
    tissue = _mucosa(rng, shape)
    mask = np.zeros(shape, bool) if empty else _outline(rng, shape, look)
    wet = clouds(rng, shape, 0.035 * min(shape)) + 0.5 * clouds(rng, shape, 0.3 * min(shape)) + 3 * light - 6 * lumen
    if not empty:
        tissue, shade, dome = _protrude(rng, tissue, mask, look)
        # Polyps are in front of folds and lumen.
        cover = _soften(mask, 0.01)
        light = (light * (1 - 0.8 * cover) + 0.8 * 0.9 * cover) * shade
        lumen = lumen * (1 - cover)
        wet += 0.8 * dome
    picture: Any = tissue * (light * (1 - 0.9 * lumen))[..., None]
    picture *= (look.exposure * rng.uniform(0.88, 1.12) * _vignette(rng, y, x))[..., None]
    picture = picture * colour(*look.tint)
    picture = _glare(picture, wet, look.highlights * rng.uniform(0.3, 1.8))
    picture = cv2.GaussianBlur(picture, (0, 0), max(0.35, look.blur * min(shape) * rng.uniform(0.7, 1.5)))
    picture += rng.normal(0, 0.012, picture.shape).astype(np.float32)
    visible = _field(look.frame, y, x, rng)
    mask = mask & visible
    return _overlay(rng, to_uint8(picture * visible[..., None]), look), mask


def _axes(shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Coordinates from the centre, in units of half the shorter side."""
    half = min(shape) / 2
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y - shape[0] / 2) / half).astype(np.float32), ((x - shape[1] / 2) / half).astype(np.float32)


def _soften(mask: Mask, sigma: float) -> Floats:
    soft: Floats = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.5, sigma * min(mask.shape)))
    return soft


def _folds(rng: np.random.Generator, shape: tuple[int, int], y: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Light on the ring-shaped folds around the lumen, and the share of lumen per pixel."""
    side = min(shape)
    away, angle = rng.uniform(0.2, 1.1), rng.uniform(0, 2 * np.pi)
    distance = np.hypot(y - away * np.sin(angle), x - away * np.cos(angle))
    distance = distance * (1 + 0.12 * clouds(rng, shape, 0.4 * side)) + 0.06 * clouds(rng, shape, 0.2 * side)
    phase = rng.uniform(6, 11) * np.log(np.maximum(distance, 0.0) + 0.25) + rng.uniform(0, 2 * np.pi)
    # Folds are steeper towards the lumen, and fade along their length.
    ridge = np.sin(phase + 0.75 * np.sin(phase))
    strength = rng.uniform(0.12, 0.34) * np.clip(0.6 + 0.5 * clouds(rng, shape, 0.45 * side), 0, 1)
    light = 0.86 + strength * ridge + 0.05 * clouds(rng, shape, 0.25 * side)
    radius = rng.uniform(0.0, 0.42)
    lumen = 1 / (1 + np.exp((distance - radius) / 0.05)) if radius > 0.12 else np.zeros(shape)
    return light.astype(np.float32), lumen.astype(np.float32)


def _mucosa(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Pink to orange mucosa with red patches and vessels."""
    side = min(shape)
    base = colour(0.86, rng.uniform(0.44, 0.58), 0.0)
    base[2] = base[1] * rng.uniform(0.74, 0.95)
    redness = 0.05 * clouds(rng, shape, 0.3 * side) + 0.025 * clouds(rng, shape, 0.05 * side)
    net = sum(np.exp(-((clouds(rng, shape, part * side) / 0.09) ** 2)) for part in (0.09, 0.16))
    redness += rng.uniform(0, 0.16) * net * np.clip(0.4 + clouds(rng, shape, 0.3 * side), 0, 1)
    # Inflamed patches are as red as polyps, but flat and without edges.
    redness += rng.uniform(0, 0.14) * np.clip(clouds(rng, shape, 0.22 * side) - 0.8, 0, 1)
    mucosa: Floats = base * np.exp(-redness[..., None] * colour(0.5, 2.2, 2.0))
    return mucosa


def _outline(rng: np.random.Generator, shape: tuple[int, int], look: Look) -> Mask:
    side = min(shape)
    # Small polyps are more frequent than large ones.
    radius = side * (look.radius[0] + (look.radius[1] - look.radius[0]) * rng.uniform() ** 1.2)
    flattening = rng.uniform(0.65, 1.0)
    centre = (shape[0] * rng.uniform(0.27, 0.73), shape[1] * rng.uniform(0.27, 0.73))
    angle = rng.uniform(0, np.pi)
    mask = blob(rng, shape, centre, (radius, radius * flattening), angle=angle, wobble=rng.uniform(0.04, 0.16))
    if rng.uniform() < 0.3:
        turn, away = rng.uniform(0, 2 * np.pi), 0.75 * radius
        lobe = (centre[0] + away * np.sin(turn), centre[1] + away * np.cos(turn))
        mask |= blob(rng, shape, lobe, (0.62 * radius, 0.55 * radius), angle=turn, wobble=0.08)
    return mask


def _protrude(rng: np.random.Generator, mucosa: Floats, mask: Mask, look: Look) -> tuple[Floats, Floats, Floats]:
    """Colour of the frame with the polyp, shading of the polyp, and its relative height."""
    shape = (mask.shape[0], mask.shape[1])
    inside: Floats = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    radius = max(float(inside.max()), 1.0)
    dome = np.sqrt(np.clip(1 - (1 - inside / radius) ** 2, 0, 1))
    contrast = look.contrast * rng.uniform(0.6, 1.5)
    bumps = clouds(rng, shape, 0.3 * radius) + 0.7 * clouds(rng, shape, max(1.5, 0.12 * radius))
    height = cv2.GaussianBlur(dome * radius * (0.9 + 0.05 * bumps), (0, 0), max(0.8, 0.06 * radius))
    slope_y, slope_x = np.gradient(height)
    angle = rng.uniform(0, 2 * np.pi)
    facing = (1 + 0.55 * (np.sin(angle) * slope_y + np.cos(angle) * slope_x)) / np.sqrt(1 + slope_y**2 + slope_x**2)
    shade = 1 + contrast * 0.55 * (facing - 1) * (_soften(mask, 0.01) > 0.02)
    shade *= 1 - contrast * _cast_shadow(mask, angle, radius)

    cover = _soften(mask, 0.012)[..., None]
    pits = np.clip(clouds(rng, shape, max(1.6, 0.13 * radius)), -2, 2)[..., None]
    change = contrast * colour(*_COMPLEXIONS[rng.integers(len(_COMPLEXIONS))])
    tissue = mucosa.mean(axis=(0, 1)) * 0.5 + mucosa * 0.5
    tissue = tissue * np.exp(change + 0.07 * contrast * pits * colour(0.5, 1.3, 1.2))
    blended: Floats = mucosa * (1 - cover) + tissue * cover
    return blended, shade.astype(np.float32), dome.astype(np.float32)


# Redder, browner and (rarely) paler than the mucosa, as logarithms per colour.
_COMPLEXIONS = (
    (0.06, -0.42, -0.38),
    (0.02, -0.50, -0.40),
    (0.0, -0.36, -0.30),
    (-0.08, -0.32, -0.48),
    (0.04, -0.46, -0.44),
    (0.14, 0.16, 0.18),
)


def _cast_shadow(mask: Mask, angle: float, radius: float) -> Floats:
    """Shadow of the polyp on the mucosa: a crescent on the side away from the light."""
    shift = np.array([[1, 0, 0.28 * radius * np.cos(angle)], [0, 1, 0.28 * radius * np.sin(angle)]])
    moved: Floats = cv2.warpAffine(_soften(mask, 0.02), shift, (mask.shape[1], mask.shape[0]))
    shadow: Floats = 0.45 * moved * (1 - _soften(mask, 0.006))
    return shadow


def _vignette(rng: np.random.Generator, y: Floats, x: Floats) -> Floats:
    fall = rng.uniform(0.12, 0.3)
    return np.clip(1.05 - fall * ((y - rng.uniform(-0.3, 0.3)) ** 2 + (x - rng.uniform(-0.3, 0.3)) ** 2), 0.15, None)


def _glare(picture: Floats, wet: Floats, share: float) -> Floats:
    """Add white highlights to the given share of pixels, where ``wet`` is largest."""
    limit = float(np.quantile(wet, 1 - share))
    glare = np.clip((wet - limit) / 0.12, 0, 1)[..., None]
    mixed: Floats = picture * (1 - glare) + colour(0.98, 0.97, 0.95) * glare
    return mixed


def _field(frame: str, y: Floats, x: Floats, rng: np.random.Generator) -> Mask:
    """Mask of the visible field of the frame."""
    width = float(np.abs(x).max())
    field: Mask = np.ones(np.broadcast_shapes(y.shape, x.shape), bool)
    if frame == "octagon":
        field &= (np.abs(x) < 0.98 * width) & (np.abs(y) + np.abs(x) / width < rng.uniform(1.48, 1.6))
    elif frame == "round":
        field &= np.hypot(y, x * 1.12 / width) < 1.13
    elif frame == "corner":
        field &= np.hypot(y, x / width) < rng.uniform(1.15, 1.25)
    return field


def _overlay(rng: np.random.Generator, picture: NDArray[np.uint8], look: Look) -> NDArray[np.uint8]:
    """Draw overlays of the video processor: numbers in the margin, or the position of the endoscope."""
    rows, columns = picture.shape[:2]
    canvas: NDArray[Any] = np.ascontiguousarray(picture)
    if look.frame == "octagon" and rng.uniform() < 0.35:
        top, right = int(rows * rng.uniform(0.68, 0.74)), int(columns * 0.24)
        cv2.rectangle(canvas, (1, top), (right, rows - 2), (16, 62, 58), -1)
        path = np.cumsum(rng.normal(0, 1, (7, 2)), axis=0)
        path = (path - path.min(0)) / np.maximum(np.ptp(path, axis=0), 1e-6)
        points = path * [0.7 * right, 0.7 * (rows - top)] + [0.15 * right, top + 0.15 * (rows - top)]
        cv2.polylines(canvas, [points.astype(np.int32)], False, (196, 210, 90), 1, cv2.LINE_AA)
    elif look.frame in ("octagon", "round") and rng.uniform() < 0.5:
        for line in range(3):
            row = int(rows * (0.3 + 0.05 * line))
            cv2.putText(
                canvas, str(rng.integers(100, 9999)), (1, row), cv2.FONT_HERSHEY_PLAIN, rows / 360, (225, 225, 225)
            )
    return canvas
