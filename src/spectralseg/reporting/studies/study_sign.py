"""Which reading of the sign draws Table 6?

Results against the weight λ for each form of the objective beside the published ones, and what the largest λ does under
each.

Eq. (2) is a similarity, and the paper adds it to a loss. Three readings are possible: reward similarity, reward
disagreement as printed, or interpolate. Each predicts another effect of a large weight λ, and the paper's Table 6 shows
one effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
from spectralseg.reporting.rendering import MINUS, NO_RUN, PROTOCOLS, Block, Entry, Line, Section, limits, signed
from spectralseg.reporting.results import Results
from spectralseg.reporting.studies import _common as common
from spectralseg.reporting.studies._common import Effect
from spectralseg.reporting.study import Study, study_page
from spectralseg.statistics.pairing import pair
from spectralseg.statistics.verdicts import FEWEST, enough

NEEDS = ("published/table_6.csv",)

FROM, TO = "0.2", "0.9"  # the paper's choice of λ, and the largest, where its results fall
SHOWN = "published"  # protocol that is set beside printed numbers
FORMS = {"add": "L + λ(1 − S)", "printed": "L + λS", "convex": "(1 − λ)L + λ(1 − S)"}
_CELL = ["dataset", "architecture", "test_dataset", "group", "column", "metric"]
_LEGEND = (
    "S is the similarity of Eq. (2), L the spatial loss. Below each λ the mean with its 95 % interval over seeds and "
    f"patients, protocol '{SHOWN}'; the CSV holds the other as well. Change: result at λ = {TO} less that at λ = "
    f"{FROM}, same seeds and cases. It draws the published change if its interval holds it and not zero; it cannot be "
    f"told if it holds both, or without {FEWEST}."
)
_WORDS = {
    "draws": "draws it",
    "untold": "cannot be told",
    "direction": "same direction, another size",
    "contradicts": "does not",
}
_OVERALL = {  # from the best to the worst that a reading meets on any dataset
    "draws": "draws the published changes in DSC",
    "direction": "moves in the published direction, somewhere by another amount",
    "untold": "cannot be told",
    "contradicts": "is not compatible with them",
}
_LOOKS = {
    "add": (style.BLUE, "o"),
    "printed": (style.VERMILLION, "s"),
    "convex": (style.GREEN, "^"),
}


def build(results: Results) -> Study:
    """Set results against λ under each reading of the sign beside Table 6, and compare what λ = 0.9 does.

    Raises:
        InputError: published numbers, records or the configuration are missing or damaged.
    """
    printed = common.published_table(results, "table_6")
    cells = printed.cells
    forms = {
        name: objective.form for name, objective in common.objectives(results).items() if common.is_full_band(objective)
    }
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
        notes=printed.notes,
    )
    numbers = pd.concat([changes.assign(part="change"), curves.assign(part="curve")], ignore_index=True)
    with style.applied():
        figure = _draw(cells, curves[curves["protocol"] == SHOWN], demonstration=results.demonstration)
    return Study(page, numbers, figure)


_CURVES = (*_CELL, "form", "objective", "lambda", "protocol", "measured", "low", "high", "seeds", "cases", "published")
_CHANGES = (
    *_CELL,
    "form",
    "objective",
    "protocol",
    "published",
    "estimate",
    "low",
    "high",
    "seeds",
    "groups",
    "cases",
    "verdict",
)


def _curves(cells: pd.DataFrame, forms: Mapping[str, str], measured: Measurements) -> Iterator[dict[str, Any]]:
    """What each objective measures in each cell of the table, where it has runs."""
    for protocol in PROTOCOLS:
        for printed in cells.to_dict("records"):
            for name, form in forms.items():
                cell = {**printed, "objective": name, "protocol": protocol, "leak_free": ""}
                found = measured.measure(cell)
                if np.isfinite(found["measured"]):
                    yield {
                        **{key: cell[key] for key in (*_CELL, "objective", "lambda", "protocol")},
                        "form": form,
                        "low": found["measured_low"],
                        "high": found["measured_high"],
                        **{key: found[key] for key in ("measured", "seeds", "cases")},
                        "published": printed["value"],
                    }


def _changes(cells: pd.DataFrame, forms: Mapping[str, str], measured: Measurements) -> Iterator[dict[Any, Any]]:
    """What going from one λ to the other does, published and measured, for each column of the table."""
    for protocol in PROTOCOLS:
        for _, column in cells.groupby(["group", "column"], sort=False):
            printed = {lam: column[column["lambda"] == lam].iloc[0] for lam in (FROM, TO)}
            published = printed[TO]["value"] - printed[FROM]["value"]
            for name, form in forms.items():
                chosen = {"objective": name, "protocol": protocol, "leak_free": ""}
                end, start = (measured.values({**printed[lam], **chosen}) for lam in (TO, FROM))
                effect = Effect.of(pair(end, start), printed[TO]["metric"]) if end and start else None
                if effect:
                    yield {
                        **printed[TO][_CELL].to_dict(),
                        **{"form": form, "objective": name, "protocol": protocol, "published": published},
                        **effect.columns,
                        "verdict": verdict(effect, published),
                    }


def verdict(effect: Effect, published: float) -> str:
    """How a measured change stands to the published one: ``draws``, ``untold``, ``direction`` or ``contradicts``.

    Without :func:`~spectralseg.statistics.verdicts.enough` seeds and groups it is always ``untold``.
    """
    if not enough(effect.seeds, effect.groups):
        return "untold"
    moved = effect.direction != 0
    if effect.interval.low <= published <= effect.interval.high:
        return "draws" if moved else "untold"
    return "direction" if moved and np.sign(effect.interval.estimate) == np.sign(published) else "contradicts"


def _answer(changes: pd.DataFrame) -> Iterator[str]:
    dice = changes[(changes["metric"] == "dsc") & (changes["protocol"] == SHOWN)]
    if dice.empty:
        yield f"Nothing can be said: no objective with Eq. (2) has runs at λ = {FROM} and at λ = {TO}."
        return
    yield _compatible(changes)
    told = dice.drop_duplicates("dataset")
    where = [f"{signed(row['published'])} on {dataset_label(row['dataset'])}" for row in told.to_dict("records")]
    yield f"From λ = {FROM} to λ = {TO} the published DSC changes by {common.listed(where)}."
    for (name, form), part in dice.groupby(["objective", "form"], sort=False):
        texts = [
            f"{dataset_label(row['dataset'])} {_interval(row)}, {_WORDS[row['verdict']]}"
            for row in part.to_dict("records")
        ]
        yield f"{FORMS[str(form)]} ('{name}'): {'; '.join(texts)}."
    yield from common.few(dice)


def _compatible(changes: pd.DataFrame) -> str:
    """Which forms fit every published change in DSC, under both protocols."""
    dice = changes[changes["metric"] == "dsc"]
    kinds: dict[str, list[str]] = {kind: [] for kind in _OVERALL}
    for (name, form), part in dice.groupby(["objective", "form"], sort=False):
        worst = max(part["verdict"], key=list(_OVERALL).index)
        kinds[worst].append(f"{FORMS[str(form)]} ('{name}')")
    parts = [f"{_OVERALL[kind]}: {common.listed(names)}" for kind, names in kinds.items() if names]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _needed(changes: pd.DataFrame) -> Iterator[str]:
    lacking = [f"'{form}' ({FORMS[form]})" for form in FORMS if form not in set(changes["form"])]
    if lacking:
        noun = "form" if len(lacking) == 1 else "forms"
        yield f"No runs of the {noun} {common.listed(lacking)} at both λ: {common.OBJECTIVES_STUDY}."


def _change_blocks(changes: pd.DataFrame) -> Iterator[Block]:
    columns = changes[["group", "column", "metric"]].drop_duplicates().to_dict("records")
    if not columns:
        return
    rows = [Line("Published", "", tuple(Entry(signed(_first(changes, column)["published"])) for column in columns))]
    for (name, form), part in changes.groupby(["objective", "form"], sort=False):
        for protocol in PROTOCOLS:
            found = [_first(part[part["protocol"] == protocol], column) for column in columns]
            label = f"{name}: {FORMS[str(form)]}" if protocol == next(iter(PROTOCOLS)) else ""
            kind = f"{protocol} protocol"
            rows.append(Line(label, kind, tuple(Entry(_interval(row) if row else NO_RUN) for row in found)))
            rows.append(Line("", "", tuple(Entry(_WORDS[row["verdict"]] if row else "") for row in found)))
    yield Block("", _groups(columns), _headings(columns), tuple(rows))


def _curve_blocks(cells: pd.DataFrame, curves: pd.DataFrame) -> Iterator[Block]:
    shown = curves[curves["protocol"] == SHOWN]
    columns = cells[["group", "column", "metric"]].drop_duplicates().to_dict("records")
    for (name, form), part in shown.groupby(["objective", "form"], sort=False):
        rows = []
        for lam in cells["lambda"].unique():
            printed = [_first(cells[cells["lambda"] == lam], column) for column in columns]
            found = [_first(part[part["lambda"] == lam], column) for column in columns]
            texts = [metric_of(row["metric"]).text(row["value"]) for row in printed]
            rows.append(Line(f"λ = {lam}", "published", tuple(map(Entry, texts))))
            rows.append(Line("", "measured", tuple(Entry(_mean(row) if row else NO_RUN) for row in found)))
        yield Block(f"{name}: {FORMS[str(form)]}", _groups(columns), _headings(columns), tuple(rows))


def _groups(columns: Iterable[Mapping[Any, Any]]) -> tuple[str, ...]:
    return tuple(str(column["group"]) for column in columns)


def _headings(columns: Iterable[Mapping[Any, Any]]) -> tuple[str, ...]:
    return tuple(f"{column['column']} {metric_of(column['metric']).arrow}" for column in columns)


def _first(rows: pd.DataFrame, column: Mapping[Any, Any]) -> dict[Any, Any]:
    """The row of a column of the table; empty where there is none."""
    found = rows[(rows["group"] == column["group"]) & (rows["column"] == column["column"])].to_dict("records")
    return found[0] if found else {}


def _interval(row: Mapping[Any, Any]) -> str:
    return limits(row["estimate"], row["low"], row["high"])


def _mean(row: Mapping[Any, Any]) -> str:
    rule = metric_of(row["metric"])
    return f"{rule.text(row['measured'])} [{rule.text(row['low'])}, {rule.text(row['high'])}]".replace("-", MINUS)


def _draw(cells: pd.DataFrame, curves: pd.DataFrame, *, demonstration: bool) -> Figure:
    columns = cells[["group", "column", "metric", "dataset"]].drop_duplicates().to_dict("records")
    footer = [
        f"Means with 95 % intervals over seeds and patients, protocol '{SHOWN}'; points are set apart sideways. "
        "HD: 95th percentile in pixels. With one seed an interval is over patients only."
    ]
    sheet = layout.sheet(
        [1.42] * len(columns), [1.9], footer, demonstration=demonstration, left=0.4, gap=0.36, below=0.5
    )
    for panel, column in zip(sheet.panels[0], columns, strict=True):
        here = (curves["group"] == column["group"]) & (curves["column"] == column["column"])
        printed = cells[(cells["group"] == column["group"]) & (cells["column"] == column["column"])]
        _panel(panel, printed, curves[here])
        arrow = metric_of(column["metric"]).arrow
        panel.set_title(f"{dataset_label(column['dataset'])}, {column['column']} {arrow}")
    handles = [Line2D([], [], color="black", linestyle=(0, (3, 1.5)), marker="D", markersize=2.6, label="published")]
    for form, (colour, marker) in _LOOKS.items():
        missing = "" if form in set(curves["form"]) else " (no run)"
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=3, label=f"{FORMS[form]}{missing}"))
    sheet.legend(0, handles, drop=0.3)
    return sheet.figure


def _panel(panel: Axes, printed: pd.DataFrame, curves: pd.DataFrame) -> None:
    panel.plot(
        printed["lambda"].astype(float), printed["value"], "D", color="black", markersize=2.6, linestyle=(0, (3, 1.5))
    )
    for place, (name, part) in enumerate(curves.groupby("objective", sort=False)):
        colour, marker = _LOOKS[part["form"].iloc[0]]
        part = part.assign(x=part["lambda"].astype(float) + 0.018 * (place + 1)).sort_values("x")
        reach = np.abs(part[["low", "high"]].to_numpy().T - part["measured"].to_numpy())
        panel.errorbar(
            part["x"],
            part["measured"],
            reach,
            color=colour,
            marker=marker,
            markersize=3,
            elinewidth=0.7,
            label=str(name),
        )
    panel.set_xlabel("λ")
    panel.set_xticks(sorted(printed["lambda"].astype(float).unique()))
