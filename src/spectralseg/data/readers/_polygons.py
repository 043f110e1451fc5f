"""Polygons of annotations as masks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def fill_polygon(mask: NDArray[np.uint8], polygon: NDArray[np.float64], *, outline: bool = True) -> str:
    """Set pixels whose centre (integer coordinates) lies inside a polygon, by the even-odd rule, or on its outline.

    Vertices may lie outside the mask. Polygons with fewer than three vertices are skipped.

    Args:
        mask: uint8 (H, W), changed in place.
        polygon: (N, 2) vertices, X (column) and Y (row).
        outline: whether all pixels on the outline belong to the polygon. Otherwise those on its left and upper sides
            do, so that polygons with a common side share no pixel, and areas are exact on average.

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
    if outline:
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
