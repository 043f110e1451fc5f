"""Checks of arguments that several metrics share. Boolean arrays pass without a copy."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray


def binary_masks(prediction: NDArray[Any], reference: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two masks of one image (H, W) or volume (D, H, W) as booleans.

    Raises:
        ValueError: a mask is not an array, has another number of axes or values other than 0 and 1, or shapes differ.
    """
    masks = []
    for name, mask in {"prediction": prediction, "reference": reference}.items():
        if not hasattr(mask, "__array__"):
            raise ValueError(f"{name} is of type {type(mask).__name__}; pass one image or volume as an array")
        array = np.asarray(mask)
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
    if not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise ValueError(f"{name} {value!r} is not a finite number of 0 or more")
    return float(value)
