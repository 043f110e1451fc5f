"""Measured values of table cells: means, intervals, and differences between methods."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.data.audit import Audit
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import POOLED
from spectralseg.published.tables import SELECTION
from spectralseg.statistics.bootstrap import KEPT, draw_together
from spectralseg.statistics.pairing import Columns, Values, pair
from spectralseg.statistics.significance import fewest_seeds
from spectralseg.statistics.verdicts import FEWEST_GROUPS

CONDITION = (*SELECTION, "metric", "protocol")
_COUNTS = ("cases", "groups", "effective_groups", "values", "undefined", "seeds")
MEASURED = (
    *("measured", "measured_sd", "measured_low", "measured_high"),
    *("baseline", "gain", "gain_low", "gain_high"),
    *_COUNTS,
)
LEAK_FREE = "validation"  # value of ``leak_free`` for results without matches in training or validation data
_Cell = Mapping[Any, Any]  # a row of a table of cells


class Measurements:
    """Measurements of table cells from metric records.

    Args:
        records: metric records.
        audit: the leakage audit.
        baseline: objective that the others are compared with.
    """

    def __init__(self, records: pd.DataFrame, audit: Audit, baseline: str) -> None:
        self._columns = Columns(records)
        self._rows: dict[tuple[Any, ...], Any] = dict(records.groupby(list(CONDITION)).indices)  # type: ignore[arg-type]
        self._baseline = baseline
        self._leaks = cache(lambda part: set(audit.leaked_cases(part)))
        self._baseline_lambdas: dict[tuple[Any, ...], list[str]] = {}
        for keys in self._rows:
            condition = dict(zip(CONDITION, keys, strict=True))
            if condition["objective"] == baseline:
                self._baseline_lambdas.setdefault(_without_lambda(condition), []).append(str(condition["lambda"]))
        self._arranged = cache(self._arrange)

    def _arrange(self, leak_free: str, keys: tuple[Any, ...]) -> Values:
        values = self._columns.values(self._rows[keys])
        if not leak_free:
            return values
        condition, leaks = dict(zip(CONDITION, keys, strict=True)), self._leaks(leak_free)
        datasets = condition["dataset"], condition["test_dataset"]
        # A value that is pooled over a test set includes its leaked cases.
        leaked = [case == POOLED or (*datasets, case) in leaks for case in values.cases]
        return values.without(np.array(leaked, bool))

    def values(self, cell: _Cell) -> Values | None:
        """Values of the class, method and condition of a cell, without the cases that it leaves out; None if empty."""
        keys = tuple(cell[name] for name in CONDITION)
        if keys not in self._rows:
            return None
        values = self._arranged(cell["leak_free"], keys).of_class(cell["class"])
        return values if len(values.classes) else None

    def seeds(self, cell: _Cell) -> list[int]:
        """Seeds of the runs that a cell is measured on."""
        values = self.values(cell)
        return [] if values is None else [int(seed) for seed in values.seeds]

    def reference(self, cell: _Cell) -> Values | None:
        """Values of the baseline objective; None for a cell of the baseline, or unless the baseline has one λ."""
        if cell["objective"] == self._baseline:
            return None
        baseline_cell = {**cell, "objective": self._baseline}
        lambdas = self._baseline_lambdas.get(_without_lambda(baseline_cell), [])
        return self.values({**baseline_cell, "lambda": lambdas[0]}) if len(lambdas) == 1 else None

    def measure_all(self, cells: Iterable[_Cell]) -> Iterator[dict[str, Any]]:
        """Apply :meth:`measure` to many cells and draw their intervals together."""
        remaining = iter(cells)
        while block := list(itertools.islice(remaining, KEPT // 4)):
            sides = [(self.values(cell), self.reference(cell)) for cell in block]
            samples = [values for values, _ in sides if values is not None]
            samples += [pair(values, other) for values, other in sides if values is not None and other is not None]
            draw_together((sample.values, sample.members, sample.outcomes) for sample in samples)
            yield from map(self.measure, block)

    def measure(self, cell: _Cell) -> dict[str, Any]:
        """The columns :data:`MEASURED` of a cell, in published units; without records NaN or zero.

        ``measured_low`` and ``measured_high`` are the limits of the 95 % interval of the mean, clipped to the range of
        the metric; ``gain`` is the mean difference to the baseline for the same seeds and cases, with its limits.
        """
        values, reference = self.values(cell), self.reference(cell)
        empty = dict.fromkeys(MEASURED, np.nan) | {"baseline": self._baseline}
        if values is None:
            return empty | dict.fromkeys(_COUNTS, 0)
        metric = metric_of(cell["metric"])
        per_seed = pd.Series(values.per_seed) * metric.factor
        low, high = np.clip(metric.factor * np.array(values.interval()[1:]), *metric.limits)
        gain = pair(values, reference).interval() if reference is not None else (np.nan,) * 3
        return empty | {
            "measured": float(per_seed.mean()),
            "measured_sd": float(per_seed.std(ddof=1)),
            "measured_low": float(low),
            "measured_high": float(high),
            **{name: metric.factor * part for name, part in zip(("gain", "gain_low", "gain_high"), gain, strict=True)},
            "cases": int(values.recorded.sum(2).max(initial=0)),
            "groups": values.informative_groups,
            "effective_groups": round(values.effective_groups, 1),
            "values": int(values.recorded.sum()),
            "undefined": int((values.recorded & ~np.isfinite(values.values)).sum()),
            "seeds": len(values.seeds),
        }

    def lead(self, best: _Cell, others: Iterable[_Cell]) -> float:
        """The p value that a cell is better than every other one: the largest p value of its differences.

        This intersection-union test needs no adjustment for the choice of the best cell of a column (Berger 1982,
        Gutmann and Maymin 1987); several columns do. NaN without others, and where a test over seeds cannot reject at
        5 % because there are fewer than :func:`~spectralseg.statistics.significance.fewest_seeds`.
        """
        direction = "higher" if metric_of(best["metric"]).higher_is_better else "lower"
        values, rivals = self.values(best), [self.values(other) for other in others]
        pairs = [pair(values, rival) for rival in rivals if values is not None and rival is not None]
        testable = [p.informative_seeds >= fewest_seeds() and p.informative_groups >= FEWEST_GROUPS for p in pairs]
        if not pairs or not all(testable):
            return float("nan")
        return max(difference.p_values(direction=direction).holds for difference in pairs)


def _without_lambda(condition: _Cell) -> tuple[Any, ...]:
    return tuple(condition[name] for name in CONDITION if name != "lambda")
