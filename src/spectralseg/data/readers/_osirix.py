"""Regions of interest that OsiriX exports as a property list (XML): the annotations of COCA."""

from __future__ import annotations

import math
import plistlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from spectralseg.data.readers._formats import decoding
from spectralseg.data.readers._limits import MAX_TEXT_BYTES, regular_file
from spectralseg.errors import InputError

_MOST_REGIONS = 20_000
_MOST_VERTICES = 10_000
_FARTHEST = 1e5  # pixels or millimetres


class Region(BaseModel, frozen=True):
    """A region of interest.

    Attributes:
        name: as the annotator gave it, normally of an artery.
        area: in square centimetres; NaN if not stored.
        maximum: of its pixels, in Hounsfield units; NaN if not stored.
        mean: of its pixels, in Hounsfield units; NaN if not stored.
        points_px: ``(column, row)`` of each vertex, as text.
        points_mm: ``(left, posterior, superior)`` of each vertex in millimetres, as text.
    """

    name: str = Field("", alias="Name")
    area: float = Field(math.nan, alias="Area")
    maximum: float = Field(math.nan, alias="Max")
    mean: float = Field(math.nan, alias="Mean")
    points_px: tuple[str, ...] = Field((), alias="Point_px", max_length=_MOST_VERTICES)
    points_mm: tuple[str, ...] = Field((), alias="Point_mm", max_length=_MOST_VERTICES)

    @property
    def defect(self) -> str:
        """Why the region has no interior; empty if it has."""
        if max(len(self.points_px), len(self.points_mm)) < 3:
            return "of fewer than three points"
        return "of area zero" if self.area == 0 else ""


class AnnotatedImage(BaseModel, frozen=True):
    """The regions of a slice.

    Attributes:
        index: of the slice. Its origin and direction are not documented, see :mod:`spectralseg.data.readers.coca`.
        count: number of regions; 0 if not stored.
        regions: regions of interest of the slice.
    """

    index: int = Field(alias="ImageIndex")
    count: int = Field(0, alias="NumberOfROIs")
    regions: tuple[Region, ...] = Field((), alias="ROIs", max_length=_MOST_REGIONS)


class Annotation(BaseModel, frozen=True):
    """An annotation file; ``images`` is empty if nothing was marked."""

    images: tuple[AnnotatedImage, ...] = Field(alias="Images", max_length=_MOST_REGIONS)


def read_annotation(path: Path) -> Annotation:
    """Read the regions of all slices.

    Raises:
        InputError: the file is not a property list in XML, an entry is missing or of the wrong type, or an image has
            fewer regions than it says.
    """
    regular_file(path, MAX_TEXT_BYTES)
    with decoding(path, "an annotation of OsiriX"), path.open("rb") as stream:
        content = plistlib.load(stream, fmt=plistlib.FMT_XML)  # refuses declarations of entities
        try:
            # Of nothing marked, the list may be empty, or missing with all other keys.
            annotation = Annotation.model_validate({"Images": []} if content == {} else content)
        except ValidationError as error:
            first = error.errors()[0]
            entry = ".".join(map(str, first["loc"])) or "the top level"
            raise InputError(f"{path}: {entry}: {first['msg']}; replace it by an intact copy") from None
    for image in annotation.images:
        if len(image.regions) < image.count:
            raise InputError(
                f"{path}: image {image.index} has {len(image.regions)} of {image.count} regions; replace it by an "
                "intact copy or exclude the case"
            )
    return annotation


def vertices(path: Path, points: tuple[str, ...], axes: int) -> NDArray[np.float64]:
    """Coordinates from texts such as ``(231.4, 187.0)``, float64 (N, ``axes``).

    Args:
        path: annotation file, for error messages.
        points: one text per vertex.
        axes: numbers per vertex.

    Raises:
        InputError: a text does not contain the numbers, or they are not finite or extremely large.
    """
    coordinates = np.full((len(points), axes), np.nan)
    for row, point in zip(coordinates, points, strict=True):
        try:
            row[:] = [float(number) for number in point.strip().removeprefix("(").removesuffix(")").split(",")]
        except ValueError:
            row[:] = np.nan
        if not (np.abs(row) < _FARTHEST).all():
            raise InputError(f"{path}: point '{point[:60]}' is not {axes} numbers, or lies far outside; fix the file")
    return coordinates
