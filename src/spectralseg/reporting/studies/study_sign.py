"""Which reading of the sign reproduces Table 6?

Results against the weight λ for each form of the objective, beside the published results, and the change at the
largest λ under each form.

Eq. (2) is a similarity, and the paper adds it to a loss. Three readings are possible: reward similarity, reward
disagreement as printed, or interpolate. Each predicts a different effect of a large weight λ, and the paper's Table 6
shows one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spectralseg.metrics.catalogue import metric_of
from spectralseg.outputs import title_of
from spectralseg.reporting.drawing import layout, style
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.measurements import Measurements
from spectralseg.reporting.rendering import NO_RUN, PROTOCOLS, Block, Entry, Line, Section, limits, listed, signed
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import row_where, rows_where
from spectralseg.reporting.studies import _common as common
from spectralseg.reporting.studies._common import Effect
from spectralseg.reporting.study import Study, study_page
from spectralseg.statistics.pairing import pair
from spectralseg.statistics.verdicts import FEWEST, enough

RUNS = {
    "dataset": ("acdc", "kvasir_seg"),
    "architecture": ("unet",),
    "auxiliary": ("spectral",),
    "compared": ("lambdas",),
}
NEEDS = ("published/table_6.csv",)

FROM, TO = "0.2", "0.9"  # the paper's choice of λ, and the largest λ, where its results fall
PROTOCOL = "published"  # compared with published numbers
FORMS = {"add": "L + λ(1 − S)", "printed": "L + λS", "convex": "(1 − λ)L + λ(1 − S)"}
_CELL = ["dataset", "architecture", "test_dataset", "group", "column", "metric"]
_LEGEND = (
    "S is the similarity of Eq. (2), L the spatial loss. Below each λ the mean with its 95 % interval over seeds and "
    f"patients, protocol '{PROTOCOL}'; the CSV contains both. Change: result at λ = {TO} minus that at λ = "
    f"{FROM}, same seeds and cases. It reproduces the published change if its interval contains it and not zero; it is "
    f"undecided if the interval contains both, or without {FEWEST}."
)
_WORDS = {
    "draws": "reproduces it",
    "untold": "undecided",
    "direction": "same direction, different size",
    "contradicts": "contradicts it",
}
_OVERALL = {  # from best to worst; the worst verdict on any dataset counts
    "draws": "reproduces the published changes in DSC",
    "direction": "changes in the published direction, on some dataset by a different amount",
    "untold": "undecided",
    "contradicts": "is not compatible with the published changes",
}
_LOOKS = {"add": (style.BLUE, "o"), "printed": (style.VERMILLION, "s"), "convex": (style.GREEN, "^")}


def build(results: Results) -> Study:
    """Compare results against λ under each reading of the sign with Table 6, and the changes at λ = 0.9.

    Raises:
        InputError: published numbers, records or the configuration are missing or damaged.
    """
    table = common.published_table(results, "table_6")
    cells = table.cells
    objectives = common.objectives(results).items()
    forms = {name: objective.form for name, objective in objectives if common.is_full_band(objective)}
    measured = common.measurements(results, set(cells["metric"]), {"iid"})
    curves = pd.DataFrame(_curves(cells, forms, measured), columns=list(_CURVES))
    changes = pd.DataFrame(_changes(cells, forms, measured), columns=list(_CHANGES))
    page = study_page(
        results,
        "study_sign",
        title_of(__doc__),
        answer=_answer(changes),
        needed=_needed(changes),
        sections=[
            Section("change", f"Change from λ = {FROM} to λ = {TO}", tuple(_change_blocks(changes))),
            Section("curves", "Results against λ", tuple(_curve_blocks(cells, curves))),
        ],
        legend=_LEGEND,
        row_headings=("Objective", ""),
        notes=table.notes,
    )
    numbers = pd.concat([changes.assign(part="change"), curves.assign(part="curve")], ignore_index=True)
    figure = _draw(cells, rows_where(curves, protocol=PROTOCOL), demonstration=results.demonstration)
    return Study(page, numbers, figure)


_CURVES = (*_CELL, "form", "objective", "lambda", "protocol", "measured", "low", "high", "seeds", "cases", "published")
_CHANGES = (
    *(*_CELL, "form", "objective", "protocol", "published", "estimate", "low", "high"),
    *("seeds", "groups", "cases", "verdict"),
)


def _curves(cells: pd.DataFrame, forms: Mapping[str, str], measured: Measurements) -> Iterator[dict[str, Any]]:
    """The measured value of each objective in each cell of the table, if it has runs."""
    for protocol in PROTOCOLS:
        for published in cells.to_dict("records"):
            for name, form in forms.items():
                cell = {**published, "objective": name, "protocol": protocol, "leak_free": ""}
                measurement = measured.measure(cell)
                if np.isfinite(measurement["measured"]):
                    yield {
                        **{key: cell[key] for key in (*_CELL, "objective", "lambda", "protocol")},
                        "form": form,
                        "low": measurement["measured_low"],
                        "high": measurement["measured_high"],
                        **{key: measurement[key] for key in ("measured", "seeds", "cases")},
                        "published": published["value"],
                    }


def _changes(cells: pd.DataFrame, forms: Mapping[str, str], measured: Measurements) -> Iterator[dict[Any, Any]]:
    """Published and measured change from one λ to the other, for each column of the table."""
    for protocol in PROTOCOLS:
        for _, column in cells.groupby(["group", "column"], sort=False):
            printed = {lam: column[column["lambda"] == lam].iloc[0] for lam in (FROM, TO)}
            published = printed[TO]["value"] - printed[FROM]["value"]
            for name, form in forms.items():
                method = {"objective": name, "protocol": protocol, "leak_free": ""}
                end, start = (measured.values({**printed[lam], **method}) for lam in (TO, FROM))
                effect = Effect.of(pair(end, start), printed[TO]["metric"]) if end and start else None
                if effect:
                    yield {
                        **printed[TO][_CELL].to_dict(),
                        **{"form": form, "objective": name, "protocol": protocol, "published": published},
                        **effect.columns,
                        "verdict": verdict(effect, published),
                    }


def verdict(effect: Effect, published: float) -> str:
    """Compare a measured change with the published one: ``draws``, ``untold``, ``direction`` or ``contradicts``.

    Without :func:`~spectralseg.statistics.verdicts.enough` seeds and groups it is always ``untold``.
    """
    if not enough(effect.seeds, effect.groups):
        return "untold"
    moved = effect.direction != 0
    if effect.interval.low <= published <= effect.interval.high:
        return "draws" if moved else "untold"
    return "direction" if moved and np.sign(effect.interval.estimate) == np.sign(published) else "contradicts"


def _answer(changes: pd.DataFrame) -> Iterator[str]:
    dice = rows_where(changes, metric="dsc", protocol=PROTOCOL)
    if dice.empty:
        yield f"No conclusion: no objective with Eq. (2) has runs at λ = {FROM} and at λ = {TO}."
        return
    yield _compatible(changes)
    datasets = dice.drop_duplicates("dataset").to_dict("records")
    published = [f"{signed(row['published'])} on {dataset_label(row['dataset'])}" for row in datasets]
    yield f"From λ = {FROM} to λ = {TO} the published DSC changes by {listed(published)}."
    for (name, form), part in dice.groupby(["objective", "form"], sort=False):
        texts = [
            f"{dataset_label(row['dataset'])} {_interval(row)}, {_WORDS[row['verdict']]}"
            for row in part.to_dict("records")
        ]
        yield f"{FORMS[str(form)]} ('{name}'): {'; '.join(texts)}."
    yield from common.few(dice)


def _compatible(changes: pd.DataFrame) -> str:
    """The worst verdict on the published changes in DSC of each form, under both protocols."""
    dice = changes[changes["metric"] == "dsc"]
    kinds: dict[str, list[str]] = {kind: [] for kind in _OVERALL}
    for (name, form), part in dice.groupby(["objective", "form"], sort=False):
        worst = max(part["verdict"], key=list(_OVERALL).index)
        kinds[worst].append(f"{FORMS[str(form)]} ('{name}')")
    text = "; ".join(f"{_OVERALL[kind]}: {listed(names)}" for kind, names in kinds.items() if names)
    return f"{text[0].upper()}{text[1:]}."


def _needed(changes: pd.DataFrame) -> Iterator[str]:
    missing = [f"'{form}' ({text})" for form, text in FORMS.items() if form not in set(changes["form"])]
    if missing:
        noun = "form" if len(missing) == 1 else "forms"
        yield f"No runs of the {noun} {listed(missing)} at both λ: {common.OBJECTIVES_STUDY}."


def _change_blocks(changes: pd.DataFrame) -> Iterator[Block]:
    columns = _columns(changes)
    if not columns:
        return
    rows = [Line("Published", "", tuple(Entry(signed(row_where(changes, **c)["published"])) for c in columns))]
    for (name, form), part in changes.groupby(["objective", "form"], sort=False):
        for protocol in PROTOCOLS:
            row = [row_where(part, protocol=protocol, **column) for column in columns]
            label = f"{name}: {FORMS[str(form)]}" if protocol == next(iter(PROTOCOLS)) else ""
            kind = f"{protocol} protocol"
            rows.append(Line(label, kind, tuple(Entry(_interval(cell) if cell else NO_RUN) for cell in row)))
            rows.append(Line("", "", tuple(Entry(_WORDS[cell["verdict"]] if cell else "") for cell in row)))
    yield _block("", columns, rows)


def _curve_blocks(cells: pd.DataFrame, curves: pd.DataFrame) -> Iterator[Block]:
    columns = _columns(cells)
    for (name, form), part in rows_where(curves, protocol=PROTOCOL).groupby(["objective", "form"], sort=False):
        rows = []
        for lam in cells["lambda"].unique():
            published, row = ([row_where(t, **column, **{"lambda": lam}) for column in columns] for t in (cells, part))
            texts = [metric_of(cell["metric"]).text(cell["value"]) for cell in published]
            rows.append(Line(f"λ = {lam}", "published", tuple(map(Entry, texts))))
            rows.append(Line("", "measured", tuple(Entry(_mean(cell) if cell else NO_RUN) for cell in row)))
        yield _block(f"{name}: {FORMS[str(form)]}", columns, rows)


def _columns(cells: pd.DataFrame) -> list[dict[str, Any]]:
    return cells[["group", "column", "metric"]].drop_duplicates().to_dict("records")  # type: ignore[return-value]


def _block(title: str, columns: Sequence[Mapping[str, Any]], rows: Sequence[Line]) -> Block:
    headings = tuple(f"{column['column']} {metric_of(column['metric']).arrow}" for column in columns)
    return Block(title, tuple(str(column["group"]) for column in columns), headings, tuple(rows))


def _interval(row: Mapping[Any, Any]) -> str:
    return limits(row["estimate"], row["low"], row["high"])


def _mean(row: Mapping[Any, Any]) -> str:
    return common.with_interval(row["metric"], row["measured"], row["low"], row["high"])


def _draw(cells: pd.DataFrame, curves: pd.DataFrame, *, demonstration: bool) -> Figure:
    columns = cells[["group", "column", "metric", "dataset"]].drop_duplicates().to_dict("records")
    footer = [
        f"Means with 95 % intervals over seeds and patients, protocol '{PROTOCOL}'; points are shifted sideways. "
        "HD: 95th percentile in pixels. With one seed an interval is over patients only."
    ]
    sheet = layout.sheet(
        [1.42] * len(columns), [1.9], footer, demonstration=demonstration, left=0.4, gap=0.36, below=0.5
    )
    for panel, column in zip(sheet.panels[0], columns, strict=True):
        place = {"group": column["group"], "column": column["column"]}
        _panel(panel, rows_where(cells, **place), rows_where(curves, **place))
        arrow = metric_of(column["metric"]).arrow
        panel.set_title(f"{dataset_label(column['dataset'])}, {column['column']} {arrow}")
    labels = {form: text if form in set(curves["form"]) else f"{text} (no run)" for form, text in FORMS.items()}
    handles = [common.handle(label, *_LOOKS[form]) for form, label in labels.items()]
    sheet.legend(0, [Line2D([], [], label="published", **_PUBLISHED), *handles], drop=0.3)
    return sheet.figure


_PUBLISHED: dict[str, Any] = {"color": "black", "marker": "D", "markersize": 2.6, "linestyle": (0, (3, 1.5))}


def _panel(panel: Axes, published: pd.DataFrame, curves: pd.DataFrame) -> None:
    panel.plot(published["lambda"].astype(float), published["value"], **_PUBLISHED)
    for place, (_, part) in enumerate(curves.groupby("objective", sort=False)):
        part = part.assign(x=part["lambda"].astype(float) + 0.018 * (place + 1)).sort_values("x")
        common.error_bars(panel, part["x"], part, ("measured", "low", "high"), *_LOOKS[part["form"].iloc[0]])
    panel.set_xlabel("λ")
    panel.set_xticks(sorted(published["lambda"].astype(float).unique()))
