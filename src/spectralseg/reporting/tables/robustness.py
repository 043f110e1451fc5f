"""Robustness to corruptions.

Share of the clean Dice that each corruption costs, with the difference to the baseline and its 95 % interval over seeds
and patients, and the mean corruption error.

A method that is better on clean images has a smaller error under corruption as well; only the relative degradation
separates robustness from accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.metrics.records import MEAN
from spectralseg.metrics.robustness import CLEAN, mean_corruption_error
from spectralseg.outputs import title_of
from spectralseg.reporting.labels import dataset_label, method_label
from spectralseg.reporting.rendering import MINUS, NO_RUN, Block, Entry, Line, Page, limits, protocol_sections
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD
from spectralseg.reporting.table import Table
from spectralseg.statistics.bootstrap import Interval, paired_interval

RUNS = {"suite": ("noise",)}

METRIC = "dsc"
LOSS, ERROR = "rD", "mCE"
LEGEND = (
    "rD: percent of the clean Dice that a corruption costs, over its severities; 0 without a loss. Mean: over "
    "corruptions. Below, its difference to the baseline with a 95 % interval over seeds and patients. mCE: error (1 "
    f"{MINUS} Dice) under corruption in percent of the baseline's, mean over corruptions; below 100 is more robust, or "
    f"better on clean images already. Mean ± standard deviation over seeds; {NO_RUN} undefined. Left out: structures "
    "of cases and seeds without a Dice under some condition."
)
_UNIT = ["seed", "case", "class"]
_GAIN = ("gain", "gain_low", "gain_high")
COLUMNS = (
    *("protocol", "dataset", *METHOD, "quantity", "corruption", "severities", "baseline"),
    *("measured", "measured_sd", "gain", "gain_low", "gain_high", "seeds", "cases", "units", "left_out"),
)


def build(results: Results) -> Table:
    """One block per dataset whose test images were corrupted, one row per method; see ``docs/corruptions.md``.

    A structure of a case counts only if its Dice is defined under every condition. The severities of a corruption have
    equal weight.

    The cells have one row per protocol, dataset, method, quantity (``rD``, ``mCE``) and corruption
    (``mean`` over all), in percent; ``units`` counts the structures of cases and seeds, ``left_out`` those without a
    Dice under some condition.

    Raises:
        InputError: there are no metric records.
    """
    records = results.read(suite={"iid", "noise"}, metric={METRIC})
    noisy = set(records.loc[records["suite"] == "noise", "dataset"])
    records = records[records["dataset"].isin(noisy)]
    cells = pd.DataFrame(
        [
            {"protocol": protocol, "dataset": dataset, **row}
            for (protocol, dataset), part in records.groupby(["protocol", "dataset"])
            for row in _of_dataset(part, results.baseline)
        ],
        columns=list(COLUMNS),
    )
    page = Page(
        name="robustness",
        title=title_of(__doc__),
        warnings=results.banner,
        row_headings=("Method", ""),
        sections=protocol_sections(cells, _blocks),
        legend=LEGEND,
        notes=() if len(cells) else ("No test images were corrupted.",),
    )
    return Table(page, cells.assign(source=cells["dataset"].map(results.origin)))


def _of_dataset(records: pd.DataFrame, baseline: str) -> Iterator[dict[str, Any]]:
    """Rows of all methods of a dataset under one protocol."""
    methods = dict(iter(records.groupby(METHOD)))
    scores = {method: _scores(part) for method, part in methods.items()}
    for method, part in methods.items():
        losses = _losses(scores[method])
        references = [key for key in methods if key[:2] == (method[0], baseline)]
        reference = references[0] if len(references) == 1 and method not in references else None
        severities = part[part["corruption"] != CLEAN].groupby("corruption")["severity"].nunique()
        differences = _differences(scores[method], scores[reference]) if reference else pd.DataFrame()
        row = {
            **dict(zip(METHOD, method, strict=True)),
            "baseline": baseline,
            "seeds": losses.index.get_level_values("seed").nunique(),
            "cases": losses.index.get_level_values("case").nunique(),
            "units": len(losses),
            "left_out": len(part[_UNIT].drop_duplicates()) - len(losses),
        }
        for corruption, loss in losses.items():
            gain = _interval(differences[corruption], part) if corruption in differences else (np.nan,) * 3
            yield {
                **row,
                **{"quantity": LOSS, "corruption": corruption},
                "severities": severities.get(corruption, severities.sum()),
                **_over_seeds(loss.groupby("seed").mean()),
                **dict(zip(_GAIN, gain, strict=True)),
            }
        if reference:
            errors = _over_seeds(_errors(part, methods[reference]))
            yield {**row, "quantity": ERROR, "corruption": MEAN, "severities": severities.sum(), **errors}


def _scores(records: pd.DataFrame) -> pd.DataFrame:
    """Dice by seed, case and class, a column per corruption and severity, without structures that lack one."""
    return records.set_index([*_UNIT, "corruption", "severity"])["value"].unstack(["corruption", "severity"]).dropna()


def _losses(scores: pd.DataFrame) -> pd.DataFrame:
    """Contribution of each structure of a case to rD, in percent: a row per seed, case and class.

    rD = 1 - noisy / clean is a ratio of means, which cannot be resampled as a mean over cases. The first-order
    contributions can: their mean is exactly the rD of a seed, and their variance is its variance to first order.

    Returns:
        One column per corruption, and ``mean`` over these.
    """
    values = scores.T.groupby(level="corruption").mean().T
    means = values.groupby("seed").transform("mean")
    kept = means.div(means[CLEAN], axis=0)
    changes = (kept.mul(values[CLEAN], axis=0) - values).div(means[CLEAN], axis=0)
    losses = 100 * (1 - kept + changes).drop(columns=CLEAN)
    return losses.assign(**{MEAN: losses.mean(axis=1)}) if losses.size else losses


def _differences(scores: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """Contributions less those to the baseline, both of the structures of both.

    Returns:
        One column per corruption with the same severities, and ``mean`` if these are all corruptions of both.
    """
    structures, conditions = scores.index.intersection(baseline.index), scores.columns.union(baseline.columns)
    corruptions = conditions.get_level_values("corruption")
    unequal = set(corruptions[~(conditions.isin(scores.columns) & conditions.isin(baseline.columns))])
    same = conditions[~corruptions.isin(unequal)]
    method, reference = (_losses(part.loc[structures, same]) for part in (scores, baseline))
    return (method - reference).drop(columns=[MEAN] if unequal else [])


def _interval(differences: pd.Series, records: pd.DataFrame) -> Interval:
    """Mean difference with its interval over seeds and patients."""
    table = differences.unstack("seed").dropna(how="all")
    groups = records.drop_duplicates("case").set_index("case")["group"]
    if table.empty:
        return Interval(*[float("nan")] * 3)
    return paired_interval(table.to_numpy().T, groups[table.index.get_level_values("case")].to_numpy())


def _errors(records: pd.DataFrame, baseline: pd.DataFrame) -> pd.Series:
    """Mean corruption error of each shared seed, in percent; empty if the conditions differ."""
    conditions = [set(map(tuple, part[["corruption", "severity"]].to_numpy())) for part in (records, baseline)]
    seeds = sorted(set(records["seed"]) & set(baseline["seed"])) if conditions[0] == conditions[1] else []
    columns = ["case", "class", "corruption", "severity", "value"]
    errors = {
        seed: mean_corruption_error(*(part.loc[part["seed"] == seed, columns] for part in (records, baseline)))
        for seed in seeds
    }
    return 100 * pd.Series(errors, dtype="float64").replace([np.inf, -np.inf], np.nan)


def _over_seeds(values: pd.Series) -> dict[str, float]:
    return {"measured": float(values.mean()), "measured_sd": float(values.std(ddof=1))}


def _blocks(cells: pd.DataFrame) -> Iterator[Block]:
    for dataset, part in cells.groupby("dataset", sort=False):
        columns = sorted(
            set(zip(part["quantity"], part["corruption"], strict=True)),
            key=lambda column: (column[0] != LOSS, column[1] == MEAN, column[1]),
        )
        rows = [_rows(cells_of_method, columns) for _, cells_of_method in part.groupby(METHOD, sort=False)]
        groups = tuple(f"{LOSS}, %" if quantity == LOSS else "" for quantity, _ in columns)
        headings = tuple(
            f"{corruption if quantity == LOSS else f'{quantity}, %'} ↓" for quantity, corruption in columns
        )
        yield Block(dataset_label(str(dataset)), (*groups, "", "", ""), (*headings, *_COUNTS), sum(rows, ()))


_COUNTS = {"Seeds": "seeds", "Cases": "cases", "Left out": "left_out"}


def _rows(cells: pd.DataFrame, columns: Sequence[tuple[str, str]]) -> tuple[Line, ...]:
    by_column = {(cell["quantity"], cell["corruption"]): cell for cell in cells.to_dict("records")}
    row = [by_column.get(column) for column in columns]
    first = cells.iloc[0].to_dict()
    counts = tuple(Entry(str(first[name])) for name in _COUNTS.values())
    line = Line(method_label(first), "measured", (*map(_measured, row), *counts))
    if cells["gain"].isna().all():
        return (line,)
    return line, Line("", f"{MINUS} {first['baseline']}", (*map(_gain, row), *(Entry("") for _ in counts)))


def _measured(cell: Mapping[Any, Any] | None) -> Entry:
    if cell is None or np.isnan(cell["measured"]):
        return Entry("" if cell is None else NO_RUN)
    spread = "" if np.isnan(cell["measured_sd"]) else f" ± {cell['measured_sd']:.2f}"
    return Entry(f"{cell['measured']:.2f}{spread}".replace("-", MINUS))


def _gain(cell: Mapping[Any, Any] | None) -> Entry:
    numbers = [np.nan if cell is None else cell[name] for name in _GAIN]
    return Entry("" if np.isnan(numbers).any() else limits(*numbers))
