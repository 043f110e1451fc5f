"""Differences to a baseline within each of several laboratories, and across them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from spectralseg.metrics.records import LABORATORY
from spectralseg.statistics.baseline import CONDITION, METHOD, Baseline, unpaired
from spectralseg.statistics.bootstrap import KEPT, draw_together
from spectralseg.statistics.comparison import paired_cells, sides
from spectralseg.statistics.pairing import Paired
from spectralseg.statistics.random_effects import across_laboratories

ALL = "all laboratories"
"""Value of the column ``laboratory`` in rows across laboratories."""
COUNTS = ("seeds", "groups", "cases", "undefined", "unpaired")
HETEROGENEITY = ("prediction_low", "prediction_high", "tau2", "i2", "q")
KEYS = (*CONDITION, *METHOD, "class", "baseline")
COLUMNS = (*KEYS, LABORATORY, "laboratories", "difference", "low", "high", *HETEROGENEITY, *COUNTS)

_Cell = tuple[Any, ...]  # values of the keys, without the baseline


def compare_laboratories(
    records: pd.DataFrame, baseline: str, where: str = "the records"
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Compare all methods with a baseline in each laboratory, and across laboratories.

    Differences are values of the method less those of the baseline with the same laboratory, seed and case. Intervals
    have 95 %: within a laboratory those of :func:`~spectralseg.statistics.bootstrap.paired_interval`, across
    laboratories those of :func:`~spectralseg.statistics.random_effects.across_laboratories`.

    Args:
        records: metric records with the column ``laboratory``.
        baseline: see :meth:`~spectralseg.statistics.baseline.Baseline.of`.
        where: name of the records in messages.

    Returns:
        One row per comparison and laboratory, and one with :data:`ALL` as laboratory for comparisons that at least two
        laboratories have, in units of the records, with the columns :data:`COLUMNS`. Columns about heterogeneity are
        NaN in rows of one laboratory. Counts are as in :func:`spectralseg.statistics.comparison.compare`; those of
        all laboratories are sums, but groups and cases of several laboratories count once. ``laboratories`` is the
        number of laboratories with a defined difference.

        And sentences about methods, seeds and cases of a laboratory without a partner.

    Raises:
        InputError: there are no records of the baseline, it has several λ in a laboratory, a value is recorded twice,
            or a case has two groups.
    """
    first = Baseline.of(baseline, records, where)
    samples: dict[_Cell, dict[str, Paired]] = {}
    remarks: list[str] = []
    for laboratory, part in records.groupby(LABORATORY, sort=True, observed=True):
        name = str(laboratory)
        reference, others = sides(part, first, f"{where}, laboratory '{name}'")
        remarks += [f"{name}: {sentence}" for sentence in unpaired(reference, others, first)]
        for keys, pairs in paired_cells(reference, others, first.condition):
            if len(pairs.cases):
                samples.setdefault(tuple(keys.values()), {})[name] = pairs
    rows = itertools.chain.from_iterable(_rows(samples))
    return pd.DataFrame((row | {"baseline": baseline} for row in rows), columns=list(COLUMNS)), tuple(remarks)


def _rows(samples: Mapping[_Cell, Mapping[str, Paired]]) -> Iterator[Iterator[dict[str, Any]]]:
    cells = iter(sorted(samples.items(), key=lambda item: item[0]))
    while block := list(itertools.islice(cells, KEPT // 8)):
        draw_together(
            (pairs.values, pairs.members, pairs.outcomes) for _, by_name in block for pairs in by_name.values()
        )
        for cell, by_name in block:
            yield _of_cell(dict(zip(KEYS, cell, strict=False)), by_name)


def _of_cell(keys: dict[str, Any], by_name: Mapping[str, Paired]) -> Iterator[dict[str, Any]]:
    within = [_within(name, pairs) for name, pairs in by_name.items()]
    yield from ({**keys, **row} for row in within)
    if len(within) > 1:
        result = across_laboratories(list(by_name.values()))
        numbers = {"laboratories": result.laboratories, "difference": result.estimate}
        heterogeneity = {name: getattr(result, name) for name in ("low", "high", *HETEROGENEITY)}
        totals = {name: sum(row[name] for row in within) for name in COUNTS}
        totals["groups"] = len({group for pairs in by_name.values() for group in pairs.groups[pairs.defined].tolist()})
        totals["cases"] = len({case for pairs in by_name.values() for case in pairs.cases.tolist()})
        yield {**keys, LABORATORY: ALL, **numbers, **heterogeneity, **totals}


def _within(name: str, pairs: Paired) -> dict[str, Any]:
    difference, low, high = pairs.interval()
    return {
        **{LABORATORY: name, "laboratories": int(difference == difference)},
        **{"difference": difference, "low": low, "high": high},
        **{"seeds": pairs.informative_seeds, "groups": pairs.informative_groups, "cases": len(pairs.cases)},
        **{"undefined": pairs.undefined, "unpaired": pairs.unpaired},
    }
