"""Values of metrics where a structure is missing, as a table of protocols, metrics and situations.

Situations: ``missed`` (only the reference has the structure), ``spurious`` (only the prediction has it), ``absent``
(neither has it). Entries: a number is the value itself, ``computed`` keeps the metric's own value, ``diagonal`` is the
image diagonal, ``undefined`` excludes the case from means, which count it.

``published`` follows TransUNet's ``calculate_metric_percase``, traps included: a false structure scores Dice 1 and
distance 0, a missed one distance 0. ``sound`` follows the reference implementation of Metrics Reloaded (Maier-Hein et
al. 2024) and the BraTS evaluation: misses and false structures get the worst value, and an empty prediction for an
empty reference, which is correct, the best. Every case thus has a value for every method, so that paired differences
include false structures. Their rate is an endpoint of its own, :data:`FALSE_STRUCTURE`.

A protocol has the metrics of its table, in that order. Those of :data:`LESIONS` are recorded only for datasets whose
specification has ``lesions``.
"""

from __future__ import annotations

from typing import Literal

from spectralseg.metrics.lesions import STRATA

Situation = Literal["present", "missed", "spurious", "absent"]
Entry = float | Literal["computed", "diagonal", "undefined"]

PROTOCOLS = ("published", "sound")

_TRANSUNET: dict[str, Entry] = {"missed": 0.0, "spurious": 1.0, "absent": 0.0}
_SHARE: dict[str, Entry] = {"missed": 0.0, "spurious": 0.0, "absent": 1.0}
_DISTANCE: dict[str, Entry] = {"missed": "diagonal", "spurious": "diagonal", "absent": 0.0}
_DETECTION: dict[str, Entry] = {"missed": "computed", "spurious": "undefined", "absent": "undefined"}
_COMPUTED: dict[str, Entry] = {"missed": "computed", "spurious": "computed", "absent": "computed"}

_EXACTNESS: dict[str, Entry] = {"missed": "undefined", "spurious": "computed", "absent": "undefined"}

# Metrics of lesion segmentation; see spectralseg.metrics.lesions.
LESIONS: dict[str, dict[str, Entry]] = {
    "lesion_f1": _SHARE,
    "lesion_sensitivity": _DETECTION,
    "lesion_precision": _EXACTNESS,
    **{f"lesion_sensitivity_{stratum}": _DETECTION for stratum in STRATA},
    "lesion_count_difference": _COMPUTED,
    "volume_difference": _COMPUTED,
    "precision": _EXACTNESS,
    "agatston_difference": _COMPUTED,
    "risk_agreement": _COMPUTED,
}

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
        **LESIONS,
    },
}
# 1 for a false structure, else 0; recorded where the reference is empty only. Its mean is the rate of false structures
# among empty cases, whatever values the policy gives them.
FALSE_STRUCTURE = "false_structure"
NO_VOLUME, NO_SPACING = "no volume", "no spacing"
# Reasons other than a missing structure for which a metric is undefined.
NOT_DEFINED = {
    "specificity": "no background",
    "accuracy": "no pixels",
    "volume_difference": NO_VOLUME,
    **dict.fromkeys(("agatston_difference", "risk_agreement"), NO_SPACING),
    **{f"lesion_sensitivity_{stratum}": "no lesion of this size" for stratum in STRATA},
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
        The value (NaN where undefined) and a flag: why the policy set it or why it is undefined; else empty.
    """
    entry = POLICY[protocol][metric].get(case, "computed")
    if entry == "computed":
        return value, "" if value == value else NOT_DEFINED[metric]
    if entry == "diagonal":
        return worst, case
    if entry == "undefined":
        return float("nan"), case
    return float(entry), case
