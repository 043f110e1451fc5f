"""Surface distances, and what is computed from them.

The surface of a mask is what an erosion with direct neighbours removes; the image border counts as outside.

Masks are boolean arrays, (H, W) of one image or (D, H, W) of one volume; other numeric types are accepted where all
values are 0 or 1. An array (1, H, W) is a volume of one slice, whose mask is all surface: remove channel axes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from spectralseg.metrics._arguments import binary_masks, non_negative

Definition = Literal["max", "pooled"]
# Relative: far above the rounding of spacings in single precision, as NIfTI stores them, and far below any voxel.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, measured once; every metric of the pair follows from them.

    Attributes:
        forward: from each surface pixel of the prediction to the nearest one of the reference, float64 (n,), in
            units of the spacing. Infinite where the reference is empty.
        backward: the same from the reference to the prediction, float64 (m,).
    """

    forward: NDArray[np.float64]
    backward: NDArray[np.float64]

    @classmethod
    def between(
        cls, prediction: NDArray[Any], reference: NDArray[Any], spacing: Sequence[float] | None = None
    ) -> SurfaceDistances:
        """Measure two masks.

        Args:
            prediction: boolean mask, 2-D or 3-D.
            reference: boolean mask of the same shape.
            spacing: millimetres per axis; None measures in pixels.

        Raises:
            ValueError: a mask is not 2-D or 3-D or has values other than 0 and 1, the shapes differ, or the spacing is
                not one positive number per axis.
        """
        first, second = binary_masks(prediction, reference)
        # Cropping changes no distance and saves most of the work.
        box = bounding_box(first | second)
        surfaces = [_padded_surface(mask[box]) for mask in (first, second)]
        scale = _scale(spacing, first.ndim)
        # np.argwhere and indexing by a mask would do, but take several times as long.
        places = [np.flatnonzero(found) for found in surfaces]
        points = [np.stack(np.unravel_index(found, surfaces[0].shape), 1) * scale for found in places]
        common = (surfaces[0] & surfaces[1]).ravel()
        forward, backward = (_distances(points[i], points[1 - i], common[places[i]]) for i in (0, 1))
        return cls(forward, backward)

    @cached_property
    def both(self) -> NDArray[np.float64]:
        """The distances of both directions."""
        return np.concatenate([self.forward, self.backward])

    def hausdorff95(self, definition: Definition = "max") -> float:
        """See :func:`hausdorff95`."""
        if definition not in get_args(Definition):
            raise ValueError(f"definition '{definition}' is unknown; valid: {', '.join(get_args(Definition))}")
        if not (self.forward.size and self.backward.size):
            return float("inf") if self.both.size else float("nan")
        sets = [self.both] if definition == "pooled" else [self.forward, self.backward]
        return max(_percentile(distances, 95) for distances in sets)

    def average(self) -> float:
        """See :func:`average_surface_distance`."""
        return float(self.both.mean()) if self.both.size else float("nan")

    def normalized_dice(self, tolerance: float) -> float:
        """See :func:`normalized_surface_dice`."""
        close = _within(self.both, non_negative("tolerance", tolerance))
        return float(close.mean()) if close.size else float("nan")


def hausdorff95(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing: Sequence[float] | None = None,
    definition: Definition = "max",
) -> float:
    """95th percentile of the distances between two surfaces.

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
        ValueError: a mask is not 2-D or 3-D or has values other than 0 and 1, the shapes differ, the definition is
            unknown, or the spacing is not one positive number per axis.
    """
    return SurfaceDistances.between(prediction, reference, spacing).hausdorff95(definition)


def average_surface_distance(
    prediction: NDArray[Any], reference: NDArray[Any], spacing: Sequence[float] | None = None
) -> float:
    """Average symmetric surface distance (ASSD): the mean over the surface pixels of both masks (Heimann et al. 2009).

    Arguments, empty masks and errors as for :func:`hausdorff95`. Every pixel counts alike, as in
    ``medpy.metric.binary.assd`` 0.5; the mean of the two directed means differs where the surfaces differ in size.
    """
    return SurfaceDistances.between(prediction, reference, spacing).average()


