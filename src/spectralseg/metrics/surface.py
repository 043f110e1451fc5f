"""Surface distances and the metrics computed from them.

The surface of a mask is the set of pixels that an erosion with direct neighbours removes, with zeros outside the image.

Masks are boolean arrays, (H, W) of one image or (D, H, W) of one volume; other numeric types are accepted where all
values are 0 or 1. An array (1, H, W) is a volume of one slice, whose mask is all surface: remove channel axes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from spectralseg.metrics._arguments import binary_masks, non_negative, pixel_steps

Definition = Literal["max", "pooled"]
# Relative; far above the rounding of single-precision spacings in NIfTI files, and far below any voxel size.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between the surfaces of two masks, from which all surface metrics derive.

    Attributes:
        forward: from each surface pixel of the prediction to the nearest one of the reference, float64 (n,), in
            units of the spacing. Infinite where the reference is empty.
        backward: the same from the reference to the prediction, float64 (m,).

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import SurfaceDistances
        >>> reference = np.zeros((8, 8), bool)
        >>> reference[2:6, 2:6] = True
        >>> distances = SurfaceDistances.between(np.roll(reference, 1, axis=1), reference, spacing=(2.0, 0.5))
        >>> distances.hausdorff95(), round(distances.average(), 4), distances.normalized_dice(tolerance=0.25)
        (0.5, 0.25, 0.5)
    """

    forward: NDArray[np.float64]
    backward: NDArray[np.float64]

    @classmethod
    def between(
        cls, prediction: NDArray[Any], reference: NDArray[Any], spacing: Sequence[float] | None = None
    ) -> SurfaceDistances:
        """Compute the distances between two masks.

        Args:
            prediction: boolean mask, 2-D or 3-D.
            reference: boolean mask of the same shape.
            spacing: millimetres per axis; None measures in pixels.

        Raises:
            ValueError: a mask is not 2-D or 3-D or has values other than 0 and 1, the shapes differ, or the spacing is
                not one positive number per axis.
        """
        first, second = binary_masks(prediction, reference)
        # Cropping changes no distance and saves most of the time.
        box = bounding_box(first | second)
        surfaces = [_padded_surface(mask[box]) for mask in (first, second)]
        scale = pixel_steps(spacing, first.ndim)
        # np.argwhere and boolean indexing take several times as long.
        indices = [np.flatnonzero(surface) for surface in surfaces]
        points = [np.stack(np.unravel_index(index, surfaces[0].shape), 1) * scale for index in indices]
        common = (surfaces[0] & surfaces[1]).ravel()
        forward, backward = (_distances(points[i], points[1 - i], common[indices[i]]) for i in (0, 1))
        return cls(forward, backward)

    @cached_property
    def both(self) -> NDArray[np.float64]:
        """The distances in both directions, float64 (n + m,)."""
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
            which can be 0 although the prediction has a distant false positive region.

    Returns:
        Distance in units of ``spacing``; infinity if exactly one mask is empty, NaN if both are.

    Raises:
        ValueError: a mask is not 2-D or 3-D or has values other than 0 and 1, the shapes differ, the definition is
            unknown, or the spacing is not one positive number per axis.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import hausdorff95
        >>> reference = np.zeros((8, 8), bool)
        >>> reference[2:6, 2:6] = True
        >>> prediction = np.roll(reference, 1, axis=0)
        >>> hausdorff95(prediction, reference)  # pixels
        1.0
        >>> hausdorff95(prediction, reference, spacing=(2.5, 1.0))  # millimetres
        2.5
        >>> empty = np.zeros((8, 8), bool)
        >>> hausdorff95(empty, reference), hausdorff95(empty, empty)
        (inf, nan)
    """
    return SurfaceDistances.between(prediction, reference, spacing).hausdorff95(definition)


def average_surface_distance(
    prediction: NDArray[Any], reference: NDArray[Any], spacing: Sequence[float] | None = None
) -> float:
    """Average symmetric surface distance (ASSD): the mean over the surface pixels of both masks (Heimann et al. 2009).

    Arguments, empty masks and errors as for :func:`hausdorff95`. Every pixel has equal weight, as in
    ``medpy.metric.binary.assd`` 0.5; the mean of the two directed means differs where the surfaces differ in size.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import average_surface_distance
        >>> reference = np.zeros((8, 8), bool)
        >>> reference[2:6, 2:6] = True
        >>> prediction = np.roll(reference, 1, axis=0)
        >>> round(average_surface_distance(prediction, reference), 4)
        0.5
        >>> round(average_surface_distance(prediction, reference, spacing=(2.5, 1.0)), 4)
        1.0
    """
    return SurfaceDistances.between(prediction, reference, spacing).average()


def normalized_surface_dice(
    prediction: NDArray[Any], reference: NDArray[Any], tolerance: float, spacing: Sequence[float] | None = None
) -> float:
    """Share of the surface pixels of both masks within ``tolerance`` of the other surface (NSD, Nikolov et al. 2018).

    Surface pixels have equal weight instead of weights by area, as in MONAI and Metrics Reloaded.

    Args:
        prediction: boolean mask, 2-D or 3-D.
        reference: boolean mask of the same shape.
        tolerance: in units of ``spacing``; a distance equal to it, up to a relative rounding error of 1e-6, is within.
        spacing: millimetres per axis; None measures in pixels.

    Returns:
        A share in [0, 1]; 0 if exactly one mask is empty, NaN if both are.

    Raises:
        ValueError: as for :func:`hausdorff95`, or the tolerance is not a finite number of 0 or more.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import normalized_surface_dice
        >>> reference = np.zeros((8, 8), bool)
        >>> reference[2:6, 2:6] = True
        >>> prediction = np.roll(reference, 1, axis=0)
        >>> round(normalized_surface_dice(prediction, reference, tolerance=0.5), 4)
        0.5
        >>> normalized_surface_dice(prediction, reference, tolerance=1)
        1.0
        >>> normalized_surface_dice(np.zeros((8, 8), bool), reference, tolerance=1)
        0.0
    """
    return SurfaceDistances.between(prediction, reference, spacing).normalized_dice(tolerance)


def boundary_iou(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing: Sequence[float] | None = None,
    width: float | None = None,
) -> float:
    """IoU of the inner boundary bands of two masks (Cheng et al. 2021).

    The band of a mask consists of the pixels that repeated erosion with all neighbours removes, with zeros outside the
    image. Its width is rounded to pixels (half a pixel to the even number, as by its authors), at least one along each
    axis. For an object thinner than two bands, the value is its IoU.

    Args:
        prediction: boolean mask, 2-D or 3-D.
        reference: boolean mask of the same shape.
        spacing: millimetres per axis; None measures in pixels.
        width: of the band in units of ``spacing``; None for 2 % of the image diagonal, as by its authors.

    Returns:
        A share in [0, 1]; 0 if exactly one mask is empty, NaN if both are.

    Raises:
        ValueError: as for :func:`hausdorff95`, or the width is not a finite number of 0 or more.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import boundary_iou, iou, overlap_counts
        >>> reference = np.zeros((64, 64), bool)
        >>> reference[8:56, 8:56] = True
        >>> prediction = np.roll(reference, 1, axis=0)
        >>> round(boundary_iou(prediction, reference), 4)
        0.6
        >>> iou(overlap_counts(prediction, reference, classes=1)).round(4).tolist()  # the interior hides the shift
        [0.9592]
    """
    first, second = binary_masks(prediction, reference)
    width = boundary_width(first.shape, spacing) if width is None else non_negative("width", width)
    # Six decimals first, so that floating-point errors do not decide how half a pixel is rounded.
    steps = np.rint(np.round(width / pixel_steps(spacing, first.ndim), 6))
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
        Boolean (N, H, W); False in slices without a surface.

    Raises:
        ValueError: the masks are not (N, H, W) of one shape with values 0 and 1, or the width is not a finite number of
            0 or more.
    """
    masks, width = binary_masks(prediction, reference), non_negative("width", width)
    if masks[0].ndim != 3:
        raise ValueError(f"the masks have the shape {masks[0].shape}; pass slices (N, H, W)")
    from scipy import ndimage  # imported here as it is slow and most tables do not need it

    band = np.zeros(masks[0].shape, bool)
    for first, second, band_of_slice in zip(*masks, band, strict=True):
        edges = surface(first) | surface(second)
        if edges.any():
            box = _widened(bounding_box(edges), width, edges.shape)
            band_of_slice[box] = _within(ndimage.distance_transform_edt(~edges[box]), width)
    return band


