"""Example cases for figures."""

from __future__ import annotations

from spectralseg.data import PreparedDataset

INNER = "inner: "  # before the names of inner maps of a network, in ``examples.npz``


def example_rows(data: PreparedDataset, count: int, part: str = "test") -> list[tuple[str, int]]:
    """Select example cases without a model: cases of a part at evenly spaced quantiles of foreground area.

    A volume is represented by its slice with the largest foreground. Cases without foreground are used only if there
    are no others. Of n cases sorted by area, example i = 1..count is at position floor(i * n / (count + 1)), so
    ``count`` = 3 gives the quartiles. The examples differ if n >= count; otherwise each case is selected once.

    Returns:
        Case id and row of each example.
    """
    areas = []
    for _, case in data.cases[data.cases["part"] == part].iterrows():
        masks = data.masks[case["first"] : case["first"] + case["slices"]]
        area = (masks > 0).sum((1, 2))
        areas.append((int(area.max()), str(case["case"]), int(case["first"] + area.argmax())))
    areas = sorted(area for area in areas if area[0]) or sorted(areas)
    positions = dict.fromkeys(i * len(areas) // (count + 1) for i in range(1, count + 1))
    return [areas[position][1:] for position in positions]