def normalized_surface_dice(
    prediction: NDArray[Any], reference: NDArray[Any], tolerance: float, spacing: Sequence[float] | None = None
) -> float:
    """Share of the surface pixels of both masks within ``tolerance`` of the other surface (NSD, Nikolov et al. 2018).

    Surface pixels count alike, without weights by area, as in MONAI and Metrics Reloaded.

    Args:
        prediction: boolean mask, 2-D or 3-D.
        reference: boolean mask of the same shape.
        tolerance: in units of ``spacing``; a distance equal to it, up to a relative rounding of 1e-6, is within.
        spacing: millimetres per axis; None measures in pixels.

    Returns:
        A share in [0, 1]; 0 if exactly one mask is empty, NaN if both are.

    Raises:
        ValueError: as for :func:`hausdorff95`, or the tolerance is not a finite number of 0 or more.
    """
    return SurfaceDistances.between(prediction, reference, spacing).normalized_dice(tolerance)


def boundary_iou(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing: Sequence[float] | None = None,
    width: float | None = None,
) -> float:
    """IoU of the inner boundary bands of two masks (Cheng et al. 2021).

    The band of a mask is what repeated erosion with all neighbours removes, over ``width`` rounded to pixels (half a
    pixel to the even number, as its authors do), along each axis at least one; the image border counts as outside. An
    object thinner than two bands is all band, so that the value is its IoU.

    Args:
        prediction: boolean mask, 2-D or 3-D.
        reference: boolean mask of the same shape.
        spacing: millimetres per axis; None measures in pixels.
        width: of the band in units of ``spacing``; None takes 2 % of the image diagonal, as its authors do.

    Returns:
        A share in [0, 1]; 0 if exactly one mask is empty, NaN if both are.

    Raises:
        ValueError: as for :func:`hausdorff95`, or the width is not a finite number of 0 or more.
    """
    first, second = binary_masks(prediction, reference)
    width = boundary_width(first.shape, spacing) if width is None else non_negative("width", width)
    # Six decimals first, lest the rounding of a quotient decide on which side of half a pixel it is.
    steps = np.rint(np.round(width / _scale(spacing, first.ndim), 6))
    reach = np.clip(steps, 1, np.maximum(1, first.shape)).astype(int)
    box = bounding_box(first | second)
    bands = [mask & ~_eroded(mask, reach) for mask in (first[box], second[box])]
    union = np.count_nonzero(bands[0] | bands[1])
    return int(np.count_nonzero(bands[0] & bands[1])) / int(union) if union else float("nan")


def boundary_width(shape: Sequence[int], spacing: Sequence[float] | None = None) -> float:
    """2 % of the image diagonal in units of ``spacing``: the usual width of the band of :func:`boundary_iou`."""
    return 0.02 * diagonal(shape, spacing)


def boundary_band(prediction: NDArray[Any], reference: NDArray[Any], width: float = 10) -> NDArray[np.bool_]:
    """Pixels within ``width`` pixels of the surface of either mask, slice by slice.

    Args:
        prediction: boolean masks (N, H, W).
        reference: boolean masks of the same shape.
        width: largest Euclidean distance in pixels, on either side.

    Returns:
        Boolean (N, H, W); nothing in slices without a surface.

    Raises:
        ValueError: the masks are not (N, H, W) of one shape with values 0 and 1, or the width is not a finite number of
            0 or more.
    """
    masks, width = binary_masks(prediction, reference), non_negative("width", width)
    if masks[0].ndim != 3:
        raise ValueError(f"the masks have the shape {masks[0].shape}; pass slices (N, H, W)")
    band = np.zeros(masks[0].shape, bool)
    for first, second, found in zip(*masks, band, strict=True):
        if first.any() or second.any():
            away = (~(surface(first) | surface(second))).view(np.uint8)
            found[:] = _within(cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), width)
    return band


