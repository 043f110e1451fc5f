"""Paired differences of scores to those of one method, with intervals, verdicts and the detectable difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from spectralseg.metrics.catalogue import COMPARED, PERCENTAGE_POINTS, metric_of
from spectralseg.metrics.records import METHOD_KEYS
from spectralseg.reporting.contrasts import contrast, with_verdicts
from spectralseg.reporting.scores.means import classes_of, unit_of
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.margins import Margins
from spectralseg.statistics.pairing import Paired, Values, pair
from spectralseg.statistics.power import Components, detectable_over_groups
from spectralseg.statistics.verdicts import judge

DIFFERENCES = (
    *METHOD_KEYS,
    *("baseline", "protocol", "metric", "class", "unit", "difference", "low", "high"),
    *("p", "p_adjusted", "p_equivalence", "margin", "verdict", "reason", "detectable", "about"),
    *("seeds", "groups", "effective_groups", "cases", "undefined", "unpaired"),
)
METHODS, PREDICTIONS = "methods", "these predictions"  # what an interval is about
_FAMILY = ["protocol", "metric", "class"]


class Method(NamedTuple):
    """A method by the values of :data:`~spectralseg.metrics.records.METHOD_KEYS`."""

    architecture: str
    objective: str
    lam: str


def differences(
    by_method: Mapping[tuple[str, ...], Values], baseline: Method, margins: Margins, test_dataset: str, in_mm: bool
) -> pd.DataFrame:
    """One row per method other than the baseline, protocol, compared metric and class; columns :data:`DIFFERENCES`.

    Numbers are in displayed units. ``p_adjusted`` is by Holm over the methods. ``about`` says whether the interval is
    over seeds and groups, which is about the methods, or over groups only, which is about these predictions.
    """
    rows = []
    for (protocol, name, *keys), values in by_method.items():
        method, reference = Method(*keys), by_method.get((protocol, name, *baseline))
        if method == baseline or reference is None or name not in COMPARED:
            continue
        metric = metric_of(name)
        margin = margins.of(name, test_dataset, protocol, share=metric.share)
        unit = PERCENTAGE_POINTS if metric.share else unit_of(metric, protocol, in_mm)
        for label in classes_of(values):
            rows.append(
                {
                    **dict(zip(METHOD_KEYS, method, strict=True)),
                    **{"baseline": baseline.architecture, "protocol": protocol, "metric": name, "class": label},
                    **{"unit": unit, **_compare(pair(values.of_class(label), reference.of_class(label)), name, margin)},
                }
            )
    return with_verdicts(pd.DataFrame(rows, columns=list(DIFFERENCES)), _FAMILY)


def _compare(pairs: Paired, name: str, margin: float | None) -> dict[str, Any]:
    metric = metric_of(name)
    narrow = None
    if margin is not None:
        narrow = equivalence(pairs.values, pairs.members, margin=margin, outcomes=pairs.outcomes).interval
    sizes = pairs.informative_seeds, pairs.informative_groups
    direction = "higher" if metric.higher_is_better else "lower"
    return {
        **contrast(pairs, name, margin),
        "reason": judge(pairs.interval(), *sizes, direction=direction, margin=margin, narrow=narrow).reason,
        "detectable": metric.factor * _detectable(pairs),
        "about": METHODS if pairs.informative_seeds > 1 else PREDICTIONS,
        "unpaired": pairs.unpaired,
    }


def _detectable(pairs: Paired) -> float:
    components = Components.of(pairs.values, pairs.members, outcomes=pairs.outcomes)
    if components:
        return components.detectable()
    if pairs.informative_seeds > 1:  # one group
        return float("nan")
    return detectable_over_groups(pairs.values, pairs.members, outcomes=pairs.outcomes)
