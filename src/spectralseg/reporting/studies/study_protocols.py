"""How do protocol choices move every table?

Results under both metric protocols and four averagings of the same predictions, beside the gains that the paper claims,
and whether methods rank the same.

The paper does not say how its metrics were averaged.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from spectralseg.metrics.averaging import averages
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.overlap import Counts
from spectralseg.metrics.records import MEAN
from spectralseg.outputs import title_of
from spectralseg.reporting.drawing import layout, style
from spectralseg.reporting.labels import tested_on
from spectralseg.reporting.measurements import Measurements
from spectralseg.reporting.rendering import MINUS, NO_RUN, PROTOCOLS, Block, Entry, Line, Section, counted
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD, rows_where
from spectralseg.reporting.studies import _common as common
from spectralseg.reporting.studies._common import TEST
from spectralseg.reporting.study import Study, study_page
from spectralseg.statistics.pairing import Values, mean
from spectralseg.statistics.ranking import ranking_stability

NEEDS = (
    "published/table_1.csv",
    "published/table_2.csv",
    "published/table_3.csv",
    "published/table_4.csv",
    "published/table_5.csv",
    "published/table_6.csv",
)

TABLES = tuple(f"table_{number}" for number in range(1, 7))
SUITES = {"iid": "own test set", "ood": "other data", "noise": "noise"}
METRICS = ("dsc", "iou", "sensitivity", "specificity", "hd95", "ece", "mce")
AVERAGINGS = {
    "per_image": "per image",
    "per_case": "per case",
    "pooled": "pooled",
    "foreground_background": "fore- and background",
}
AVERAGED = ("dsc", "iou")
REFERENCE = "per_case"  # averaging of the sound protocol
_LEGEND = (
    "Means over foreground classes and seeds. Move: sound minus published protocol, in published units (HD95 in pixels "
    "under 'published', in millimetres under 'sound' where the spacing is known; ECE and MCE follow other "
    "definitions); mean and largest of absolute values over methods and test sets. Gain: mean absolute difference of "
    "methods to the baseline, and of the paper's methods in the given tables. τ: Kendall's τ between the rankings of "
    "methods, mean over test sets; 1 for equal rankings. Other best: test sets on which another method is best."
)
_AVERAGING = (
    "Averagings of the sound protocol, from stored pixel counts: the mean over images or slices; over cases, volumes "
    "as a whole; of all pixels of the test set together; and the mean of the last for foreground and background. Mean"
    " over methods; spread: largest minus smallest. τ: smallest of Kendall's τ between the ranking of "
    "methods per case and under the other averagings; beside it the mean τ and 95 % limits where patients and seeds "
    "are resampled."
)


def build(results: Results) -> Study:
    """Compare all results under both metric protocols and four averagings, and how methods rank under each.

    Raises:
        InputError: published numbers or records are missing or damaged.
    """
    records = results.read(metric=set(METRICS), suite=set(SUITES))
    measured = Measurements(records, results.leakage, results.baseline)
    moves = pd.DataFrame(_moves(records, measured), columns=list(_MOVES))
    averaged = pd.DataFrame(_averages(results), columns=list(_AVERAGES))
    published = common.published_gains(results, *TABLES)
    protocols = pd.DataFrame(_summaries(moves, published), columns=list(_SUMMARY))
    averagings = pd.DataFrame(_spreads(averaged, measured), columns=list(_SPREADS))
    page = study_page(
        results,
        "study_protocols",
        title_of(__doc__),
        answer=[*_protocol_answer(protocols), *_averaging_answer(averagings, protocols)],
        needed=[f"No records of any run: {common.PAPER_STUDY}."] if moves.empty else [],
        sections=[
            Section("protocols", "Published against sound protocol", tuple(_protocol_blocks(protocols))),
            Section("averagings", "Four averagings", tuple(_averaging_blocks(averagings))),
        ],
        legend=_LEGEND,
        row_headings=("Test set", "Metric"),
        notes=[_AVERAGING] if len(averagings) else [],
    )
    numbers = pd.concat([moves.assign(part="protocol"), averaged.assign(part="averaging")], ignore_index=True)
    return Study(page, numbers, _draw(protocols, averagings, demonstration=results.demonstration))


_MOVES = (*TEST, *METHOD, "metric", *PROTOCOLS, *(f"gain_{protocol}" for protocol in PROTOCOLS))
_AVERAGES = (*TEST, *METHOD, "metric", *AVERAGINGS)
_SUMMARY = (
    *("suite", "metric", "tables", "results", "move", "largest", "gain", "published_gain"),
    *("pairs", "reversed", "tau", "tests", "other_best"),
)
_SPREADS = (
    *("suite", "dataset", "test_dataset", "metric", *AVERAGINGS, "spread", "gain"),
    *("methods", "tau", "other_best", "resampled", "resampled_low", "resampled_high"),
)


def _moves(records: pd.DataFrame, measured: Measurements) -> Iterator[dict[str, Any]]:
    """Each result and its gain over the baseline under both protocols, in published units."""
    for cell in common.conditions(records, *TEST, *METHOD, "metric"):
        factor = metric_of(cell["metric"]).factor
        row = {name: cell[name] for name in (*TEST, *METHOD, "metric")}
        for protocol in PROTOCOLS:
            of_protocol = {**cell, "protocol": protocol}
            row[protocol] = factor * _mean(measured.values(of_protocol))
            row[f"gain_{protocol}"] = row[protocol] - factor * _mean(measured.reference(of_protocol))
        yield row


def _mean(values: Values | None) -> float:
    return float(np.mean(values.per_seed)) if values is not None else float("nan")


def _averages(results: Results) -> Iterator[dict[str, Any]]:
    """Overlap metrics of each method on each test set under four averagings, in published units."""
    stored = [*Counts._fields, *(f"{kind}_{metric}" for kind in ("slice", "slices") for metric in AVERAGED)]
    records = results.read(metric=set(stored), suite={"iid", "ood"}, protocol={"sound"})
    for tested, part in records.groupby(TEST, sort=False):
        table = part.pivot(index=[*METHOD, "seed", "case"], columns=["metric", "class"], values="value").sort_index()
        classes = table["tp"].columns
        columns = {name: table[name][classes].to_numpy() for name in dict.fromkeys(table.columns.get_level_values(0))}
        runs: dict[tuple[Any, ...], NDArray[np.int64]] = table.groupby([*METHOD, "seed"]).indices  # type: ignore[assignment]
        per_seed = {
            run: of_counts({name: values[rows] for name, values in columns.items()}) for run, rows in runs.items()
        }
        for method, metric in itertools.product(dict.fromkeys(run[:-1] for run in per_seed), AVERAGED):
            seeds = [means[metric] for run, means in per_seed.items() if run[:-1] == method]
            means = {name: 100 * float(np.mean([seed[name] for seed in seeds])) for name in AVERAGINGS}
            yield {**dict(zip([*TEST, *METHOD], (*tested, *method), strict=True)), "metric": metric, **means}


def of_counts(stored: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Mean over classes of DSC and IoU under each of :data:`AVERAGINGS`, from the records of one run.

    Args:
        stored: arrays (cases, classes) by name of the metric: the four counts and, for volumes, ``slice_<metric>`` and
            ``slices_<metric>`` (mean over slices and their number), with which images are averaged over all slices.
    """
    counts = Counts(*(stored[name].astype(np.int64) for name in Counts._fields))
    by_metric = {}
    for metric in AVERAGED:
        means = {name: a.value for name, a in averages(counts, np.arange(len(counts.tp)), metric).items()}
        if f"slice_{metric}" in stored:
            values, sizes = (stored[f"{kind}_{metric}"] for kind in ("slice", "slices"))
            weights = np.where(np.isfinite(values), sizes, 0)
            with np.errstate(invalid="ignore"):
                means["per_image"] = (np.nan_to_num(values) * weights).sum(0) / weights.sum(0)
        by_metric[metric] = {name: float(mean(value, 0)) for name, value in means.items()}
    return by_metric


