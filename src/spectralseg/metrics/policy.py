"""What a metric is worth where a structure is missing: data, not branches.

Situations: ``missed`` (reference present, prediction empty), ``spurious`` (reference empty, prediction not), ``absent``
(both empty). Entries: a number is taken as it stands, ``computed`` keeps the metric's own value, ``diagonal`` is the
image diagonal, ``undefined`` leaves the case out of means, where it is counted.

``published`` follows TransUNet's ``calculate_metric_percase``, traps included: a false structure scores Dice 1 and
distance 0, a missed one distance 0. ``sound`` follows the reference implementation of Metrics Reloaded (Maier-Hein et
al. 2024) and the BraTS evaluation: misses and false structures get the worst value, and an empty prediction for an
empty reference the best, as it is the correct answer. Every case thus has a value for every method, so that paired
differences see false structures. How often they occur is an endpoint of its own, :data:`FALSE_STRUCTURE`.

A protocol has the metrics of its table, in that order.
"""

from __future__ import annotations

from typing import Literal

Situation = Literal["present", "missed", "spurious", "absent"]
Entry = float | Literal["computed", "diagonal", "undefined"]

PROTOCOLS = ("published", "sound")

_TRANSUNET: dict[str, Entry] = {"missed": 0.0, "spurious": 1.0, "absent": 0.0}
_SHARE: dict[str, Entry] = {"missed": 0.0, "spurious": 0.0, "absent": 1.0}
_DISTANCE: dict[str, Entry] = {"missed": "diagonal", "spurious": "diagonal", "absent": 0.0}
_DETECTION: dict[str, Entry] = {"missed": "computed", "spurious": "undefined", "absent": "undefined"}
_COMPUTED: dict[str, Entry] = {"missed": "computed", "spurious": "computed", "absent": "computed"}

POLICY: dict[str, dict[str, dict[str, Entry]]] = {
    "published": {
        "dsc": _TRANSUNET,
        "iou": _TRANSUNET,
        "sensitivity": _DETECTION,
        "specificity": _COMPUTED,
        "accuracy": _COMPUTED,
        "hd95": {"missed": 0.0, "spurious": 0.0, "absent": 0.0},
    },
    "sound": {
        "dsc": _SHARE,
        "iou": _SHARE,
        "sensitivity": _DETECTION,
        "specificity": _COMPUTED,
        "accuracy": _COMPUTED,
        "hd95": _DISTANCE,
        "assd": _DISTANCE,
        "nsd": _SHARE,
        "boundary_iou": _SHARE,
    },
}
# 1 for a false structure, 0 for none, recorded where the reference is empty only: its mean is the rate of empty cases
# with a false structure, whatever values the policy gives them.
FALSE_STRUCTURE = "false_structure"
# Why a metric has no value of its own, other than by a missing structure.
NOT_DEFINED = {"specificity": "no background", "accuracy": "no pixels"}


def situation(predicted: int, present: int) -> Situation:
    """The situation of a structure from its pixels in prediction and reference."""
    if present:
        return "present" if predicted else "missed"
    return "spurious" if predicted else "absent"


def apply(protocol: str, metric: str, case: Situation, value: float, worst: float) -> tuple[float, str]:
    """Value and flag of a metric under a protocol.

    Args:
        protocol: one of :data:`PROTOCOLS`.
        metric: a key of :data:`POLICY`.
        case: the situation of the structure.
        value: the metric's own value.
        worst: the image diagonal in the units of the metric.

    Returns:
        The value (NaN where undefined) and a flag, empty unless the policy decided or there is no value.
    """
    entry = POLICY[protocol][metric].get(case, "computed")
    if entry == "computed":
        return value, "" if value == value else NOT_DEFINED[metric]
    if entry == "diagonal":
        return worst, case
    if entry == "undefined":
        return float("nan"), case
    return float(entry), case
