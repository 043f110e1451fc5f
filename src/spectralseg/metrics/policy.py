"""What a metric is worth where a structure is missing: data, not branches.

Situations: ``missed`` (reference present, prediction empty), ``spurious`` (reference empty, prediction not), ``absent``
(both empty). Entries: a number is taken as it stands, ``computed`` keeps the metric's own value, ``diagonal`` is the
image diagonal, ``undefined`` leaves the case out of means, where it is counted.

``published`` follows TransUNet's ``calculate_metric_percase``, traps included: a false structure scores Dice 1 and
distance 0, a missed one distance 0. ``sound`` follows Metrics Reloaded (Maier-Hein et al. 2024): misses and false
structures get the worst value, and nothing is claimed where there is nothing to find.
"""

from __future__ import annotations

from typing import Literal

Situation = Literal["present", "missed", "spurious", "absent"]
Entry = float | Literal["computed", "diagonal", "undefined"]

PROTOCOLS = ("published", "sound")

_RATIO: dict[str, Entry] = {"missed": "computed", "spurious": "undefined", "absent": "undefined"}
_COMPUTED: dict[str, Entry] = {"missed": "computed", "spurious": "computed", "absent": "computed"}

POLICY: dict[str, dict[str, dict[str, Entry]]] = {
    "published": {
        "dsc": {"missed": 0.0, "spurious": 1.0, "absent": 0.0},
        "iou": {"missed": 0.0, "spurious": 1.0, "absent": 0.0},
        "hd95": {"missed": 0.0, "spurious": 0.0, "absent": 0.0},
        "sensitivity": _RATIO,
        "specificity": _COMPUTED,
        "accuracy": _COMPUTED,
    },
    "sound": {
        "dsc": {"missed": 0.0, "spurious": 0.0, "absent": "undefined"},
        "iou": {"missed": 0.0, "spurious": 0.0, "absent": "undefined"},
        "hd95": {"missed": "diagonal", "spurious": "diagonal", "absent": "undefined"},
        "sensitivity": _RATIO,
        "specificity": _COMPUTED,
        "accuracy": _COMPUTED,
    },
}


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
        The value (NaN where undefined) and a flag, empty unless the policy decided.
    """
    entry = "computed" if case == "present" else POLICY[protocol][metric][case]
    if entry == "computed":
        return value, ""
    if entry == "diagonal":
        return worst, case
    if entry == "undefined":
        return float("nan"), case
    return float(entry), case