def _summaries(moves: pd.DataFrame, published: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Per suite and metric: moves of results, gains, and changes of rankings."""
    for suite, metric in itertools.product(SUITES, METRICS):
        part = rows_where(moves, suite=suite, metric=metric).dropna(subset=list(PROTOCOLS))
        if part.empty:
            continue
        move = (part["sound"] - part["published"]).abs()
        gains = part.dropna(subset=["gain_sound", "gain_published"])
        ranked = [
            compare_rankings(test["published"], test["sound"], metric)
            for _, test in part.groupby(TEST)
            if len(test) > 1
        ]
        paper = rows_where(published, suite=suite, metric=metric)
        yield {
            **{"suite": suite, "metric": metric, "results": len(part)},
            "tables": ", ".join(dict.fromkeys(name.removeprefix("table_") for name in paper["table"])),
            **{"move": move.mean(), "largest": move.max()},
            **{"gain": gains["gain_sound"].abs().mean(), "published_gain": paper["published_gain"].abs().mean()},
            "pairs": len(gains),
            "reversed": int((np.sign(gains["gain_sound"]) * np.sign(gains["gain_published"]) < 0).sum()),
            "tau": float(mean(np.array([tau for tau, _ in ranked]), 0)),
            **{"tests": len(ranked), "other_best": sum(other for _, other in ranked)},
        }


def compare_rankings(first: ArrayLike, second: ArrayLike, metric: str) -> tuple[float, bool]:
    """Kendall's τ between the rankings of the same methods by two sets of results, and whether the best differs."""
    before, after = (metric_of(metric).sign * np.asarray(values, float) for values in (first, second))
    return float(stats.kendalltau(before, after).statistic), after[before.argmax()] < after.max()


def _spreads(averaged: pd.DataFrame, measured: Measurements) -> Iterator[dict[str, Any]]:
    """Per test set and metric: means over methods under each averaging, and comparison of the rankings."""
    ordered = averaged.sort_values("suite", kind="stable", key=lambda suite: suite.map(list(SUITES).index))
    for keys, part in ordered.groupby([*TEST, "metric"], sort=False):
        test = dict(zip([*TEST, "metric"], keys, strict=True))
        means = part[list(AVERAGINGS)].mean()
        cells = [{**row, "protocol": "sound", "leak_free": "", "class": MEAN} for row in part.to_dict("records")]
        others = [name for name in AVERAGINGS if name != REFERENCE and len(part) > 1]
        ranked = [compare_rankings(part[REFERENCE], part[name], str(test["metric"])) for name in others]
        yield {
            **{name: test[name] for name in ("suite", "dataset", "test_dataset", "metric")},
            **means,
            "spread": means.max() - means.min(),
            "gain": _mean_gain(cells, measured),
            "methods": len(part),
            "tau": min((tau for tau, _ in ranked), default=float("nan")),
            "other_best": any(other for _, other in ranked),
            **_resampled([measured.values(cell) for cell in cells]),
        }


def _mean_gain(cells: Sequence[Mapping[Any, Any]], measured: Measurements) -> float:
    """Mean absolute difference to the baseline in published units; NaN without a baseline."""
    gains = [100 * (_mean(measured.values(cell)) - _mean(measured.reference(cell))) for cell in cells]
    finite = [abs(gain) for gain in gains if np.isfinite(gain)]
    return float(np.mean(finite)) if finite else float("nan")


def _resampled(values: Sequence[Values | None]) -> dict[str, float]:
    """Kendall's τ with patients and shared seeds resampled: mean and limits."""
    names = ("resampled", "resampled_low", "resampled_high")
    methods = [method for method in values if method is not None]
    seeds = set.intersection(*({int(seed) for seed in method.seeds} for method in methods)) if methods else set()
    same = all(np.array_equal(method.cases, methods[0].cases) for method in methods)
    if len(methods) < 2 or not seeds or not same:
        return dict.fromkeys(names, float("nan"))
    scores = [mean(method.values[:, np.isin(method.seeds, list(seeds))], 0) for method in methods]
    return dict(zip(names, ranking_stability(np.stack(scores), methods[0].groups, resamples=300).tau, strict=True))


def _protocol_answer(protocols: pd.DataFrame) -> Iterator[str]:
    if protocols.empty:
        yield "No conclusion: there are no records."
        return
    larger = protocols[protocols["move"] > protocols["gain"]]
    compared = protocols["gain"].notna().sum()
    changed, gains, other_best, rankings = protocols[["reversed", "pairs", "other_best", "tests"]].sum().astype(int)
    yield (
        "From the published to the sound protocol, results move by more than methods differ from the baseline in "
        f"{len(larger)} of {compared} kinds of results (metric and test set), {changed} of {gains} gains change sign, "
        f"and another method is best in {other_best} of {rankings} rankings."
    )
    for row in protocols[protocols["metric"] == "dsc"].to_dict("records"):
        claimed = "" if np.isnan(row["published_gain"]) else f", where the paper claims {row['published_gain']:.2f}"
        gain = "" if np.isnan(row["gain"]) else f"; methods differ from the baseline by {row['gain']:.2f}{claimed}"
        yield (
            f"DSC, {SUITES[row['suite']]}: {counted(row['results'], 'result')} move by {row['move']:.2f} "
            f"percentage points on average and {row['largest']:.2f} at most{gain}."
        )


def _averaging_answer(averagings: pd.DataFrame, protocols: pd.DataFrame) -> Iterator[str]:
    for metric in AVERAGED:
        rows = averagings[averagings["metric"] == metric]
        if rows.empty:
            continue
        foreground = rows[list(AVERAGINGS)[:-1]]
        units = foreground.max(axis=1) - foreground.min(axis=1)
        ranked = rows[rows["methods"] > 1]
        worst = rows.to_dict("records")[int(units.argmax())]
        yield (
            f"Averaging {metric_of(metric).label} over images, cases or all pixels moves it by {units.mean():.2f} on "
            f"average and by {units.max():.2f} on {tested_on(worst)}; with the background the spread is "
            f"{rows['spread'].mean():.2f} on average. Another method is best under another averaging on "
            f"{int(ranked['other_best'].sum())} of {counted(len(ranked), 'test set')}."
        )


def _protocol_blocks(protocols: pd.DataFrame) -> Iterator[Block]:
    groups = ("",) + ("Move",) * 2 + ("Gain",) * 3 + ("Rankings",) * 2
    headings = ("results", "mean", "largest", "measured", "paper", "change sign", "τ", "other best")
    rows = []
    for row in protocols.to_dict("records"):
        tables = f" (Tables {row['tables']})" if "," in row["tables"] else f" (Table {row['tables']})"
        texts = (
            *(str(row["results"]), _text(row["move"]), _text(row["largest"])),
            *(_text(row["gain"]), _text(row["published_gain"])),
            f"{row['reversed']} of {row['pairs']}" if row["pairs"] else NO_RUN,
            *(_text(row["tau"]), f"{row['other_best']} of {row['tests']}" if row["tests"] else NO_RUN),
        )
        label = f"{SUITES[row['suite']]}{tables if row['tables'] else ''}"
        rows.append(Line(label, metric_of(row["metric"]).label, tuple(map(Entry, texts))))
    if rows:
        yield Block("", groups, headings, tuple(rows))


def _averaging_blocks(averagings: pd.DataFrame) -> Iterator[Block]:
    groups = ("",) * (len(AVERAGINGS) + 2) + ("Rankings",) * 3
    headings = (*AVERAGINGS.values(), "spread", "gain", "τ", "other best", "τ resampled")
    rows = []
    for row in averagings.to_dict("records"):
        ranked = row["methods"] > 1
        resampled, low, high = (_text(row[name]) for name in ("resampled", "resampled_low", "resampled_high"))
        texts = (
            *(_text(row[name]) for name in (*AVERAGINGS, "spread", "gain")),
            *(_text(row["tau"]), ("yes" if row["other_best"] else "no") if ranked else NO_RUN),
            NO_RUN if resampled == NO_RUN else f"{resampled} [{low}, {high}]",
        )
        rows.append(Line(tested_on(row), metric_of(row["metric"]).label, tuple(map(Entry, texts))))
    if rows:
        yield Block("", groups, headings, tuple(rows))


def _text(value: float) -> str:
    return NO_RUN if np.isnan(value) else f"{value:z.2f}".replace("-", MINUS)


def _draw(protocols: pd.DataFrame, averagings: pd.DataFrame, *, demonstration: bool) -> Figure:
    if protocols.empty:
        return layout.no_data("There are no records.", demonstration=demonstration)
    rows = protocols[protocols["metric"] != "hd95"]
    dice = averagings[averagings["metric"] == "dsc"]
    footer = [
        "Left: mean absolute move of a result from the published to the sound protocol beside mean absolute gains over "
        "the baseline, measured and published, in percentage points. Without HD95, as its unit changes. Right: mean "
        "DSC of all methods under four averagings of the same predictions, per test set."
    ]
    sheet = layout.sheet(
        [2.3, 2.3],
        [0.17 * max(len(rows), len(dice), 6) + 0.3],
        footer,
        demonstration=demonstration,
        left=1.0,
        gap=1.35,
        top=0.5,
        below=0.36,
    )
    left, right = sheet.panels[0]
    labels = [f"{SUITES[row['suite']]}, {metric_of(row['metric']).label}" for row in rows.to_dict("records")]
    _dots(left, labels, rows, _MARKS)
    left.set_xlabel("percentage points")
    left.set_xscale("symlog", linthresh=0.1)
    left.set_xlim(left=0)
    left.xaxis.set_major_formatter("{x:g}")
    left.xaxis.set_minor_locator(NullLocator())
    _dots(right, [tested_on(row) for row in dice.to_dict("records")], dice, _AVERAGE_MARKS)
    right.set_xlabel("DSC, %")
    return sheet.figure


_MARKS = {
    "move": ("move", style.VERMILLION, "o"),
    "gain": ("measured gain", style.BLUE, "s"),
    "published_gain": ("published gain", "black", "D"),
}
_AVERAGE_MARKS = {
    name: (label, colour, marker)
    for (name, label), colour, marker in zip(
        AVERAGINGS.items(), (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE), "osD^", strict=True
    )
}


def _dots(panel: Axes, labels: Sequence[str], rows: pd.DataFrame, marks: Mapping[str, tuple[str, str, str]]) -> None:
    """One line per row with a mark for each column, slightly shifted."""
    for y, row in enumerate(rows.to_dict("records")):
        finite = [row[name] for name in marks if np.isfinite(row[name])]
        panel.plot([min(finite), max(finite)], [y, y], color="#BBBBBB", linewidth=0.7, zorder=1)
        for place, (name, (_, colour, marker)) in enumerate(marks.items()):
            height = y + 0.16 * (place - (len(marks) - 1) / 2)
            panel.plot(row[name], height, marker, color=colour, markersize=3, zorder=2)
    handles = [common.handle(*mark, linestyle="") for mark in marks.values()]
    panel.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2, fontsize=style.SMALL_SIZE)
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
