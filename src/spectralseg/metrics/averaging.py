"""Means over a test set from stored counts, averaged over images, over cases, or pooled.

The mean of a ratio depends on its unit: an image or slice, a case, or the whole test set. Papers rarely state it, and
the difference is as large as that between methods. For any one averaging, mean IoU is at least
mean DSC / (2 - mean DSC), by Jensen's inequality; published pairs that violate it were averaged differently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spectralseg.metrics import _arguments, policy
from spectralseg.metrics.overlap import Counts, accuracy, dice, iou, sensitivity, specificity

OVERLAP: Mapping[str, Callable[[Counts], NDArray[np.float64]]] = {
    "dsc": dice,
    "iou": iou,
    "sensitivity": sensitivity,
    "specificity": specificity,
    "accuracy": accuracy,
}


class Average(NamedTuple):
    """Means per class and the number of units behind them.

    Attributes:
        value: float64 (K,); NaN where no unit has a value.
        units: number of units in the mean, int64 (K,).
        undefined: for each class, the number of units without a value by reason.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import averages, slice_counts
        >>> reference = np.zeros((2, 4, 4), int)
        >>> prediction = reference.copy()
        >>> prediction[0, 0, 0] = 1
        >>> counts = slice_counts(prediction, reference, classes=1)
        >>> mean = averages(counts, np.array(["a", "b"]), "sensitivity")["per_image"]
        >>> mean.value.tolist(), mean.units.tolist(), mean.undefined
        ([nan], [0], (Counter({'spurious': 1, 'absent': 1}),))
    """

    value: NDArray[np.float64]
    units: NDArray[np.int64]
    undefined: tuple[Counter[str], ...]


def over_units(counts: Counts, metric: str, protocol: str = "sound", *, empty: bool = True) -> Average:
    """Mean of a metric over units of equal weight.

    Args:
        counts: (n, K), one row per image, slice or case.
        metric: a key of :data:`OVERLAP`.
        protocol: its policy sets the value where a structure is missing, see :mod:`spectralseg.metrics.policy`.
        empty: whether units where prediction and reference are empty have the value of the policy. False leaves them
            out unless the value is computed: most slices of a volume are empty, depending on its extent.

    Returns:
        The mean over units with a value. Others are counted by the flag of the policy. Without any unit, the value is
        NaN over 0 units.

    Raises:
        KeyError: the metric or the protocol is unknown.
        ValueError: the counts are not (n, K).
    """
    _check(counts)
    for kind, name, valid in (("metric", metric, OVERLAP), ("protocol", protocol, policy.POLICY)):
        if name not in valid:
            raise KeyError(f"{kind} '{name}' is unknown; valid: {', '.join(valid)}")
    values = np.empty(counts.tp.shape)
    reasons: tuple[Counter[str], ...] = tuple(Counter() for _ in range(counts.tp.shape[1]))
    predicted, present = counts.tp + counts.fp, counts.tp + counts.fn
    for (unit, k), value in np.ndenumerate(OVERLAP[metric](counts)):
        case = policy.situation(int(predicted[unit, k]), int(present[unit, k]))
        values[unit, k], flag = policy.apply(protocol, metric, case, float(value), float("nan"))
        if case == flag == "absent" and not empty:
            values[unit, k] = np.nan
        if np.isnan(values[unit, k]):
            reasons[k][flag] += 1
    defined = ~np.isnan(values)
    units = defined.sum(0)
    total = np.where(defined, values, 0).sum(0)
    return Average(np.divide(total, units, out=np.full(len(total), np.nan), where=units > 0), units, reasons)


def averages(counts: Counts, cases: NDArray[Any], metric: str, protocol: str = "sound") -> dict[str, Average]:
    """A metric under four averagings.

    Args:
        counts: (n, K), one row per image or slice.
        cases: the case that each row belongs to, (n,); text or numbers other than NaN.
        metric: a key of :data:`OVERLAP`.
        protocol: as for :func:`over_units`.

    Returns:
        ``per_image``: mean over images or slices. ``per_case``: mean over cases, of counts summed within each.
        ``pooled``: value of the counts summed over the test set. ``foreground_background``: mean of the pooled values
        of the structure and of its complement. Without any row, each is NaN over 0 units.

    Raises:
        KeyError: the metric or the protocol is unknown.
        ValueError: the counts are not (n, K), or the cases not (n,).

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import averages, slice_counts
        >>> reference = np.zeros((3, 10, 10), int)
        >>> reference[0, :8], reference[1, :2, :2], reference[2, :4] = 1, 1, 1
        >>> prediction = reference.copy()
        >>> prediction[1] = 0  # the smallest structure is missed
        >>> counts = slice_counts(prediction, reference, classes=1)
        >>> by_averaging = averages(counts, np.array(["a", "a", "b"]), "dsc")
        >>> {name: round(float(mean.value[0]), 4) for name, mean in by_averaging.items()}
        {'per_image': 0.6667, 'per_case': 0.9878, 'pooled': 0.9836, 'foreground_background': 0.9862}
    """
    total = pooled(counts)
    foreground, background = (over_units(side, metric, protocol) for side in (total, complement(total)))
    return {
        "per_image": over_units(counts, metric, protocol),
        "per_case": over_units(merged(counts, cases), metric, protocol),
        "pooled": foreground,
        "foreground_background": Average(
            (foreground.value + background.value) / 2,
            np.minimum(foreground.units, background.units),
            tuple(a + b for a, b in zip(foreground.undefined, background.undefined, strict=True)),
        ),
    }


def merged(counts: Counts, groups: NDArray[Any]) -> Counts:
    """Counts (n, K) summed within groups (n,): one row per group, sorted by name.

    Raises:
        ValueError: the counts are not (n, K), or the groups not (n,) or some of them None or NaN.
    """
    _check(counts)
    groups = _arguments.as_array("groups", groups)
    if groups.ndim != 1:
        raise ValueError(f"groups have the shape {groups.shape}; pass one name for each row of counts")
    if len(groups) != len(counts.tp):
        raise ValueError(f"there are {len(groups)} groups for {len(counts.tp)} rows of counts")
    if any(group is None or group != group for group in groups.tolist()):
        raise ValueError("a group is None or NaN, which equals no group; give each row of counts the name of its group")
    names, indices = np.unique(groups, return_inverse=True)
    sums = [np.zeros((len(names), count.shape[1]), np.int64) for count in counts]
    for total, count in zip(sums, counts, strict=True):
        np.add.at(total, indices, count)
    return Counts(*sums)


def pooled(counts: Counts) -> Counts:
    """Counts (n, K) summed over all rows, (1, K); (0, K) without any row.

    Raises:
        ValueError: the counts are not (n, K).
    """
    _check(counts)
    return Counts(*(count.sum(0, keepdims=True)[: len(count)] for count in counts))


def _check(counts: Counts) -> None:
    shapes = sorted({np.shape(count) for count in counts})
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ValueError(
            f"counts have the shape {', '.join(map(str, shapes))}; pass (n, K), one row for each image, slice or case, "
            "as slice_counts gives them"
        )


def complement(counts: Counts) -> Counts:
    """Counts of the complement of the structure: positive and negative are swapped."""
    return Counts(counts.tn, counts.fn, counts.fp, counts.tp)