def diagonal(shape: Sequence[int], spacing: Sequence[float] | None = None) -> float:
    """Length of the image diagonal in units of ``spacing`` (pixels if None): the worst possible distance."""
    return float(np.linalg.norm(np.multiply(shape, pixel_steps(spacing, len(shape)))))


def bounding_box(mask: NDArray[Any]) -> tuple[slice, ...]:
    """Smallest box that contains all non-zero elements of a mask or label map; an empty box if there are none."""
    box: tuple[slice, ...] = ()
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        indices = np.flatnonzero(mask[box].any(others))
        box = (*box, slice(indices[0], indices[-1] + 1) if indices.size else slice(0, 0))
    return box


def _widened(box: Sequence[slice], width: float, shape: Sequence[int]) -> tuple[slice, ...]:
    """A box with ``width`` pixels more on each side, as far as the image reaches."""
    margins = [math.ceil(min(width, length)) for length in shape]
    return tuple(slice(max(0, part.start - more), part.stop + more) for part, more in zip(box, margins, strict=True))


def surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels that an erosion with direct neighbours removes from a mask, with zeros outside the image."""
    return _padded_surface(mask)[(slice(1, -1),) * mask.ndim]


def _padded_surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The :func:`surface`, zero-padded by one pixel on every side."""
    padded = np.zeros([length + 2 for length in mask.shape], bool)
    padded[(slice(1, -1),) * mask.ndim] = mask
    # Neighbours have a fixed offset in the flattened array, in which shifted views are compared fastest.
    pixels, offsets = padded.reshape(-1), padded.strides
    margin = max(offsets)
    core = slice(margin, pixels.size - margin)
    inner = pixels[core].copy()
    for offset in offsets:
        inner &= pixels[core.start - offset : core.stop - offset]
        inner &= pixels[core.start + offset : core.stop + offset]
    pixels[core] ^= inner
    return padded


