"""Localisation scores: does a class activation map lie on the object?

Maps are (H, W) >= 0, regions boolean of the same shape. Tied pixels count in proportion, which is the expected value of
random tie-breaking: the score of a map that is zero almost everywhere must not depend on the order of its pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = NDArray[Any]
Region = NDArray[np.bool_]


def energy_share(cam: Map, region: Region) -> float:
    """Fraction of the activation within the region, in [0, 1] (energy-based pointing game, Wang et al. 2020).

    NaN without activation.
    """
    total = float(cam.sum(dtype=np.float64))
    return float(cam[region].sum(dtype=np.float64)) / total if total > 0 else float("nan")


def relative_energy(cam: Map, region: Region) -> float:
    """:func:`energy_share` in units of the region's share of the image: 1 is chance; NaN for an empty region."""
    prevalence = float(region.mean())
    return energy_share(cam, region) / prevalence if prevalence else float("nan")


def pointing(cam: Map, region: Region) -> float:
    """1 if the largest activation lies in the region, else 0 (pointing game, Zhang et al. 2018; no tolerance)."""
    return float(region[cam == cam.max()].mean())


def area_matched_iou(cam: Map, region: Region) -> float:
    """IoU of the region with the pixels of largest activation, in [0, 1]; NaN for an empty region.

    The number of pixels is that of the region, so no threshold is needed.
    """
    size = int(region.sum())
    if not size:
        return float("nan")
    level = np.partition(cam.ravel(), -size)[-size]
    above, tied = cam > level, cam == level
    intersection = (region & above).sum() + (size - above.sum()) * region[tied].mean()
    return float(intersection / (2 * size - intersection))
