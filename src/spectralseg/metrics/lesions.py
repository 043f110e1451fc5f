"""Metrics of lesion segmentation: detection of single lesions, their number and volume, and the Agatston score.

A lesion is a connected component of a mask. A lesion of the reference is detected if it overlaps the prediction in at
least one pixel; a lesion of the prediction without such an overlap is a false positive. This is the convention of the
ATLAS track of ISLES 2022 (arXiv:2211.15486, whose evaluation uses 26-connected components). A prediction that merges
several lesions detects all of them, and one that splits a lesion detects it once, so that the number of lesions is a
metric of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectralseg.metrics import _arguments

CONNECTIVITIES = {2: {4: 1, 8: 2}, 3: {6: 1, 18: 2, 26: 3}}
"""Axes along which connected pixels may differ, by number of axes of the image and number of neighbours."""
STRATA = ("small", "medium", "large")
CALCIUM = 130.0
"""Threshold of calcium in Hounsfield units (Agatston et al. 1990)."""
DENSEST = 400.0
"""Hounsfield units from which the weight of the Agatston score is largest."""
_WEIGHT_LIMITS = (CALCIUM, 200.0, 300.0, DENSEST)
_SLICE_THICKNESS = 3.0  # millimetres, of the protocol for which the Agatston score was defined
_RISK_LIMITS = (0.0, 10.0, 100.0, 400.0)
RISK_CATEGORIES = len(_RISK_LIMITS) + 1


@dataclass(frozen=True)
class LesionMatch:
    """Lesions of a reference and how a prediction detects them.

    Attributes:
        sizes: pixels of each lesion of the reference, int64 (n,).
        detected: whether each overlaps the prediction, boolean (n,).
        predicted: number of lesions of the prediction.
        fp: number of lesions of the prediction that overlap no lesion of the reference.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import match_lesions
        >>> reference = np.array([[1, 0, 1, 0, 0], [1, 0, 0, 0, 0]])
        >>> prediction = np.array([[1, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
        >>> match = match_lesions(prediction, reference)
        >>> match.tp, match.fn, match.fp
        (1, 1, 1)
        >>> match.f1, match.sensitivity, match.count_difference
        (0.5, 0.5, 0)
        >>> match.sensitivity_by_size((1, 2))
        {'small': 0.0, 'medium': 1.0, 'large': nan}
    """

    sizes: NDArray[np.int64]
    detected: NDArray[np.bool_]
    predicted: int
    fp: int

    @property
    def tp(self) -> int:
        """Number of detected lesions of the reference."""
        return int(self.detected.sum())

    @property
    def fn(self) -> int:
        """Number of missed lesions of the reference."""
        return len(self.detected) - self.tp

    @property
    def f1(self) -> float:
        """2TP / (2TP + FP + FN) in [0, 1]; NaN where both masks are empty."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN) in [0, 1]; NaN where the reference is empty."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def precision(self) -> float:
        """TP / (TP + FP) in [0, 1]; NaN where the prediction is empty."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def count_difference(self) -> int:
        """Absolute difference of the numbers of lesions."""
        return abs(self.predicted - len(self.sizes))

    def sensitivity_by_size(self, limits: tuple[float, float], pixel: float = 1.0) -> dict[str, float]:
        """Sensitivity of small, medium and large lesions of the reference.

        Args:
            limits: largest size of a small and of a medium lesion.
            pixel: size of a pixel in units of the limits.

        Returns:
            One value in [0, 1] for each of :data:`STRATA`; NaN where the reference has no lesion of that size.

        Raises:
            ValueError: the limits are not two numbers in ascending order, or the size of a pixel is not positive.
        """
        if len(limits) != 2 or not limits[0] <= limits[1]:
            raise ValueError(f"limits {limits} of lesion sizes are not two numbers in ascending order")
        if not _arguments.non_negative("pixel", pixel):
            raise ValueError("pixel 0 is not a size; pass the area or volume of a pixel, or 1 for sizes in pixels")
        strata = np.searchsorted(limits, self.sizes * pixel)
        hits, lesions = (np.bincount(members, minlength=3).tolist() for members in (strata[self.detected], strata))
        return {name: _ratio(*counts) for name, *counts in zip(STRATA, hits, lesions, strict=True)}


def match_lesions(prediction: NDArray[Any], reference: NDArray[Any], connectivity: int | None = None) -> LesionMatch:
    """Match the lesions of a prediction with those of a reference by overlap; see the module for the convention.

    Args:
        prediction: boolean mask, 2-D or 3-D.
        reference: boolean mask of the same shape.
        connectivity: neighbours of a pixel: 4 or 8 in images, 6, 18 or 26 in volumes; None for 8 or 26.

    Returns:
        The match; without any lesion where a mask is empty.

    Raises:
        ValueError: a mask is not 2-D or 3-D or has values other than 0 and 1, the shapes differ, or the connectivity
            is not one of images or of volumes.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import match_lesions
        >>> reference = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0]])
        >>> prediction = np.array([[1, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
        >>> match = match_lesions(prediction, reference)
        >>> match.sizes.tolist(), match.detected.tolist(), match.predicted, match.fp
        ([3], [True], 2, 1)
        >>> match_lesions(prediction, reference, connectivity=4).sizes.tolist()  # no diagonal neighbours
        [1, 1, 1]
        >>> match_lesions(np.zeros((2, 5), bool), np.zeros((2, 5), bool)).f1
        nan
    """
    first, second = _arguments.binary_masks(prediction, reference)
    predicted_labels, predicted = label_lesions(first, connectivity)
    labels, lesions = label_lesions(second, connectivity)
    both = first & second
    detected = np.zeros(lesions + 1, bool)
    detected[labels[both]] = True
    return LesionMatch(
        sizes=np.bincount(labels[second], minlength=lesions + 1)[1:],
        detected=detected[1:],
        predicted=predicted,
        fp=predicted - len(np.unique(predicted_labels[both])),
    )


def label_lesions(mask: NDArray[np.bool_], connectivity: int | None = None) -> tuple[NDArray[np.int32], int]:
    """Number the lesions of a mask.

    Args:
        mask: boolean, 2-D or 3-D.
        connectivity: as for :func:`match_lesions`.

    Returns:
        Labels of the shape of the mask, 0 outside and 1..n in the lesions, and n.

    Raises:
        ValueError: the connectivity is not one of images or of volumes.
    """
    from scipy import ndimage  # imported here as it is slow and most tables do not need it

    valid = CONNECTIVITIES[mask.ndim]
    if connectivity not in (None, *valid):
        names = ", ".join(map(str, valid))
        raise ValueError(f"connectivity {connectivity} is not valid in {mask.ndim}-D; choose one of {names}")
    reach = max(valid.values()) if connectivity is None else valid[connectivity]
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, reach))
    return labels, int(count)


def lesion_sizes(mask: NDArray[np.bool_], connectivity: int | None = None) -> NDArray[np.int64]:
    """Pixels of each lesion of a mask, (n,). Arguments and errors as for :func:`label_lesions`."""
    labels, lesions = label_lesions(mask, connectivity)
    return np.bincount(labels[mask], minlength=lesions + 1)[1:]


def tercile_limits(sizes: NDArray[np.int64] | NDArray[np.float64]) -> tuple[float, float]:
    """Terciles of lesion sizes (n,): the largest size of a small and of a medium lesion; zeros without any lesion."""
    limits = np.quantile(sizes, (1 / 3, 2 / 3), method="inverted_cdf") if sizes.size else np.zeros(2)
    return float(limits[0]), float(limits[1])


def volume(mask: NDArray[np.bool_], spacing: Sequence[float] | None) -> float:
    """Volume of a mask (D, H, W) in millilitres, from millimetres per axis; NaN for an image or without a spacing."""
    if spacing is None or mask.ndim != 3:
        return float("nan")
    return int(np.count_nonzero(mask)) * pixel_size(spacing) / 1000


def pixel_size(spacing: Sequence[float]) -> float:
    """Area in mm² or volume in mm³ of a pixel."""
    return math.prod(float(step) for step in spacing)


def volume_difference(
    prediction: NDArray[Any], reference: NDArray[Any], spacing: Sequence[float] | None = None
) -> float:
    """Absolute difference of two volumes in millilitres.

    Args:
        prediction: boolean mask (D, H, W).
        reference: boolean mask of the same shape.
        spacing: millimetres per axis.

    Returns:
        0 or more; 0 where both masks are empty; NaN for images and without a spacing.

    Raises:
        ValueError: a mask is not 2-D or 3-D or has values other than 0 and 1, the shapes differ, or the spacing is not
            one positive number per axis.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import volume_difference
        >>> reference = np.ones((10, 10, 10), bool)
        >>> prediction = np.zeros((10, 10, 10), bool)
        >>> prediction[:5] = True
        >>> volume_difference(prediction, reference, spacing=(3.0, 1.0, 1.0))  # millilitres
        1.5
        >>> volume_difference(prediction, reference)
        nan
    """
    first, second = _arguments.binary_masks(prediction, reference)
    _arguments.pixel_steps(spacing, first.ndim)
    return abs(volume(first, spacing) - volume(second, spacing))


def agatston_score(
    mask: NDArray[Any],
    hu: NDArray[Any],
    spacing: Sequence[float],
    *,
    connectivity: int | None = 6,
    least_area: float = 1.0,
) -> float:
    """Agatston score of the calcium in a mask (Agatston et al. 1990, doi 10.1016/0735-1097(90)90282-T).

    Only pixels of at least 130 HU count. The score is the sum over lesions and slices of the area in mm² times a weight
    of the lesion's maximum in that slice: 1 from 130 HU, 2 from 200, 3 from 300, 4 from 400. It is multiplied by the
    distance of the slices over 3 mm, the thickness for which the score was defined.

    Args:
        mask: boolean (D, H, W), slices first.
        hu: Hounsfield units (D, H, W).
        spacing: millimetres per axis.
        connectivity: of the lesions, 6, 18 or 26; None for 26.
        least_area: smallest area in mm² of a lesion in a slice; smaller ones do not count.

    Returns:
        0 or more; 0 for an empty mask.

    Raises:
        ValueError: the mask is not (D, H, W) with values 0 and 1, the shapes differ, intensities are not numbers or NaN
            in the mask, the spacing is not one positive number per axis, or another argument is out of range.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import agatston_score
        >>> hu = np.full((2, 8, 8), 40.0)
        >>> hu[0, 2:4, 2:4] = 250  # weight 2
        >>> hu[1, 2:4, 2:4] = 120  # below 130 HU
        >>> agatston_score(hu > 100, hu, spacing=(3.0, 1.0, 1.0))
        8.0
        >>> agatston_score(hu > 100, hu, spacing=(1.5, 1.0, 1.0))
        4.0
        >>> agatston_score(np.zeros((2, 8, 8), bool), hu, spacing=(3.0, 1.0, 1.0))
        0.0
    """
    calcified = _arguments.binary_masks(mask, mask)[0]
    hu = _arguments.as_array("intensities", hu)
    if calcified.ndim != 3 or hu.shape != calcified.shape:
        raise ValueError(f"mask and intensities have the shapes {calcified.shape} and {hu.shape}; pass two volumes")
    if hu.dtype.kind not in "biuf" or np.isnan(hu[calcified]).any():
        raise ValueError("intensities are not numbers, or some are NaN in the mask; pass Hounsfield units")
    if spacing is None:
        raise ValueError("spacing is None; pass the millimetres of each axis, without which there is no score")
    steps = _arguments.pixel_steps(spacing, 3)
    smallest = _arguments.non_negative("least_area", least_area)
    calcified = calcified & (hu >= CALCIUM)
    labels, lesions = label_lesions(calcified, connectivity)
    slices = np.nonzero(calcified)[0]
    # One number for each lesion in each slice.
    sections, members = np.unique(slices * (lesions + 1) + labels[calcified], return_inverse=True)
    areas = np.bincount(members, minlength=len(sections)) * steps[1:].prod()
    densest = np.full(len(sections), -np.inf)
    np.maximum.at(densest, members, hu[calcified])
    weights = np.searchsorted(_WEIGHT_LIMITS, densest, side="right")
    counted = areas >= smallest * (1 - _ROUNDING)
    return float((areas * weights)[counted].sum() * steps[0] / _SLICE_THICKNESS)


_ROUNDING = 1e-9  # relative; 16 pixels of 0.25 mm are 1 mm²


def risk_category(score: float) -> int:
    """Cardiovascular risk category of an Agatston score: 1 to 5 for 0, up to 10, up to 100, up to 400, and above.

    The limits are those of Rumberger et al. 1999 (Mayo Clinic Proceedings 74:243-252), taken here for the five
    categories of orCaScore. Scores are not rounded: 0.5 is in category 2, 10.5 in category 3.

    Raises:
        ValueError: the score is not a finite number of 0 or more.

    Examples:
        >>> from spectralseg.metrics import risk_category
        >>> [risk_category(score) for score in (0, 0.5, 10, 10.5, 400, 401)]
        [1, 2, 2, 3, 4, 5]
    """
    return int(np.searchsorted(_RISK_LIMITS, _arguments.non_negative("Agatston score", score))) + 1


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")
