"""The weight λ under every reading of the sign.

Dice, IoU and Hausdorff distance against the weight λ, one line for each reading of the sign that was run, single seeds
as points, the baseline as a line, the paper's Table 6 as crosses. Bars are 95 % intervals of the paired difference to
the baseline, drawn at its line.

The paper prints L + λ(1 − A), which rewards a larger A, and describes the opposite. Where a bar crosses the line of the
baseline, the difference may be zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spectralseg.config import Objective
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import MEAN
from spectralseg.published.tables import read_published_table
from spectralseg.reporting.drawing import layout, series, style
from spectralseg.reporting.labels import architecture_label, dataset_label
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import rows_where
from spectralseg.statistics.bootstrap import Interval
from spectralseg.statistics.pairing import Values, pair

RUNS = {"compared": ("lambdas",), "suite": ("iid",)}
NEEDS = ("published/table_6.csv",)

PROTOCOL = "published"
FORMS = {"add": "L + λA", "printed": "L + λ(1 − A), as printed", "convex": "(1 − λ)L + λA"}
_METRICS = {"dsc": "%", "iou": "%", "hd95": "pixels"}  # with their units
_ROWS = 5
_LEFT, _GAP = 0.46, 0.5  # inches
_READING = (
    "Means over foreground classes, seeds and cases, {protocol} protocol, as of the paper's table. L: {base}; A: "
    "{auxiliary}. Small points: single seeds. Bars: {interval}. {counts}"
)
_PAIRED = (
    f"95 % interval of the paired difference to '{{base}}' over seeds and cases ({series.RESAMPLES:,} bootstrap "
    "resamples; with one seed, over cases only), drawn at its line: a bar across the line includes zero"
)


def build(results: Results) -> Figure:
    """One row per dataset and architecture, one column per metric, one line per form of the objective."""
    family = _family(results)
    if not family:
        text = "No objective with an auxiliary term was run with several λ."
        return layout.no_data(text, demonstration=results.demonstration)
    forms, base = family
    records = series.read(results, list(_METRICS), protocol=PROTOCOL, suite={"iid"})
    curves = records[records["objective"].isin(forms)]
    several = curves.groupby(["dataset", "architecture", "objective"])["lambda"].nunique().groupby(level=[0, 1]).max()
    places = sorted(
        several[several > 1].index,
        key=lambda place: (series.dataset_order(results, place[0]), series.order(results, place[1], "", "0")),
    )
    published = _published(results)
    left_out, places = layout.left_out("Rows", len(places[_ROWS:])), places[:_ROWS]
    records = pd.concat([curves, records[records["objective"] == base]])
    records = records[pd.MultiIndex.from_frame(records[["dataset", "architecture"]]).isin(places)]
    sheet = layout.sheet(
        [layout.fitting(len(_METRICS), left=_LEFT, gap=_GAP)] * len(_METRICS),
        [1.25] * len(places),
        _footer(forms, base, records, published, left_out),
        demonstration=results.demonstration,
        left=_LEFT,
        gap=_GAP,
        below=0.32,
        legend=_handles(forms, base, published),
    )
    for row, (dataset, architecture) in enumerate(places):
        for panel, metric in zip(sheet.panels[row], _METRICS, strict=True):
            cell = {"dataset": dataset, "architecture": architecture, "metric": metric}
            _draw(panel, rows_where(records, **cell), forms, base, rows_where(published, **cell))
            panel.set_ylabel(f"{metric_of(metric).label} / {_METRICS[metric]}")
            panel.set_title(f"{dataset_label(dataset)}, {architecture_label(architecture)}")
    for panel in sheet.panels[-1]:
        panel.set_xlabel("weight λ")
    return sheet.figure


def _family(results: Results) -> tuple[dict[str, Objective], str] | None:
    """Objectives that differ only in form, the first with several λ, and the name of their base objective."""
    config = results.config
    if config is None or not (results.root / "records.parquet").is_file():
        return None
    records = series.read(results, ["dsc"], protocol=PROTOCOL, suite={"iid"})
    counts = records.groupby(["dataset", "architecture", "objective"])["lambda"].nunique()
    several = set(counts[counts > 1].index.get_level_values("objective"))
    first = next((objective for name, objective in config.objectives.items() if name in several), None)
    if first is None:
        return None
    added = first.model_copy(update={"form": "add"})
    forms = {
        name: objective
        for name, objective in config.objectives.items()
        if objective.model_copy(update={"form": "add"}) == added and name in set(records["objective"])
    }
    plain = added.model_copy(update={"auxiliary": None, "auxiliary_options": {}})
    base = next((name for name, objective in config.objectives.items() if objective == plain), "")
    return forms, base


def _published(results: Results) -> pd.DataFrame:
    """The cells of Table 6 that are means over classes; empty without published numbers."""
    if results.published is None:
        return pd.DataFrame(columns=["dataset", "architecture", "metric", "lambda", "value"])
    cells = read_published_table(results.published, "table_6").cells
    return cells[(cells["class"] == MEAN) & (cells["suite"] == "iid")]


def _footer(
    forms: Mapping[str, Objective], base: str, records: pd.DataFrame, published: pd.DataFrame, left_out: str
) -> list[str]:
    first = next(iter(forms.values()))
    reading = _READING.format(
        protocol=PROTOCOL,
        base=first.base.replace("_", " "),
        auxiliary=first.auxiliary,
        interval=_PAIRED.format(base=base) if base else series.INTERVAL,
        counts=series.counts_text(records),
    )
    absent = [FORMS[form] for form in FORMS if form not in {objective.form for objective in forms.values()}]
    remarks = layout.paragraph(
        f"Forms that were not run: {'; '.join(absent)}." if absent else "All forms were run.",
        f"Line: objective '{base}', without the term." if base else "The base objective alone was not run.",
        "Grey crosses: the paper's Table 6, which names no backbone and gives no unit of HD." if len(published) else "",
        left_out,
    )
    return [reading, remarks]


def _handles(forms: Mapping[str, Objective], base: str, published: pd.DataFrame) -> list[Line2D]:
    labels = {f"{name}: {FORMS[objective.form]}": _look(objective) for name, objective in forms.items()}
    handles = [Line2D([], [], markersize=3, label=label, **look) for label, look in labels.items()]
    if base:
        handles.append(Line2D([], [], color="black", linewidth=0.7, label=base))
    if len(published):
        handles.append(Line2D([], [], label="paper", **_PAPER))
    return handles


_PAPER: dict[str, Any] = {"color": style.FAINT, "marker": "x", "linestyle": "", "markersize": 4}


def _look(objective: Objective) -> dict[str, Any]:
    return style.LOOKS[list(FORMS).index(objective.form)]


def _draw(
    panel: Axes, records: pd.DataFrame, forms: Mapping[str, Objective], base: str, published: pd.DataFrame
) -> None:
    if records.empty:
        layout.empty(panel, "no run")
        return
    factor = metric_of(records["metric"].iloc[0]).factor
    without = records[records["objective"] == base]
    if len(without):
        panel.axhline(series.mean(without).estimate, color="black", linewidth=0.7)
    for number, (name, objective) in enumerate(forms.items()):
        own = series.by(records[records["objective"] == name], "lambda")
        lambdas = sorted(own, key=float)
        look, shift = _look(objective), 0.012 * (number - (len(forms) - 1) / 2)
        means = [series.mean(own[lam]) for lam in lambdas]
        places = [float(lam) + shift for lam in lambdas]
        panel.plot(places, [mean.estimate for mean in means], markersize=3, markeredgewidth=0, **look)
        for x, lam, mean in zip(places, lambdas, means, strict=True):
            series.bar(panel, x, _against(own[lam], without) if len(without) else mean, look)
            seeds = own[lam].groupby(["seed", "class"])["value"].mean().groupby("seed").mean() * factor
            panel.plot([x + 0.008] * len(seeds), seeds, ".", color=look["color"], markersize=2.4, markeredgewidth=0)
    if len(published):
        panel.plot(published["lambda"].astype(float), published["value"], **_PAPER)
    panel.set_xlim(0, None)


def _against(records: pd.DataFrame, without: pd.DataFrame) -> Interval:
    """Interval of the difference to the objective without the term, shifted by the mean of that objective."""
    factor = metric_of(records["metric"].iloc[0]).factor
    pairs = pair(*(Values.of(part).of_class(MEAN) for part in (records, without)))
    level = series.mean(without).estimate
    return Interval(*(level + factor * limit for limit in pairs.interval(resamples=series.RESAMPLES)))
