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
from spectralseg.data.readers._polygons import fill_polygon
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
