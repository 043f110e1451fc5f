"""Checks of arguments that several metrics share. Boolean arrays pass without a copy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(name: str, values: Any) -> NDArray[Any]:
    """The values as an array, without a copy of arrays and of tensors on the CPU.

    Raises:
        ValueError: NumPy cannot read the values, as of a tensor that requires a gradient, or they are a masked array,
            whose mask would be ignored.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name}: metrics ignore the mask of a masked array; pass an array of the pixels to score")
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} of type {type(values).__name__} cannot be read as an array ({error}); pass a NumPy array, of a "
            "tensor 'tensor.detach().float().cpu().numpy()'"
        ) from None


def binary_masks(prediction: NDArray[Any], reference: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two masks of one image (H, W) or volume (D, H, W) as booleans.

    Raises:
        ValueError: a mask is not an array, is a masked array, has another number of axes or values other than 0 and 1,
            or shapes differ.
    """
    masks = []
    for name, mask in {"prediction": prediction, "reference": reference}.items():
        if not hasattr(mask, "__array__"):
            raise ValueError(f"{name} is of type {type(mask).__name__}; pass one image or volume as an array")
        array = as_array(name, mask)
        if array.ndim not in (2, 3):
            raise ValueError(
                f"{name} has the shape {array.shape}; pass one image (H, W) or volume (D, H, W) at a time, without "
                "axes for batch and channel"
            )
        masks.append(_binary(array, f"{name} has", "threshold probabilities and compare labels, as in 'labels == 1'"))
    if masks[0].shape != masks[1].shape:
        raise ValueError(f"shapes differ: {masks[0].shape} and {masks[1].shape}")
    return masks[0], masks[1]


def binary_labels(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Labels of any shape as booleans.

    Raises:
        ValueError: there are values other than 0 and 1.
    """
    return _binary(labels, "labels have", "pass one class against the rest, as in 'labels == 1'")


def _binary(array: NDArray[Any], subject: str, remedy: str) -> NDArray[np.bool_]:
    if array.dtype == bool:
        return array
    if array.dtype.kind not in "iufO":
        raise ValueError(f"{subject} values of type {array.dtype}, not numbers; {remedy}")
    positive: NDArray[np.bool_] = array == 1
    others = array[~(positive | (array == 0))]
    if others.size:
        raise ValueError(f"{subject} values other than 0 and 1, such as {others[0]}; {remedy}")
    return positive


def count(name: str, value: Any) -> int:
    """The value, checked to be a whole number of 1 or more.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} {value!r} is not a whole number of 1 or more")
    return int(value)


def non_negative(name: str, value: Any) -> float:
    """The value, checked to be a finite number of 0 or more.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < math.inf:
        raise ValueError(f"{name} {value!r} is not a finite number of 0 or more")
    return float(value)


def pixel_steps(spacing: Sequence[float] | None, dimensions: int) -> NDArray[np.float64]:
    """Pixel size along each axis, float64 (dimensions,); 1 without spacing.

    Raises:
        ValueError: the spacing is not one positive number per axis.
    """
    try:
        steps = np.ones(dimensions) if spacing is None else np.asarray(spacing, np.float64)
    except (TypeError, ValueError):
        steps = np.empty(0)
    if steps.shape != (dimensions,) or not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError(f"spacing {spacing} is not one positive number for each of {dimensions} axes")
    return steps
