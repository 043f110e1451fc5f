"""Surface distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree


def hausdorff95(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing: Sequence[float] | None = None,
    definition: Literal["max", "pooled"] = "max",
) -> float:
    """95th percentile of the distances between two surfaces.

    The surface of a mask is what an erosion with direct neighbours removes; the image border counts as outside.

    Args:
        prediction: boolean mask, 2-D or 3-D.
        reference: boolean mask of the same shape.
        spacing: millimetres per axis; None measures in pixels.
        definition: ``max``, the larger of the two directed percentiles (the usual definition; MONAI, Metrics
            Reloaded), or ``pooled``, one percentile over both directed sets together (``medpy.metric.binary.hd95``),
            which can be 0 although the prediction has a far false island.

    Returns:
        Distance in units of ``spacing``; infinity if exactly one mask is empty, NaN if both are.

    Raises:
        ValueError: the shapes differ or the definition is unknown.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {reference.shape}")
    if definition not in ("max", "pooled"):
        raise ValueError(f"definition '{definition}' is unknown; valid: max, pooled")
    first, second = np.asarray(prediction, bool), np.asarray(reference, bool)
    if not first.any() or not second.any():
        return float("nan") if first.any() == second.any() else float("inf")
    box = _bounding_box(first | second)
    scale = np.ones(first.ndim) if spacing is None else np.asarray(spacing, np.float64)
    points = [np.argwhere(_surface(mask[box])) * scale for mask in (first, second)]
    forward = KDTree(points[1]).query(points[0])[0]
    backward = KDTree(points[0]).query(points[1])[0]
    if definition == "pooled":
        return float(np.percentile(np.concatenate([forward, backward]), 95))
    return float(max(np.percentile(forward, 95), np.percentile(backward, 95)))


def diagonal(shape: Sequence[int], spacing: Sequence[float] | None = None) -> float:
    """Length of the image diagonal in units of ``spacing`` (pixels if None): the worst possible distance."""
    return float(np.linalg.norm(np.multiply(shape, 1 if spacing is None else spacing)))


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    surface: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return surface


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The part of the image that matters: cropping to it changes no distance and saves most of the work."""
    box: tuple[slice, ...] = ndimage.find_objects(mask.astype(np.uint8), 1)[0]
    return box
