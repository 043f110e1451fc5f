"""Channels of the spectra in Figures 2 and 8, and the rule of case selection of Figures 2 and 3."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.prepared import PreparedDataset
from spectralseg.interpretation import spectra

MEDIAN_RULE = (
    "Case: test case with the median foreground area of those with any, of volumes the slice with the largest."
)


def grey_channel(image: NDArray[np.float64]) -> spectra.Real:
    """Mean over the channels of an image (S, S, channels), as (1, S, S)."""
    grey: spectra.Real = image.mean(axis=-1, keepdims=True).transpose(2, 0, 1)
    return grey


def class_channels(data: PreparedDataset, labels: NDArray[np.uint8]) -> spectra.Real:
    """One channel per class of a label map (S, S), as (classes, S, S)."""
    return spectra.one_hot(labels, len(data.classes))
