"""Lesion detection, volume and calcium.

All runs on datasets with lesion metrics: detection of single lesions, also by size, differences of lesion count and
volume, and Agatston scores where the dataset has them; and the agreement of volumes, scores and risk categories with
the reference over the test set.

A method with a high Dice may miss most small lesions, because a few large ones determine the overlap. Agreement is
computed over a test set: it is high if predicted volumes or scores reproduce the reference and its differences between
cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectralseg.metrics.lesions import STRATA, risk_category
from spectralseg.outputs import title_of
from spectralseg.published.tables import SELECTION, PublishedTable
from spectralseg.reporting.labels import method_label
from spectralseg.reporting.rendering import MINUS, NO_RUN, UNDEFINED, Block, Entry, Line, Section, limits
from spectralseg.reporting.results import Results
from spectralseg.reporting.table import Table
from spectralseg.reporting.tables._cells import all_runs, blocks_by_kind, fill, leak_free
from spectralseg.statistics.agreement import contributions, intraclass_correlation, weighted_kappa
from spectralseg.statistics.bootstrap import paired_interval

RUNS = {"metrics": ("lesions",)}

METRICS = {
    "Lesions": (
        *("lesion_f1", "lesion_sensitivity", "lesion_precision"),
        *("lesion_count_difference", "volume_difference", "precision"),
    ),
    "Sensitivity by size": tuple(f"lesion_sensitivity_{stratum}" for stratum in STRATA),
    "Agatston score": ("agatston_difference", "risk_agreement"),
}
_PROTOCOL = "sound"
_DIGITS = 3


@dataclass(frozen=True)
class Agreement:
    """The intraclass correlation of a predicted and a reference value.

    Attributes:
        label: heading of its column.
        metrics: names of the two values in metric records; those of several classes are added.
    """

    label: str
    metrics: tuple[str, str]

    def statistic(self, values: NDArray[np.float64]) -> float:
        """ICC(A,1) of the values of all cases (n, 2), at most 1; NaN where undefined."""
        return intraclass_correlation(values).estimate


class RiskAgreement(Agreement):
    """Weighted kappa of the risk categories of two Agatston scores."""

    def statistic(self, values: NDArray[np.float64]) -> float:
        """Kappa with linear weights of the scores of all cases (n, 2), at most 1; NaN where undefined."""
        return weighted_kappa(np.vectorize(risk_category, otypes=[float])(values))


AGREEMENTS: dict[str, Agreement] = {
    "icc_volume": Agreement("Volume ICC", ("volume", "volume_reference")),
    "icc_agatston": Agreement("Agatston ICC", ("agatston", "agatston_reference")),
    "kappa_risk": RiskAgreement("Risk category κ", ("agatston", "agatston_reference")),
}


def build(results: Results) -> Table:
    """A block for each kind of metric and test set with records, and one per test set for the agreement.

    The cells of the agreement have the line ``agreement`` and the metrics of :data:`AGREEMENTS`; ``undefined`` counts
    cases without a volume or score, and those of seeds whose statistic is undefined, which are left out.

    Raises:
        InputError: there are no metric records.
    """
    blocks = blocks_by_kind(results, METRICS)
    notes = (
        "Definitions: docs/metrics-policy.md. Mean over foreground classes; Agatston scores and agreement are of the "
        "foreground as a whole. Small, medium, large: terciles of the sizes of the test set's lesions.",
        "ICC: intraclass correlation of prediction and reference, two-way, absolute agreement, single measurement. κ: "
        "of the five risk categories, linear weights. Each seed over all test cases; mean ± standard deviation over "
        "seeds.",
    )
    cells = pd.concat(blocks or [all_runs(results, ())])
    table = fill(
        results,
        PublishedTable("lesions", title_of(__doc__), "Method", notes if blocks else (_NONE,), cells),
        leak_free,
    )
    agreement = pd.DataFrame(_agreements(results))
    if agreement.empty:
        return table
    sections = (_with_blocks(section, agreement) for section in table.page.sections)
    together = pd.concat([table.cells, agreement], ignore_index=True)
    return Table(replace(table.page, sections=tuple(sections)), together[table.cells.columns])


_NONE = "No dataset of this study has lesion metrics; its specification needs the key 'lesions'."


def _agreements(results: Results) -> Iterator[dict[str, Any]]:
    """Cells of the agreement, for each condition, method and statistic with records."""
    names = {name for agreement in AGREEMENTS.values() for name in agreement.metrics}
    records = results.read(metric=names, suite={"iid", "ood"}, protocol={_PROTOCOL})
    for name, agreement in AGREEMENTS.items():
        part = records[records["metric"].isin(agreement.metrics)]
        methods: dict[tuple[Any, ...], _Ratings] = {
            keys: _Ratings.of(values, agreement) for keys, values in part.groupby(list(SELECTION), sort=True)
        }
        for keys, ratings in methods.items():
            cell = dict(zip(SELECTION, map(str, keys), strict=True))
            references = [other for other in methods if _is_baseline(other, cell, results.baseline)]
            reference = methods[references[0]] if len(references) == 1 else None
            yield {
                **cell,
                **{"table": "lesions", "protocol": _PROTOCOL, "metric": name, "line": "agreement", "leak_free": ""},
                **{"row": method_label(cell), "block": f"Agreement: {_group(cell)}", "group": ""},
                **{"column": agreement.label, "class": "all", "baseline": results.baseline, "published": np.nan},
                **{"paper": "", "published_bold": False, "measured_best": False, "missing_runs": 0},
                **ratings.measure(reference),
                "source": results.origin(cell["dataset"], cell["test_dataset"]),
            }


def _is_baseline(keys: tuple[Any, ...], cell: Mapping[str, Any], baseline: str) -> bool:
    """Whether keys are those of the baseline under the condition of a cell of another objective, with any λ."""
    other = dict(zip(SELECTION, keys, strict=True))
    same = all(other[key] == cell[key] for key in SELECTION if key not in ("objective", "lambda"))
    return same and other["objective"] == baseline != cell["objective"]


def _group(cell: Mapping[str, Any]) -> str:
    """The heading that :func:`all_runs` gives to a test set."""
    return cell["dataset"] if cell["suite"] == "iid" else f"{cell['dataset']} → {cell['test_dataset']}"


@dataclass(frozen=True)
class _Ratings:
    """Predicted and reference values of all seeds and cases, and the groups of the cases.

    Attributes:
        agreement: how the values are summarised.
        values: one row per seed and case, two columns, without rows that have an undefined value.
        groups: group of each case.
        undefined: number of rows left out.
    """

    agreement: Agreement
    values: pd.DataFrame
    groups: pd.Series
    undefined: int

    @classmethod
    def of(cls, records: pd.DataFrame, agreement: Agreement) -> _Ratings:
        values = records.pivot_table("value", ["seed", "case"], "metric", aggfunc="sum", dropna=False)
        defined = records["value"].notna().groupby([records["seed"], records["case"]]).all()
        return cls(
            agreement,
            values.loc[defined[defined].index, list(agreement.metrics)],
            records.drop_duplicates("case").set_index("case")["group"],
            int((~defined).sum()),
        )

    def measure(self, reference: _Ratings | None) -> dict[str, Any]:
        """Columns of a measured cell, with the difference to the ratings of the baseline on the cases of both."""
        estimates = pd.Series(
            {seed: self.agreement.statistic(part.to_numpy()) for seed, part in self.values.groupby(level="seed")},
            dtype=float,
        )
        seeds, cases = self.values.index.get_level_values("seed"), self.values.index.unique("case")
        # A seed whose statistic is undefined is left out with all its cases.
        undefined = self.undefined + int(np.isnan(estimates.reindex(seeds).to_numpy()).sum())
        _, low, high = self._interval(self._contributions(self.values.index))
        gain = (np.nan,) * 3
        if reference is not None:
            common = self.values.index.intersection(reference.values.index)
            gain = self._interval(self._contributions(common) - reference._contributions(common))
        groups = self.groups.reindex(cases).nunique()
        return {
            "measured": float(estimates.mean()),
            "measured_sd": float(estimates.std(ddof=1)),
            "measured_low": max(low, -1.0) if np.isfinite(low) else low,
            "measured_high": min(high, 1.0) if np.isfinite(high) else high,
            **dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)),
            **{"cases": len(cases), "groups": groups, "effective_groups": float(groups)},
            **{"seeds": int(estimates.notna().sum())},
            **{"values": len(self.values) + self.undefined, "undefined": undefined},
        }

    def _contributions(self, index: pd.Index) -> pd.DataFrame:
        """Contributions of the cases of an index to the statistic of each seed, seeds by cases."""
        per_seed = {seed: part.droplevel("seed") for seed, part in self.values.loc[index].groupby(level="seed")}
        parts = {
            seed: pd.Series(contributions(self.agreement.statistic, part.to_numpy()), part.index)
            for seed, part in per_seed.items()
        }
        return pd.DataFrame(parts).T

    def _interval(self, values: pd.DataFrame) -> tuple[float, float, float]:
        if values.empty or not np.isfinite(values.to_numpy()).any():
            return (np.nan,) * 3
        return paired_interval(values.to_numpy(), self.groups.reindex(values.columns).to_numpy())


def _with_blocks(section: Section, cells: pd.DataFrame) -> Section:
    """A section with the blocks of the agreement, if it is that of their protocol."""
    if section.key != _PROTOCOL:
        return section
    blocks = (_block(str(title), part) for title, part in cells.groupby("block", sort=False))
    return replace(section, blocks=(*section.blocks, *blocks))


_COUNTS = {"Cases": "cases", "Seeds": "seeds", "Left out": "undefined"}


def _block(title: str, cells: pd.DataFrame) -> Block:
    columns = list(dict.fromkeys(cells["column"]))
    rows: list[Line] = []
    for label, part in cells.groupby("row", sort=False):
        by_column = {cell["column"]: cell for cell in part.to_dict("records")}
        row = [by_column.get(column) for column in columns]
        rows.append(Line(str(label), "measured", tuple(map(_measured, row))))
        rows.append(Line("", "95 % interval", tuple(_interval(cell) for cell in row)))
        if any(cell is not None and np.isfinite(cell["gain"]) for cell in row):
            rows.append(Line("", f"{MINUS} {part['baseline'].iloc[0]}", tuple(map(_gain, row))))
    counts = (Line(name, "", tuple(_range(cells, column, key) for column in columns)) for name, key in _COUNTS.items())
    headings = tuple(f"{column} ↑" for column in columns)
    return Block(title, ("",) * len(columns), headings, tuple(rows), tuple(counts))


def _measured(cell: Mapping[Any, Any] | None) -> Entry:
    if cell is None:
        return Entry(NO_RUN)
    if np.isnan(cell["measured"]):
        return Entry(UNDEFINED)
    spread = "" if np.isnan(cell["measured_sd"]) else f" ± {cell['measured_sd']:.{_DIGITS}f}"
    return Entry(f"{cell['measured']:.{_DIGITS}f}{spread}".replace("-", MINUS))


def _interval(cell: Mapping[Any, Any] | None) -> Entry:
    ends = [np.nan if cell is None else cell[name] for name in ("measured_low", "measured_high")]
    if np.isnan(ends).any():
        return Entry("")
    return Entry("[" + ", ".join(f"{end:.{_DIGITS}f}" for end in ends).replace("-", MINUS) + "]")


def _gain(cell: Mapping[Any, Any] | None) -> Entry:
    numbers = [np.nan if cell is None else cell[name] for name in ("gain", "gain_low", "gain_high")]
    return Entry("" if np.isnan(numbers).any() else limits(*numbers, digits=_DIGITS))


def _range(cells: pd.DataFrame, column: str, key: str) -> Entry:
    counts = cells.loc[cells["column"] == column, key]
    return Entry(str(counts.min()) if counts.min() == counts.max() else f"{counts.min()}–{counts.max()}")
