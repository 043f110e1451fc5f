"""Differences between two methods with the same seeds and cases, and verdicts on them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.reporting.rendering import NO_RUN, UNDEFINED, Entry, limits
from spectralseg.statistics.bootstrap import KEPT, draw_together
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.margins import Margins
from spectralseg.statistics.pairing import Paired, Values, pair
from spectralseg.statistics.power import Components
from spectralseg.statistics.significance import holm
from spectralseg.statistics.verdicts import BETTER, FEWEST, FEWEST_GROUPS, FEWEST_SEEDS, OPEN, WORSE, compared, enough

COLUMNS = (
    *("difference", "low", "high", "p", "p_adjusted", "p_equivalence", "margin", "verdict"),
    *("seeds", "groups", "effective_groups", "cases", "undefined", "seeds_needed", "groups_needed"),
)
RULE = (
    "Better or worse: p at most 5 %, by Holm over all {family}. Same: the difference is within the margin of the "
    f"study, by two one-sided tests. A verdict needs {FEWEST}."
)

Contrast = tuple[Mapping[Any, Any], Values, Values | None]  # a cell, the values of its method, those of the reference


def contrasts(pairs: Iterable[Contrast], margins: Margins) -> Iterator[dict[str, Any]]:
    """The columns :data:`COLUMNS` but for adjusted p value and verdict, for each cell with values and reference.

    Cells have the keys ``metric``, ``test_dataset`` and ``protocol``. ``difference``, its limits and ``margin`` are in
    printed units. ``seeds_needed`` and ``groups_needed`` estimate how many seeds with the same groups, or groups with
    the same seeds, would settle a difference of the measured size, or of the margin if that is larger; NaN without an
    estimate. Without a reference, a cell has no columns.
    """
    remaining = iter(pairs)
    while block := list(itertools.islice(remaining, KEPT // 4)):
        paired = [None if reference is None else pair(values, reference) for _, values, reference in block]
        draw_together((sample.values, sample.members, sample.outcomes) for sample in paired if sample is not None)
        for (cell, *_), sample in zip(block, paired, strict=True):
            share = metric_of(cell["metric"]).share
            margin = margins.of(cell["metric"], cell["test_dataset"], cell["protocol"], share=share)
            yield {} if sample is None else contrast(sample, cell["metric"], margin)


def contrast(pairs: Paired, name: str, margin: float | None) -> dict[str, Any]:
    """The columns of :func:`contrasts` for one pair of methods.

    Args:
        pairs: differences of the values of the methods.
        name: of the metric.
        margin: of equivalence, in units of the records; None if the metric has none.
    """
    metric = metric_of(name)
    interval = pairs.interval()
    same = np.nan
    if margin is not None:
        same = equivalence(pairs.values, pairs.members, margin=margin, outcomes=pairs.outcomes).p
    target = max(abs(interval.estimate), margin or 0.0)
    parts = Components.of(pairs.values, pairs.members, outcomes=pairs.outcomes) if target > 0 else None
    return {
        **dict(zip(("difference", "low", "high"), metric.factor * np.array(interval), strict=True)),
        **{"p": pairs.two_sided_p if enough(pairs.informative_seeds, pairs.informative_groups) else np.nan},
        "p_equivalence": same,
        "margin": np.nan if margin is None else metric.factor * margin,
        **{"seeds": pairs.informative_seeds, "groups": pairs.informative_groups, "cases": len(pairs.cases)},
        **{"effective_groups": round(pairs.effective_groups, 1), "undefined": pairs.undefined},
        "seeds_needed": (parts.seeds_for(target) if parts else None) or np.nan,
        "groups_needed": (parts.groups_for(target) if parts else None) or np.nan,
    }


def with_verdicts(cells: pd.DataFrame, family: list[str]) -> pd.DataFrame:
    """Fill ``p_adjusted``, by Holm within rows of equal ``family`` columns, and ``verdict``."""
    cells = cells.assign(p_adjusted=np.nan)
    for rows in cells.groupby(family).indices.values():
        cells.loc[rows, "p_adjusted"] = holm(cells.loc[rows, "p"])
    return cells.assign(verdict=[_verdict(cell) for cell in cells.to_dict("records")])


def _verdict(cell: Mapping[Any, Any]) -> str:
    numbers = (cell["difference"], cell["p_adjusted"], cell["p_equivalence"])
    return compared(*numbers, higher_is_better=metric_of(cell["metric"]).higher_is_better)


def entry(cell: Mapping[Any, Any]) -> Entry:
    """Difference, interval and verdict as a cell of a table."""
    if np.isnan(cell["seeds"]):
        return Entry(NO_RUN)
    if np.isnan(cell["difference"]):
        return Entry(UNDEFINED)
    text = limits(cell["difference"], cell["low"], cell["high"], digits=metric_of(cell["metric"]).digits)
    return Entry(f"{text} {cell['verdict']}", bold=cell["verdict"] in (BETTER, WORSE))


def to_settle(cell: Mapping[Any, Any]) -> str:
    """What would settle an open difference: ``9 seeds or 120 patients``; empty if nothing is open or no estimate."""
    if cell["verdict"] != OPEN or not np.isfinite(cell["difference"]):
        return ""
    missing = [f"{fewest} {what}" for present, fewest, what in _fewest(cell) if present < fewest]
    if missing:
        return f"at least {' and '.join(missing)}"
    ways = [(cell["seeds_needed"], cell["seeds"], "seeds"), (cell["groups_needed"], cell["groups"], "patients")]
    texts = [f"{needed:,.0f} {what}" for needed, present, what in ways if needed > present]
    return " or ".join(texts)


def _fewest(cell: Mapping[Any, Any]) -> Iterator[tuple[int, int, str]]:
    """Present number, the number that a verdict needs, and of what."""
    yield cell["seeds"], FEWEST_SEEDS, "seeds"
    yield cell["groups"], FEWEST_GROUPS, "patients"
