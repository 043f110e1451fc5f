"""Two methods on the same cases, classes and seeds; and all objectives of a study against a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from spectralseg.errors import InputError
from spectralseg.files import replacing
from spectralseg.metrics.records import MEAN, of_class, read_records
from spectralseg.statistics.bootstrap import Interval, paired_interval
from spectralseg.statistics.equivalence import MARGIN, equivalence
from spectralseg.statistics.improvement import share_improved
from spectralseg.statistics.significance import holm, sign_flip, wilcoxon

# What is compared, and whether higher values are better.
METRICS = {
    **dict.fromkeys(("dsc", "iou", "sensitivity", "specificity", "accuracy", "nsd", "boundary_iou"), True),
    **dict.fromkeys(("hd95", "ece", "mce", "ace", "brier"), False),
}
UNBOUNDED = "hd95"  # in millimetres or pixels: a margin in shares says nothing about it

CONDITION = ["dataset", "architecture", "suite", "test_dataset", "corruption", "severity", "protocol", "metric"]
METHOD = ["objective", "lambda"]
_FAMILY = [*(key for key in CONDITION if key != "architecture"), "class"]
COLUMNS = (
    *(*CONDITION, *METHOD, "class", "baseline"),
    *("difference", "low", "high", "improved", "improved_low", "improved_high"),
    *("p_wilcoxon", "p_holm", "p_sign_flip", "p_equivalence", "equivalent"),
    *("seeds", "groups", "cases", "undefined", "unpaired"),
)


_UNIT = ["class", "seed", "case"]


@dataclass(frozen=True)
class Paired:
    """Differences of two methods where both have a record.

    Attributes:
        differences: (classes, seeds, cases), NaN where one of the two values is undefined or there is no pair.
        groups: group of each case, (cases,).
        undefined: number of pairs without a difference.
        unpaired: number of values without a partner.
    """

    differences: NDArray[np.float64]
    groups: NDArray[Any]
    undefined: int
    unpaired: int

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return int(self.differences.shape[1])

    @property
    def cases(self) -> int:
        """Number of cases."""
        return int(self.differences.shape[2])

    @cached_property
    def over_classes(self) -> NDArray[np.float64]:
        """Mean over the classes that are defined, (seeds, cases)."""
        defined = np.isfinite(self.differences).sum(0)
        sums = np.nansum(self.differences, 0)
        return np.where(defined, sums / np.maximum(defined, 1), np.nan)

    def interval(self, **options: Any) -> Interval:
        """The mean difference with its interval over seeds and groups; options as for
        :func:`~spectralseg.statistics.bootstrap.paired_interval`.
        """
        return paired_interval(self.differences, self.groups, **options)


def join(ours: pd.DataFrame, reference: pd.DataFrame, condition: Sequence[str] = ()) -> pd.DataFrame:
    """Records with the value of a reference for the same class, seed and case.

    Args:
        ours: metric records, of one condition and metric each if ``condition`` is empty.
        reference: those to compare with.
        condition: further columns that must agree.

    Returns:
        The rows of ``ours`` with ``difference`` (value less that of the reference) and ``paired``, which is False where
        the reference has no such record.

    Raises:
        ValueError: the reference has several records for the same.
    """
    keys = [*condition, *_UNIT]
    joined = ours.merge(
        reference[[*keys, "value"]], "left", keys, suffixes=("", "_reference"), indicator="paired", validate="m:1"
    )
    return joined.assign(
        difference=joined["value"] - joined["value_reference"], paired=(joined["paired"] == "both").to_numpy()
    )


def pair(joined: pd.DataFrame) -> Paired:
    """Arrange the rows of :func:`join` of one condition, metric and pair of methods."""
    both = joined[joined["paired"].to_numpy()]
    found = both["difference"].to_numpy(np.float64)
    codes, values = zip(*(np.unique(both[key].to_numpy(), return_inverse=True)[::-1] for key in _UNIT), strict=True)
    differences = np.full([len(one) for one in values], np.nan)
    differences[codes] = found
    groups = np.empty(len(values[-1]), dtype=object)
    groups[codes[-1]] = both["group"].to_numpy()
    return Paired(differences, groups.astype(np.str_), int((~np.isfinite(found)).sum()), len(joined) - len(both))


def compare(records_file: Path, baseline: str, out: Path, margin: float = MARGIN) -> None:
    """Compare all objectives with a baseline and write one row per condition, objective, λ, class and metric.

    Differences are values of the objective less those of the baseline, with 95 % intervals over seeds and groups;
    ``improved`` is the share of cases that are better. ``p_holm`` adjusts ``p_wilcoxon`` within the objectives and
    architectures that share all else. ``p_equivalence`` is of two one-sided tests against ``margin``, NaN for
    distances. ``seeds``, ``groups`` and ``cases`` count what has a partner in the baseline, ``undefined`` the pairs
    without a difference and ``unpaired`` the values without a partner. Class ``mean`` is the mean over the foreground
    classes; classes have rows of their own where there are several.

    Raises:
        InputError: no run of the baseline is there, or the baseline has several λ.
    """
    records = read_records(records_file)
    records = records[records["metric"].isin(METRICS)]
    records = records.astype({name: "str" for name in records.columns if name not in ("seed", "value")})
    reference = records[records["objective"] == baseline]
    if reference.empty:
        raise InputError(f"there are no records of the baseline objective '{baseline}'; add it to the grid")
    _refuse_several_lambdas(reference, baseline)
    cells = join(records[records["objective"] != baseline], reference, CONDITION).groupby([*CONDITION, *METHOD])
    rows = [
        dict(zip([*CONDITION, *METHOD], keys, strict=True))
        | {"class": name, "baseline": baseline}
        | _compare(of_class(cell, name), margin)
        for keys, cell in tqdm(cells, desc="compare", unit="condition", disable=None)
        for name in _classes(cell)
    ]
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"]).assign(p_holm=np.nan)
    for family in table.groupby(_FAMILY).indices.values():
        table.loc[family, "p_holm"] = holm(table.loc[family, "p_wilcoxon"])
    with replacing(out) as partial:
        table[list(COLUMNS)].to_parquet(partial, index=False)


def _classes(cell: pd.DataFrame) -> list[str]:
    """The mean over classes, and the classes of the records of one metric where there are several."""
    names = list(cell["class"].unique())
    return [MEAN, *names] if len(names) > 1 else [MEAN]


def _compare(joined: pd.DataFrame, margin: float) -> dict[str, Any]:
    metric = joined["metric"].iloc[0]
    pairs = pair(joined)
    improved = share_improved(pairs.over_classes * (1 if METRICS[metric] else -1), pairs.groups)
    same = equivalence(pairs.differences, pairs.groups, margin=margin) if metric != UNBOUNDED else None
    return {
        **dict(zip(("difference", "low", "high"), pairs.interval(), strict=True)),
        **dict(zip(("improved", "improved_low", "improved_high"), improved, strict=True)),
        "p_wilcoxon": wilcoxon(pairs.over_classes, pairs.groups),
        "p_sign_flip": sign_flip(pairs.over_classes),
        "p_equivalence": same.p if same else float("nan"),
        "equivalent": bool(same and same.equivalent),
        "seeds": pairs.seeds,
        "groups": len(np.unique(pairs.groups)),
        "cases": pairs.cases,
        "undefined": pairs.undefined,
        "unpaired": pairs.unpaired,
    }


def _refuse_several_lambdas(reference: pd.DataFrame, baseline: str) -> None:
    """Which λ of the baseline the others are measured against must not depend on chance."""
    for _, cell in reference.groupby(CONDITION)["lambda"]:
        lambdas = sorted(map(str, cell.unique()))
        if len(lambdas) > 1:
            raise InputError(
                f"the baseline objective '{baseline}' has several λ ({', '.join(lambdas)}); "
                "choose a baseline with one λ or remove the others from the grid"
            )
