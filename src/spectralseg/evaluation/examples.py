"""Which cases stand for a dataset in the figures."""

from __future__ import annotations

from spectralseg.data import PreparedDataset


def example_rows(data: PreparedDataset, count: int, part: str = "test") -> list[tuple[str, int]]:
    """Example cases by a rule that knows no model: cases of a part at evenly spaced quantiles of foreground area.

    For volumes the slice with the largest foreground stands for the case. ``count`` = 3 gives the quartiles. Cases
    without foreground are considered only if there are no others. Of n cases, i = 1..count stands at place
    floor(i * n / (count + 1)), so that the examples differ whenever n >= count; of fewer, each is shown once.
    """
    areas = []
    for _, case in data.cases[data.cases["part"] == part].iterrows():
        masks = data.masks[case["first"] : case["first"] + case["slices"]]
        area = (masks > 0).sum((1, 2))
        areas.append((int(area.max()), str(case["case"]), int(case["first"] + area.argmax())))
    areas = sorted(area for area in areas if area[0]) or sorted(areas)
    places = dict.fromkeys(i * len(areas) // (count + 1) for i in range(1, count + 1))
    return [areas[place][1:] for place in places]
