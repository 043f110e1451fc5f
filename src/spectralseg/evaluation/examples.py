"""Which cases stand for a dataset in the figures."""

from __future__ import annotations

import numpy as np

from spectralseg.data import PreparedDataset


def example_rows(data: PreparedDataset, count: int) -> list[tuple[str, int]]:
    """Example cases by a rule that knows no model: test cases at evenly spaced quantiles of foreground area.

    For volumes the slice with the largest foreground stands for the case. ``count`` = 3 gives the quartiles.
    """
    areas = []
    for _, case in data.cases[data.cases["part"] == "test"].iterrows():
        masks = data.masks[case["first"] : case["first"] + case["slices"]]
        area = (masks > 0).sum((1, 2))
        areas.append((int(area.max()), str(case["case"]), int(case["first"] + area.argmax())))
    areas = sorted(area for area in areas if area[0]) or sorted(areas)
    quantiles = np.arange(1, count + 1) / (count + 1)
    places = dict.fromkeys(round(q * (len(areas) - 1)) for q in quantiles)
    return [areas[place][1:] for place in places]
