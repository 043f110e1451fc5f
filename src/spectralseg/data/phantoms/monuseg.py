"""H&E tiles in the layout of MoNuSeg 2018: two archives of TIFF images and Aperio XML polygons.

Irregularities of the original: seven tiles that were added to the training archive later, archive clutter of macOS, two
TIFF compressions, a region with two vertices, vertices outside the image, and overlapping polygons.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from spectralseg.data.phantoms._drawing import generator, spread, texture, to_uint8, zip_members
from spectralseg.data.splits import read_list

TRAIN, TEST = "MoNuSeg 2018 Training Data", "MoNuSegTestData"
LATER_TILES = (
    "TCGA-BC-A217-01Z-00-DX1",
    "TCGA-F9-A8NY-01Z-00-DX1",
    "TCGA-FG-A87N-01Z-00-DX1",
    "TCGA-MH-A561-01Z-00-DX1",
    "TCGA-UZ-A9PJ-01Z-00-DX1",
    "TCGA-UZ-A9PN-01Z-00-DX1",
    "TCGA-XS-A8TJ-01Z-00-DX1",
)
_APPLE_DOUBLE = bytes.fromhex("00051607 00020000") + b"Mac OS X        " + bytes(26)
# Absorption per colour and unit of stain: haematoxylin, eosin, and red blood cells.
_HAEMATOXYLIN = np.array([0.62, 0.72, 0.30], np.float32)
_EOSIN = np.array([0.10, 0.92, 0.38], np.float32)
_BLOOD = np.array([0.08, 1.10, 1.15], np.float32)


def generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]:
    """Write both archives; tiles are twice as large as ``side``. See :mod:`spectralseg.data.phantoms`."""
    parts = read_list("monuseg_official").parts
    train = spread([tile for tile, part in parts.items() if part == "train"], max(1, cases))
    test = spread([tile for tile, part in parts.items() if part == "test"], max(1, cases // 2))
    members: dict[str, bytes] = {f"{TRAIN}/": b"", f"{TRAIN}/Annotations/": b"", f"{TRAIN}/Tissue Images/": b""}
    for tile in sorted((*train, *LATER_TILES)):
        image, polygons = _tile(seed, tile, 2 * side)
        short = [polygons[0][:2]] if tile == train[0] else []
        _add(members, f"{TRAIN}/Annotations/{tile}.xml", _xml(polygons + short))
        _add(members, f"{TRAIN}/Tissue Images/{tile}.tif", _tiff(image, "lzw"))
    archives = [zip_members(folder / f"{TRAIN}.zip", members)]
    members = {f"{TEST}/": b""}
    for tile in test:
        image, polygons = _tile(seed, tile, 2 * side)
        _add(members, f"{TEST}/{tile}.tif", _tiff(image, "packbits"))
        _add(members, f"{TEST}/{tile}.xml", _xml(polygons))
    return [*archives, zip_members(folder / f"{TEST}.zip", members)]


def _add(members: dict[str, bytes], name: str, content: bytes) -> None:
    """Add a file and its AppleDouble file, as written by macOS."""
    parent, _, base = name.rpartition("/")
    members[name] = content
    members[f"__MACOSX/{parent}/._{base}"] = _APPLE_DOUBLE


def _tiff(image: NDArray[np.uint8], compression: str) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, photometric="rgb", compression=compression, metadata=None)
    return stream.getvalue()


def _xml(polygons: list[NDArray[np.float64]]) -> bytes:
    regions = []
    for number, polygon in enumerate(polygons, start=1):
        vertices = "".join(f'\t\t\t\t\t<Vertex X="{x:.6f}" Y="{y:.6f}"/>\n' for x, y in polygon)
        regions.append(
            f'\t\t\t<Region Id="{number}" Type="0" NegativeROA="0" DisplayId="{number}">\n\t\t\t\t<Attributes/>\n'
            f"\t\t\t\t<Vertices>\n{vertices}\t\t\t\t</Vertices>\n\t\t\t</Region>\n"
        )
    text = (
        '<Annotations MicronsPerPixel="0.246800">\n\t<Annotation Id="1" Type="4" Visible="1">\n\t\t<Attributes/>\n'
        f"\t\t<Regions>\n{''.join(regions)}\t\t</Regions>\n\t</Annotation>\n</Annotations>\n"
    )
    return text.encode()


def _tile(seed: int, tile: str, side: int) -> tuple[NDArray[np.uint8], list[NDArray[np.float64]]]:
    """An RGB tile and the outlines of its nuclei, X (column) and Y (row)."""
    rng = generator(seed, "monuseg", tile)
    stroma = texture(rng, (side, side), side / 9)
    haematoxylin, eosin, blood = _background(rng, stroma, side)
    polygons = _draw_nuclei(rng, stroma, haematoxylin, eosin, side)
    _draw_debris(rng, haematoxylin, side)
    colour = [stain * rng.uniform(0.93, 1.07, 3).astype(np.float32) for stain in (_HAEMATOXYLIN, _EOSIN, _BLOOD)]
    amounts = (haematoxylin * rng.uniform(0.85, 1.15), eosin * rng.uniform(0.8, 1.2), blood)
    absorbed = sum(a[..., None] * c for a, c in zip(amounts, colour, strict=True))
    absorbed = ndimage.gaussian_filter(absorbed, (0.6, 0.6, 0))
    light = 0.97 * np.exp(-absorbed) + 0.012 * rng.standard_normal((side, side, 1)).astype(np.float32)
    return to_uint8(light), polygons


def _background(
    rng: np.random.Generator, stroma: NDArray[np.float32], side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Stain amounts without nuclei: cytoplasm, wavy fibres for high ``stroma``, empty lumens, red blood cells."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32) / side
    turn, waves = rng.uniform(0, np.pi), rng.uniform(14, 22)
    along = np.cos(turn) * rows + np.sin(turn) * columns
    fibres = np.sin(2 * np.pi * (waves * along + 1.2 * texture(rng, (side, side), side / 14)))
    fibrous = 1 / (1 + np.exp(-4 * (stroma - 0.5)))
    eosin = 0.42 + 0.09 * texture(rng, (side, side), side / 80) + fibrous * (0.22 + 0.13 * fibres)
    haematoxylin = 0.13 + 0.05 * texture(rng, (side, side), side / 50) - 0.07 * fibrous
    lumen = texture(rng, (side, side), side / 16) > rng.uniform(1.4, 2.2)
    open_space = ndimage.gaussian_filter(lumen.astype(np.float32), side / 200)
    blood = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(2, 12))):
        _, soft, window = _outline(rng, rng.uniform(0, side, 2), side * rng.uniform(0.012, 0.02), 1.1, side)
        blood[window] = np.maximum(blood[window], 0.75 * soft)
    eosin = eosin * (1 - 0.92 * open_space) * (1 - blood)
    return np.maximum(haematoxylin * (1 - open_space), 0), np.maximum(eosin, 0), blood


def _draw_nuclei(
    rng: np.random.Generator,
    stroma: NDArray[np.float32],
    haematoxylin: NDArray[np.float32],
    eosin: NDArray[np.float32],
    side: int,
) -> list[NDArray[np.float64]]:
    """Draw nuclei, crowded outside the stroma and slim within it, and return their outlines."""
    typical, tint = side * rng.uniform(0.029, 0.040), rng.uniform(0.75, 1.2)
    crowding = rng.uniform(0.9, 1.35)
    chromatin = texture(rng, (side, side), max(0.8, typical / 5))
    polygons: list[NDArray[np.float64]] = []
    centres = np.empty((0, 2))
    for _ in range(int(rng.integers(90, 260))):
        centre = rng.uniform(-0.3 * typical, side + 0.3 * typical, 2)
        row, column = np.clip(centre, 0, side - 1).astype(int)
        slim = stroma[row, column] > 0.5
        apart = typical * (2.4 if slim else 1.5) * crowding * rng.uniform(0.8, 1.2)
        if len(centres) and np.hypot(*(centres - centre).T).min() < apart:
            continue
        centres = np.vstack([centres, centre])
        radius = typical * rng.uniform(0.75, 1.3) * (0.8 if slim else 1.0)
        polygon, soft, window = _outline(
            rng, centre, radius, rng.uniform(1.8, 2.6) if slim else rng.uniform(1, 1.5), side
        )
        polygons.append(polygon)
        # Vesicular nuclei are pale with a dark rim, others are evenly dark.
        dark = tint * rng.uniform(0.8, 1.3) * (1.15 if slim else 1.0)
        rim = np.clip(4 * soft * (1 - soft), 0, 1)
        inside = dark * (0.72 + 0.16 * chromatin[window]) + 0.35 * dark * rim
        haematoxylin[window] = haematoxylin[window] * (1 - soft) + soft * np.maximum(inside, 0.1)
        eosin[window] *= 1 - 0.45 * soft
    return polygons


def _draw_debris(rng: np.random.Generator, haematoxylin: NDArray[np.float32], side: int) -> None:
    """Draw dark specks and basophilic haze, which are not labelled."""
    for _ in range(int(rng.integers(6, 20))):
        _, soft, window = _outline(rng, rng.uniform(0, side, 2), side * rng.uniform(0.004, 0.008), 1.3, side)
        haematoxylin[window] += 0.6 * soft
    haze = np.clip(texture(rng, (side, side), side / 12) - 1.0, 0, 1)
    haematoxylin += rng.uniform(0.05, 0.25) * haze


def _outline(
    rng: np.random.Generator, centre: NDArray[np.float64], radius: float, elongation: float, side: int
) -> tuple[NDArray[np.float64], NDArray[np.float32], tuple[slice, slice]]:
    """A roundish outline: its polygon, its soft mask within a window, and the window."""
    amplitudes = rng.normal(0, 0.07, 4) / np.arange(1, 5) ** 0.5
    phases, turn = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0, np.pi)
    harmonics = np.arange(2, 6)

    def reach(angle: NDArray[np.float64]) -> NDArray[np.float64]:
        wobble = (amplitudes * np.cos(harmonics * angle[..., None] + phases)).sum(axis=-1)
        ellipse = np.hypot(np.cos(angle) / elongation**0.5, np.sin(angle) * elongation**0.5)
        distance: NDArray[np.float64] = radius * (1 + wobble) / ellipse
        return distance

    angles = np.linspace(0, 2 * np.pi, int(rng.integers(24, 48)), endpoint=False)
    distance = reach(angles)
    polygon = np.stack(
        [centre[1] + distance * np.cos(angles + turn), centre[0] + distance * np.sin(angles + turn)], axis=1
    )
    (left, top), (right, bottom) = polygon.min(axis=0) - 4, polygon.max(axis=0) + 4
    window = slice(max(0, int(top)), max(0, int(bottom))), slice(max(0, int(left)), max(0, int(right)))
    rows, columns = np.mgrid[window[0].start : min(window[0].stop, side), window[1].start : min(window[1].stop, side)]
    y, x = rows - centre[0], columns - centre[1]
    inside = reach(np.arctan2(y, x) - turn) - np.hypot(y, x)
    return polygon, (1 / (1 + np.exp(-2.2 * inside))).astype(np.float32), window
