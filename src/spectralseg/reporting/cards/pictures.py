"""Example pictures of a dataset card: the image as JPEG, with the outlines of its labels as vectors."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from numpy.typing import NDArray
from PIL import Image

from spectralseg.data.resize import resize_image
from spectralseg.evaluation.examples import example_rows
from spectralseg.reporting.cards.charts import percent
from spectralseg.reporting.cards.measures import Measures
from spectralseg.reporting.drawing.images import class_colour, detail, shown_image

COUNT = 12
_LARGEST = 256
_QUALITY = 88
_TOLERANCE, _RELATIVE_TOLERANCE = 0.7, 0.01  # largest deviation of an outline, in pixels and as share of its length
_MANY = 30


@dataclass(frozen=True)
class Outline:
    """The outline of one class: its name, its colour, and an SVG path in pixels of the picture."""

    name: str
    colour: str
    path: str


@dataclass(frozen=True)
class Example:
    """One example: case, lines of its caption, picture as base64 JPEG, its side in prepared pixels, outlines."""

    case: str
    caption: tuple[str, ...]
    jpeg: str
    side: int
    outlines: tuple[Outline, ...]

    @property
    def many(self) -> bool:
        """Whether the outlines are so many that thick lines would hide the picture."""
        return sum(outline.path.count("M") for outline in self.outlines) > _MANY


def examples(measures: Measures) -> list[Example]:
    """Up to :data:`COUNT` examples, divided equally among the parts as far as they have cases.

    If the dataset has a case without foreground, the first takes the last place of its part.
    """
    data = measures.data
    places = _places(measures.counts["cases"], COUNT)
    empty = data.cases.iloc[measures.empty_cases[:1]]
    selected = []
    for part in measures.parts:
        last = [(str(case), int(first)) for case, first in empty[empty["part"] == part][["case", "first"]].to_numpy()]
        rows = dict.fromkeys([*example_rows(data, places[part] - len(last), part), *last])
        selected += [_example(measures, case, row) for case, row in rows]
    return selected


def rules(measures: Measures) -> str:
    """How the examples are selected and shown."""
    empty = len(measures.empty_cases)
    slices = ", with the slice of the largest foreground" if measures.volumes else ""
    sentences = [f"Cases at evenly spaced quantiles of foreground area in each part{slices}."]
    if empty:
        sentences.append(f"The first of {empty} cases without foreground takes the last place of its part.")
    return " ".join([*sentences, "Images are prepared, thus square; sizes are native, width × height."])


def outlines(labels: NDArray[np.uint8], classes: list[str]) -> Iterator[Outline]:
    """Smoothed outline of each class in labels (H, W), through the centres of its outermost pixels."""
    for label in np.unique(labels[labels > 0]).tolist():
        contours, _ = cv2.findContours((labels == label).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        path = "".join(f"M{_points(contour)}z" for contour in contours)
        yield Outline(classes[label - 1], to_hex(class_colour(label)), path)


def _places(cases: pd.Series, count: int) -> dict[str, int]:
    """Divide places equally; larger parts get the places that a small part cannot fill."""
    places: dict[str, int] = {}
    for rank, (part, size) in enumerate(cases.sort_values(kind="stable").items()):
        places[str(part)] = min(int(size), (count - sum(places.values())) // (len(cases) - rank))
    return places


def _example(measures: Measures, case: str, row: int) -> Example:
    data, position = measures.data, int(measures.row_cases[row])
    entry, native = data.cases.iloc[position], measures.geometry.iloc[position]
    labels = data.masks[row]
    window = detail(labels > 0)
    visible = np.ascontiguousarray(labels[window])
    share = float(measures.foreground[row])
    size = f"{native['width']:.0f} × {native['height']:.0f} px"
    place = f"slice {row - int(entry['first']) + 1} of {entry['slices']} · " if measures.volumes else ""
    zoom = " · central third" if visible.shape != labels.shape else ""
    return Example(
        case=case,
        caption=(f"{entry['part']} · {size}", f"{place}{percent(share) if share else 'no'} foreground{zoom}"),
        jpeg=jpeg(shown_image(data, row)[window]),
        side=len(visible),
        outlines=tuple(outlines(visible, data.classes)),
    )


def jpeg(image: NDArray[np.float64]) -> str:
    """An image (H, W, 1 or 3) in [0, 1] as JPEG in base64, reduced to at most 256 pixels."""
    plane = image[..., 0] if image.shape[-1] == 1 else image
    if len(plane) > _LARGEST:
        plane = np.clip(resize_image(plane, _LARGEST), 0, 1)
    stream = io.BytesIO()
    Image.fromarray((plane * 255 + 0.5).astype(np.uint8)).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _points(contour: NDArray[Any]) -> str:
    """A contour without its pixel steps, as the points of an SVG path."""
    tolerance = min(_TOLERANCE, _RELATIVE_TOLERANCE * cv2.arcLength(contour, True))
    smooth = cv2.approxPolyDP(contour, tolerance, closed=True)
    return " ".join(f"{x + 0.5:g},{y + 0.5:g}" for x, y in smooth[:, 0].tolist())
