"""MoNuSeg 2018 nuclei: H&E tiles (TIFF) and one Aperio XML file of polygons per tile.

Training tiles are in ``MoNuSeg 2018 Training Data/{Tissue Images,Annotations}``, test tiles and their XML files in
``MoNuSegTestData``. The mask is the union of all polygons. A pixel belongs to a polygon if its centre lies inside it or
on its outline.
"""

from __future__ import annotations

import codecs
import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.cases import Case, Sample, find_files, layout_remedy
from spectralseg.data.patterns import composed
from spectralseg.data.readers._formats import decoding
from spectralseg.data.readers._limits import MAX_TEXT_BYTES, regular_file
from spectralseg.data.readers._tiff import read_tile
from spectralseg.errors import InputError

TRAIN = "Tissue[ _]Images"  # some unpacking programs replace spaces
TRAIN_ANNOTATIONS = "Annotations"
TEST = "MoNuSegTestData"
# Tiles have up to about 2000 regions of some hundred vertices. The cost of filling is vertices times rows.
_MOST_REGIONS = 20_000
_MOST_VERTICES = 10_000
_MOST_ELEMENTS = 2**20  # of a file; the largest of the dataset has less than 2**18
_FARTHEST = 1e7  # pixels


def read(root: Path) -> list[Case]:
    """List the tiles of both archives, one case per tile.

    Raises:
        InputError: there is no tile, or a tile has no XML file or vice versa.
    """
    pairs = {path: (path.parent.parent / TRAIN_ANNOTATIONS, "train") for path in find_files(root, f"{TRAIN}/*.tif")}
    pairs |= {path: (path.parent, "test") for path in find_files(root, f"{TEST}/*.tif")}
    if not pairs:
        remedy = layout_remedy(root, f"{TRAIN}/*.tif", f"{TEST}/*.tif", f"{TRAIN_ANNOTATIONS}/*.xml")
        raise InputError(f"{root}: no tile in 'Tissue Images' or '{TEST}'; {remedy}")
    patterns = (f"{TRAIN_ANNOTATIONS}/*.xml", f"{TEST}/*.xml")
    annotations = {(p.parent, composed(p.stem)): p for pattern in patterns for p in find_files(root, pattern)}
    cases, used = [], set()
    for path, (folder, archive) in pairs.items():
        name = composed(path.stem)
        if (folder, name) not in annotations:
            raise InputError(
                f"{folder / path.stem}.xml: the annotation of tile {path.name} is missing; restore it from the archive"
            )
        used.add((folder, name))
        attributes = {"participant": "-".join(name.split("-")[:3]), "archive": archive}
        cases.append(Case(name, name, partial(_load, path, annotations[folder, name]), attributes, path))
    for key in sorted(annotations.keys() - used):
        orphan = annotations[key]
        raise InputError(f"{orphan}: its tile {orphan.stem}.tif is missing; restore it from the archive")
    return cases


def _load(image_path: Path, polygons: Path) -> Sample:
    with decoding(image_path, "a TIFF image"):
        image, picture = read_tile(image_path)
    mask = np.zeros(picture.shape, np.uint8)
    skipped = Counter(fill_polygon(mask, polygon) for polygon in read_polygons(polygons))
    remarks = [f"{count} regions {reason} left out" for reason, count in sorted(skipped.items()) if reason]
    if picture.turned:
        remarks.append("orientation tag of the image ignored")
    return Sample(image, mask, remarks=tuple(remarks))


def read_polygons(path: Path) -> list[NDArray[np.float64]]:
    """Polygons of an Aperio XML file as (N, 2) arrays of X (column) and Y (row).

    Raises:
        InputError: the file is not Aperio XML, has no or too many regions, or declares a document type.
    """
    regular_file(path, MAX_TEXT_BYTES)
    with decoding(path, "an Aperio XML annotation"):
        content = path.read_bytes()
        # Only ASCII numbers in attributes are used, so that undecodable characters elsewhere are harmless.
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if wide else "utf-8-sig", errors="replace")
        _refuse_bomb(path, text)
        tree = ElementTree.fromstring(text)
    regions = list(tree.iter("Region"))
    if tree.tag != "Annotations" or not regions:
        raise InputError(f"{path}: holds no annotated region; replace it by an intact copy from the official archive")
    if len(regions) > _MOST_REGIONS:
        raise InputError(f"{path}: holds more than {_MOST_REGIONS} regions; replace it by an intact copy")
    return [np.array(list(_vertices(path, region))).reshape(-1, 2) for region in regions]


