"""Does a class activation map lie on the object? Maps are (H, W) >= 0, regions boolean of the same shape.

Ties are shared in proportion, as if they were broken at random: a map that is zero nearly everywhere gains nothing
from the order of its pixels in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = NDArray[Any]
Region = NDArray[np.bool_]


def energy_share(cam: Map, region: Region) -> float:
    """Share of the activation within the region, in [0, 1] (energy-based pointing game, Wang et al. 2020).

    NaN where there is no activation.
    """
    total = float(cam.sum(dtype=np.float64))
    return float(cam[region].sum(dtype=np.float64)) / total if total > 0 else float("nan")


def relative_energy(cam: Map, region: Region) -> float:
    """:func:`energy_share` in units of the region's share of the image: 1 is chance; NaN for an empty region."""
    prevalence = float(region.mean())
    return energy_share(cam, region) / prevalence if prevalence else float("nan")


def pointing(cam: Map, region: Region) -> float:
    """1 where the largest activation lies in the region, else 0 (pointing game, Zhang et al. 2018; no tolerance)."""
    return float(region[cam == cam.max()].mean())


def area_matched_iou(cam: Map, region: Region) -> float:
    """IoU of the region with as many pixels of the largest activation, in [0, 1]; NaN for an empty region.

    The matched area spares a threshold.
    """
    size = int(region.sum())
    if not size:
        return float("nan")
    level = np.partition(cam.ravel(), -size)[-size]
    above, tied = cam > level, cam == level
    shared = (region & above).sum() + (size - above.sum()) * region[tied].mean()
    return float(shared / (2 * size - shared))