def _within(distances: NDArray[Any], limit: float) -> NDArray[np.bool_]:
    """Mask of distances of at most ``limit``, up to rounding errors: 5 pixels of 0.4 mm are within 2 mm."""
    within: NDArray[np.bool_] = distances <= limit * (1 + _ROUNDING)
    return within


def _distances(
    start: NDArray[np.float64], target: NDArray[np.float64], common: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Distance of each of the points ``start`` (n, d) to the nearest of ``target`` (m, d).

    ``common`` (n,) marks points of ``start`` that are in ``target``, too.
    """
    distances = np.zeros(len(start))
    # These options are fastest for points on a grid that are queried once.
    from scipy.spatial import KDTree  # imported here as it is slow and most tables do not need it

    tree = KDTree(target, leafsize=24, compact_nodes=False, balanced_tree=False)
    distances[~common] = tree.query(start[~common])[0]
    return distances


def _percentile(values: NDArray[np.float64], percent: float) -> float:
    """As ``np.percentile``, several times as fast; that one dominates the run time for small structures."""
    position = percent / 100 * (len(values) - 1)
    low = int(position)
    ordered = np.partition(values, low)
    above = ordered[low + 1 :].min() if low + 1 < len(values) else ordered[low]
    return float(ordered[low] + (above - ordered[low]) * (position - low))


def _eroded(mask: NDArray[np.bool_], reach: Sequence[int] | NDArray[np.int_]) -> NDArray[np.bool_]:
    """Erosion by a box of ``reach`` pixels to either side per axis, with zeros outside the image."""
    for axis, steps in enumerate(reach):
        kept = np.pad(np.moveaxis(mask, axis, 0), [(steps, steps)] + [(0, 0)] * (mask.ndim - 1))
        # The minimum over a window is that of two windows of half its length: logarithmically many passes.
        length = 1
        while length <= 2 * steps:
            shift = min(length, 2 * steps + 1 - length)
            kept = kept[shift:] & kept[:-shift]
            length += shift
        mask = np.moveaxis(kept, 0, axis)
    return mask