def _refuse_bomb(path: Path, text: str) -> None:
    """Refuse document types, which can declare expanding or external entities, and too many elements."""
    left = _MOST_ELEMENTS

    def refuse(*_: object) -> None:
        raise InputError(f"{path}: declares a document type, which is refused; use the published file")

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise InputError(f"{path}: holds more than {_MOST_ELEMENTS} elements; use the published file")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = count
    parser.Parse(text, True)


def _vertices(path: Path, region: ElementTree.Element) -> Iterator[tuple[float, float]]:
    vertices = list(region.iter("Vertex"))
    if len(vertices) > _MOST_VERTICES:
        raise InputError(f"{path}: region {region.get('Id')} has more than {_MOST_VERTICES} vertices; fix the file")
    for vertex in vertices:
        try:
            x, y = float(vertex.attrib["X"]), float(vertex.attrib["Y"])
        except (KeyError, ValueError):
            x = y = math.nan
        if not (abs(x) < _FARTHEST and abs(y) < _FARTHEST):
            raise InputError(
                f"{path}: region {region.get('Id')} has a vertex whose X and Y are not numbers, or lie far outside; "
                "fix the file"
            )
        yield x, y


def fill_polygon(mask: NDArray[np.uint8], polygon: NDArray[np.float64]) -> str:
    """Set pixels whose centre (integer coordinates) lies inside a polygon, by the even-odd rule, or on its outline.

    Vertices may lie outside the mask. Polygons with fewer than three vertices are skipped.

    Args:
        mask: uint8 (H, W), changed in place.
        polygon: (N, 2) vertices, X (column) and Y (row).

    Returns:
        Why the polygon was skipped; empty if it was filled.
    """
    if len(polygon) < 3:
        return "of fewer than three vertices"
    height, width = mask.shape
    left, top = (max(0, math.ceil(value)) for value in polygon.min(axis=0))
    right, bottom = (
        min(size, math.floor(value) + 1) for size, value in zip((width, height), polygon.max(axis=0), strict=True)
    )
    if left >= right or top >= bottom:
        return "outside the image"
    start = polygon - (left, top)
    window = mask[top:bottom, left:right]
    window |= _interior(start, window.shape)
    _draw_outline(window, start)
    return ""


def _interior(start: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pixels with an odd number of crossings to their left or at their centre."""
    rows = np.arange(shape[0])[:, None]
    end = np.roll(start, -1, axis=0)
    # Half-open in y, so that a row through a vertex crosses exactly one of its two edges.
    row, edge = np.nonzero((start[:, 1] <= rows) != (end[:, 1] <= rows))
    at = _column(start[edge], end[edge], row)
    toggles = np.zeros((shape[0], shape[1] + 1), np.intp)
    np.add.at(toggles, (row, np.clip(np.ceil(at), 0, shape[1]).astype(int)), 1)
    odd: NDArray[np.uint8] = (toggles.cumsum(axis=1)[:, :-1] % 2).astype(np.uint8)
    return odd


def _draw_outline(window: NDArray[np.uint8], start: NDArray[np.float64]) -> None:
    """Set pixels whose centre lies on an edge, which is common, as many annotations have integer vertices."""
    height, width = window.shape
    end = np.roll(start, -1, axis=0)
    rows = np.arange(height)[:, None]
    low, high = np.minimum(start, end), np.maximum(start, end)
    row, edge = np.nonzero((low[:, 1] <= rows) & (rows <= high[:, 1]) & (low[:, 1] < high[:, 1]))
    at = _column(start[edge], end[edge], row)
    column = np.rint(at).astype(int)
    on_edge = (np.abs(at - column) < 1e-6) & (column >= 0) & (column < width)
    window[row[on_edge], column[on_edge]] = 1
    flat = (low[:, 1] == high[:, 1]) & (low[:, 1] % 1 == 0) & (low[:, 1] >= 0) & (low[:, 1] < height)
    for (first, y), (last, _) in zip(low[flat], high[flat], strict=True):
        window[int(y), max(0, math.ceil(first)) : max(0, math.floor(last) + 1)] = 1


def _column(start: NDArray[np.float64], end: NDArray[np.float64], row: NDArray[np.intp]) -> NDArray[np.float64]:
    """Columns where edges, which are not horizontal, cross rows."""
    (x0, y0), (x1, y1) = start.T, end.T
    crossing: NDArray[np.float64] = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
    return crossing
