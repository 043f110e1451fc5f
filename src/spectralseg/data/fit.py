"""How slices reach the square network size, and how label maps return to native size: the key ``fit`` of a dataset.

``resize`` resamples with half-pixel centres (:mod:`spectralseg.data.resize`). ``crop`` crops or zero-pads each axis
about its centre, so that pixels keep their size; what lies outside of the crop is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.resize import resize_image, resize_labels
from spectralseg.data.specification import Fit

_Extent = tuple[float, float]


class Fitting(NamedTuple):
    """Functions of a fit.

    Attributes:
        image: an image (H, W) or (H, W, 3), the side of the square result in pixels, and the extent, see
            :func:`spectralseg.data.resize.resize_image`.
        labels: labels uint8 (H, W) and the shape of the result (rows, columns).
    """

    image: Callable[[NDArray[Any], int, _Extent], NDArray[Any]]
    labels: Callable[[NDArray[np.uint8], tuple[int, int]], NDArray[np.uint8]]


def crop_or_pad(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Crop or zero-pad the first two axes of ``plane`` (H, W, ...) about the centre to ``shape``.

    If the difference of two sides is odd, the side with the larger indices is cropped or padded by one pixel more.
    Cropping what was padded gives the original; padding what was cropped gives the original with zeros outside of the
    crop.
    """
    result = np.zeros((*shape, *plane.shape[2:]), plane.dtype)
    (row, target_row, rows), (column, target_column, columns) = map(_overlap, plane.shape[:2], shape)
    target = result[target_row : target_row + rows, target_column : target_column + columns]
    target[...] = plane[row : row + rows, column : column + columns]
    return result


def _overlap(source: int, target: int) -> tuple[int, int, int]:
    """First common pixel of two concentric sides, by the indices of each side, and the number of common pixels."""
    return max(0, source - target) // 2, max(0, target - source) // 2, min(source, target)


def _crop_image(image: NDArray[Any], size: int, _: _Extent) -> NDArray[Any]:
    return crop_or_pad(image, (size, size))


FITTINGS: Mapping[Fit, Fitting] = {
    "resize": Fitting(resize_image, resize_labels),
    "crop": Fitting(_crop_image, crop_or_pad),
}


def uncropped_side(labels: NDArray[np.uint8], size: int) -> int:
    """The smallest side of at least ``size`` pixels whose crop holds all labelled pixels of ``labels`` (D, H, W)."""
    sides = [size]
    for axis in (1, 2):
        present = np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {axis})))
        if present.size:
            length = labels.shape[axis]
            # The crop to s pixels starts at pixel (length - s) // 2.
            sides += [length - 2 * int(present[0]) - 1, 2 * int(present[-1]) + 2 - length]
    return max(sides)
