"""Label maps of probabilities, at network resolution and in native geometry. This module does not import torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.fit import FITTINGS
from spectralseg.data.specification import Fit

_BLOCK = 1 << 20


def to_labels(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Labels (N, ...) of probabilities (N, C, ...): threshold 0.5 for C = 1, else the most probable class."""
    if probabilities.shape[1] == 1:
        return (probabilities[:, 0] > 0.5).astype(np.uint8)
    # The first class with the maximum, as by argmax, which is many times slower along a short axis.
    largest = probabilities.max(1)
    labels = np.zeros(largest.shape, np.uint8)
    for label in reversed(range(probabilities.shape[1])):
        np.copyto(labels, np.uint8(label), where=probabilities[:, label] == largest)
    return labels


def native_labels(probabilities: NDArray[np.float32], shape: Sequence[int], fit: Fit = "resize") -> NDArray[np.uint8]:
    """Labels in native geometry, slice by slice.

    Resized slices are labelled from bilinearly interpolated probabilities. Only native pixels whose four neighbours
    have different labels are interpolated; if the four labels are equal, any weighted mean of their probabilities has
    the same label. Cropped slices need no interpolation; pixels outside of the crop are background.

    Args:
        probabilities: (N, C, S, S), one row per slice.
        shape: native (H, W) or (D, H, W).
        fit: how slices were brought to the network size.
    """
    if fit == "crop":
        return refit_labels(to_labels(probabilities), shape, fit).reshape(shape)
    labels = np.empty((len(probabilities), *shape[-2:]), np.uint8)
    for plane, plane_labels in zip(probabilities, labels, strict=True):
        _interpolate_labels(plane, plane_labels)
    return labels.reshape(shape)


def refit_labels(labels: NDArray[np.uint8], shape: Sequence[int], fit: Fit) -> NDArray[np.uint8]:
    """Label maps (N, S, S) at native size (N, H, W), without probabilities.

    Args:
        labels: labels at network resolution.
        shape: native (H, W) or (D, H, W).
        fit: how slices were brought to the network size; resized ones are resized by nearest neighbour.
    """
    height, width = shape[-2:]
    return np.stack([FITTINGS[fit].labels(plane, (height, width)) for plane in labels])


def _interpolate_labels(plane: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
    """Write the labels (H, W) of the probabilities ``plane`` (C, S, S) to ``out``."""
    small, pixels = to_labels(plane[None])[0], plane.reshape(len(plane), -1).T.copy()
    side = small.shape[1]
    top, bottom, down = _neighbours(small.shape[0], out.shape[0])
    left, right, across = _neighbours(side, out.shape[1])
    padded = np.pad(small, (0, 1), "edge")
    mixed = (small != padded[1:, :-1]) | (small != padded[:-1, 1:]) | (small != padded[1:, 1:])
    # Blocks of rows limit the memory: a large and noisy image has boundaries everywhere.
    step = max(1, _BLOCK // out.shape[1])
    for start in range(0, len(out), step):
        rows = slice(start, start + step)
        out[rows] = small[top[rows]][:, left]
        row, column = np.divmod(np.flatnonzero(mixed[top[rows]][:, left]), out.shape[1])
        above, below, west, east = top[rows][row] * side, bottom[rows][row] * side, left[column], right[column]
        lower_share, right_share = down[rows][row, None], across[column, None]
        upper = pixels[above + west] * (1 - right_share) + pixels[above + east] * right_share
        lower = pixels[below + west] * (1 - right_share) + pixels[below + east] * right_share
        out[rows][row, column] = to_labels(upper * (1 - lower_share) + lower * lower_share)


def _neighbours(size: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """The two nearest of ``size`` pixels for each of ``target`` pixels along an axis, and the weight of the second."""
    position = np.clip((np.arange(target) + 0.5) * size / target - 0.5, 0, None)
    low = position.astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (position - low).astype(np.float32)