def diagonal(shape: Sequence[int], spacing: Sequence[float] | None = None) -> float:
    """Length of the image diagonal in units of ``spacing`` (pixels if None): the worst possible distance."""
    return float(np.linalg.norm(np.multiply(shape, _scale(spacing, len(shape)))))


def bounding_box(mask: NDArray[Any]) -> tuple[slice, ...]:
    """The smallest box that holds all of a mask or of labels; one without any pixel if there is nothing."""
    box: tuple[slice, ...] = ()
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        found = np.flatnonzero(mask[box].any(others))
        box = (*box, slice(found[0], found[-1] + 1) if found.size else slice(0, 0))
    return box


def surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What an erosion with direct neighbours removes from a mask; outside of the image is background."""
    return _padded_surface(mask)[(slice(1, -1),) * mask.ndim]


def _padded_surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The :func:`surface` with a margin of one pixel, which is nobody's, on every side."""
    padded = np.zeros([length + 2 for length in mask.shape], bool)
    padded[(slice(1, -1),) * mask.ndim] = mask
    # Neighbours are a fixed number of places apart, and whole rows of an unfolded array are compared fastest.
    pixels, places = padded.reshape(-1), padded.strides
    margin = max(places)
    core = slice(margin, pixels.size - margin)
    inner = pixels[core].copy()
    for place in places:
        inner &= pixels[core.start - place : core.stop - place]
        inner &= pixels[core.start + place : core.stop + place]
    pixels[core] ^= inner
    return padded


def _scale(spacing: Sequence[float] | None, dimensions: int) -> NDArray[np.float64]:
    """Length of a step along each axis, float64 (dimensions,)."""
    scale = np.ones(dimensions) if spacing is None else np.asarray(spacing, np.float64)
    if scale.shape != (dimensions,) or not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"spacing {spacing} is not one positive number for each of {dimensions} axes")
    return scale


def _within(distances: NDArray[Any], limit: float) -> NDArray[np.bool_]:
    """Which distances are at most ``limit``, up to rounding: 5 steps of 0.4 mm are within 2 mm."""
    within: NDArray[np.bool_] = distances <= limit * (1 + _ROUNDING)
    return within


def _distances(
    start: NDArray[np.float64], target: NDArray[np.float64], common: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """From each of the points ``start`` (n, d) to the nearest of ``target``; those they have in ``common`` (n,) need no
    search.
    """
    distances = np.zeros(len(start))
    # Measured: this shape of tree is built and searched fastest for points on a grid that are searched once.
    from scipy.spatial import KDTree  # late, as its import takes longer than most tables need

    tree = KDTree(target, leafsize=24, compact_nodes=False, balanced_tree=False)
    distances[~common] = tree.query(start[~common])[0]
    return distances


def _percentile(values: NDArray[np.float64], percent: float) -> float:
    """As ``np.percentile``, which takes several times as long: longer than anything else here for small structures."""
    place = percent / 100 * (len(values) - 1)
    low = int(place)
    ordered = np.partition(values, low)
    above = ordered[low + 1 :].min() if low + 1 < len(values) else ordered[low]
    return float(ordered[low] + (above - ordered[low]) * (place - low))


def _eroded(mask: NDArray[np.bool_], reach: Sequence[int] | NDArray[np.int_]) -> NDArray[np.bool_]:
    """Erosion by a box of ``reach`` pixels to either side of its centre, axis by axis; outside is background."""
    for axis, steps in enumerate(reach):
        kept = np.pad(np.moveaxis(mask, axis, 0), [(steps, steps)] + [(0, 0)] * (mask.ndim - 1))
        # The minimum over a long window is that of two shorter ones: few passes, however long it is.
        length = 1
        while length <= 2 * steps:
            shift = min(length, 2 * steps + 1 - length)
            kept = kept[shift:] & kept[:-shift]
            length += shift
        mask = np.moveaxis(kept, 0, axis)
    return mask
