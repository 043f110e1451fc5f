"""What the cells of a table measure: means, intervals, and differences between methods."""

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
LEAK_FREE = "validation"  # of a result that is reported twice: no match in training or validation data
_Cell = Mapping[Any, Any]  # a row of a table of cells


class Measurements:
    """Metric records as the cells of tables ask for them.

    Args:
        records: metric records.
        audit: which test cases leak.
        baseline: objective that the others are compared with.
    """

    def __init__(self, records: pd.DataFrame, audit: Audit, baseline: str) -> None:
        self._columns = Columns(records)
        self._rows: dict[tuple[Any, ...], Any] = dict(records.groupby(list(CONDITION)).indices)  # type: ignore[arg-type]
        self._baseline = baseline
        self._seen = cache(lambda beyond: set(audit.leaked_cases(beyond)))
        self._baseline_lambdas: dict[tuple[Any, ...], list[str]] = {}
        for condition in self._rows:
            named = dict(zip(CONDITION, condition, strict=True))
            if named["objective"] == baseline:
                self._baseline_lambdas.setdefault(_without_lambda(named), []).append(str(named["lambda"]))
        self._arranged = cache(self._arrange)

    def _arrange(self, leak_free: str, condition: tuple[Any, ...]) -> Values:
        values = self._columns.values(self._rows[condition])
        if not leak_free:
            return values
        named = dict(zip(CONDITION, condition, strict=True))
        seen = self._seen(leak_free)
        # What is pooled over a test set cannot be taken apart.
        pairs = named["dataset"], named["test_dataset"]
        leaking = [case == POOLED or (*pairs, case) in seen for case in values.cases]
        return values.without(np.array(leaking, bool))

    def values(self, cell: _Cell) -> Values | None:
        """Values of the class, method and condition of a cell, without the cases that it leaves out; None if none."""
        condition = tuple(cell[name] for name in CONDITION)
        if condition not in self._rows:
            return None
        found = self._arranged(cell["leak_free"], condition).of_class(cell["class"])
        return found if len(found.classes) else None

    def seeds(self, cell: _Cell) -> list[int]:
        """Seeds of the runs that a cell is measured on."""
        values = self.values(cell)
        return [] if values is None else [int(seed) for seed in values.seeds]

    def reference(self, cell: _Cell) -> Values | None:
        """The same of the baseline objective; None for its own cells, and where it has none or several λ."""
        if cell["objective"] == self._baseline:
            return None
        same = {**cell, "objective": self._baseline}
        lambdas = self._baseline_lambdas.get(_without_lambda(same), [])
        return self.values({**same, "lambda": lambdas[0]}) if len(lambdas) == 1 else None

    def measure_all(self, cells: Iterable[_Cell]) -> Iterator[dict[str, Any]]:
        """As :meth:`measure`, of many cells, whose intervals are drawn together."""
        remaining = iter(cells)
        while block := list(itertools.islice(remaining, KEPT // 4)):
            sides = [(self.values(cell), self.reference(cell)) for cell in block]
            samples = [ours for ours, _ in sides if ours is not None]
            samples += [pair(ours, theirs) for ours, theirs in sides if ours is not None and theirs is not None]
            draw_together((one.values, one.members, one.outcomes) for one in samples)
            yield from map(self.measure, block)

    def measure(self, cell: _Cell) -> dict[str, Any]:
        """The columns :data:`MEASURED` of a cell, in printed units; without records NaN or zero.

        ``measured_low`` and ``measured_high`` are the limits of the 95 % interval of the mean, cut to what the metric
        can be; ``gain`` is the mean difference to the baseline for the same seeds and cases, with its limits.
        """
        values, reference = self.values(cell), self.reference(cell)
        nothing = dict.fromkeys(MEASURED, np.nan) | {"baseline": self._baseline}
        if values is None:
            return nothing | dict.fromkeys(_COUNTS, 0)
        rule = metric_of(cell["metric"])
        per_seed = pd.Series(values.per_seed) * rule.factor
        low, high = np.clip(rule.factor * np.array(values.interval()[1:]), *rule.limits)
        gain = pair(values, reference).interval() if reference is not None else (np.nan,) * 3
        return nothing | {
            "measured": float(per_seed.mean()),
            "measured_sd": float(per_seed.std(ddof=1)),
            "measured_low": float(low),
            "measured_high": float(high),
            **{name: rule.factor * part for name, part in zip(("gain", "gain_low", "gain_high"), gain, strict=True)},
            "cases": int(values.recorded.sum(2).max(initial=0)),
            "groups": values.informative_groups,
            "effective_groups": round(values.effective_groups, 1),
            "values": int(values.recorded.sum()),
            "undefined": int((values.recorded & ~np.isfinite(values.values)).sum()),
            "seeds": len(values.seeds),
        }

    def lead(self, best: _Cell, others: Iterable[_Cell]) -> float:
        """The p value that a cell is better than every other: the largest of those of its differences.

        Testing all of them and taking the best of a column needs no further adjustment (Berger 1982, Gutmann and Maymin
        1987); several columns do. NaN without others, and where a test over seeds could not reject at 5 % because there
        are fewer than :func:`~spectralseg.statistics.significance.fewest_seeds`.
        """
        direction = "higher" if metric_of(best["metric"]).higher_is_better else "lower"
        ours, rivals = self.values(best), [self.values(other) for other in others]
        differences = [pair(ours, rival) for rival in rivals if ours is not None and rival is not None]
        if not differences or any(
            one.informative_seeds < fewest_seeds() or one.informative_groups < FEWEST_GROUPS for one in differences
        ):
            return float("nan")
        return max(one.p_values(direction=direction).holds for one in differences)


def _without_lambda(condition: _Cell) -> tuple[Any, ...]:
    return tuple(condition[name] for name in CONDITION if name != "lambda")
