"""Does a true mid-band term help?

Objectives that use a band of frequencies against the baseline, the full band and random annuli of equal size, in and
out of distribution.

The paper credits middle-order frequencies, which its term hardly weighs. This page compares objectives that use only
such a band with the baseline, with the full band, and with random annuli of equal size and energy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from spectralseg.config import Objective
from spectralseg.metrics.catalogue import metric_of
from spectralseg.outputs import title_of
from spectralseg.reporting.drawing import layout, style
from spectralseg.reporting.labels import tested_on
from spectralseg.reporting.measurements import Measurements
from spectralseg.reporting.rendering import (
    NO_RUN,
    Block,
    Entry,
    Line,
    Section,
    counted,
    limits,
    listed,
    margins,
    p_text,
    signed,
)
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import row_where, rows_where
from spectralseg.reporting.studies import _common as common
from spectralseg.reporting.studies._common import Effect
from spectralseg.reporting.study import Study, study_page
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.improvement import share_improved
from spectralseg.statistics.pairing import Paired, Values, pair
from spectralseg.statistics.significance import LEVEL, holm, wilcoxon
from spectralseg.statistics.verdicts import FEWEST, margin_needed

RUNS = {"options": ("band",)}

METRICS = ("dsc", "hd95")
PROTOCOL = "sound"
REFERENCES = ("baseline", "full band", "control")
_CONDITION = ["dataset", "architecture", "suite", "test_dataset"]
_FAMILY = [*_CONDITION, "metric", "reference"]
_LEGEND = (
    f"Differences of the objective minus its reference, same seeds and cases, protocol '{PROTOCOL}', with 95 % "
    "intervals over seeds and patients. Full band: Eq. (2) with the same λ. Control: random annuli in place of the "
    "same band. p: Wilcoxon's signed-rank test over patients, adjusted by Holm for the objectives that are compared "
    "with the same reference on the same test set. Improved: share of cases that are better, ties half. ≈: equivalent"
    f" within the margin of the metric, if it has one; never without {FEWEST}. The CSV gives the smallest "
    "margin with which the two are equivalent."
)


def build(results: Results) -> Study:
    """Compare every objective whose auxiliary term uses a band of frequencies with its references.

    Raises:
        InputError: records or the configuration are missing or damaged.
    """
    objectives = common.objectives(results).items()
    bands = {name: Band.of(objective) for name, objective in objectives if objective.auxiliary_options.get("band")}
    compared = pd.DataFrame(_compare(results, bands), columns=list(_COLUMNS))
    for family in compared.groupby(_FAMILY).indices.values():
        compared.loc[family, "p_holm"] = holm(compared.loc[family, "p"])
    page = study_page(
        results,
        "study_mid_band",
        title_of(__doc__),
        answer=_answer(compared),
        needed=_needed(compared),
        sections=[
            Section(name, f"{rule.label} {rule.arrow}", tuple(_blocks(rows_where(compared, metric=name))))
            for name, rule in ((metric, metric_of(metric)) for metric in METRICS)
        ],
        legend=_LEGEND,
        row_headings=("Objective", "minus"),
        notes=_notes(compared, bands),
    )
    figure = _draw(rows_where(compared, metric="dsc"), demonstration=results.demonstration)
    return Study(page, compared.assign(part="difference"), figure)


_COLUMNS = (
    *(*_CONDITION, "metric", "objective", "lambda", "kind", "reference", "against"),
    *("estimate", "low", "high", "seeds", "groups", "cases", "direction"),
    *("improved", "improved_low", "improved_high", "p", "p_holm"),
    *("p_equivalence", "equivalent", "margin", "margin_needed"),
)


@dataclass(frozen=True)
class Band:
    """The frequencies of an auxiliary term.

    Attributes:
        term: name of the auxiliary objective.
        low: lower limit in cycles per image.
        high: upper limit, infinite without one.
        control: whether random annuli replace the band.
        options: all other options, which a control shares with its band.
    """

    term: str
    low: float
    high: float
    control: bool
    options: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, objective: Objective) -> Band:
        """The band of an objective that has one."""
        options = dict(objective.auxiliary_options)
        low, high = (math.inf if limit is None else float(limit) for limit in options.pop("band"))
        control = options.pop("annuli_seed", None) is not None
        rest = frozenset((name, repr(value)) for name, value in options.items())
        return cls(str(objective.auxiliary), low, high, control, rest)

    @property
    def middle(self) -> bool:
        """Whether the band excludes both the lowest and the highest frequencies."""
        return self.low > 0 and math.isfinite(self.high) and not self.control

    @property
    def kind(self) -> str:
        """``middle``, ``control`` or ``other``."""
        return "control" if self.control else "middle" if self.middle else "other"

    def controls(self, other: Band) -> bool:
        """Whether this is the control of another band."""
        same = (self.term, self.low, self.high, self.options) == (other.term, other.low, other.high, other.options)
        return self.control and not other.control and same

    @property
    def text(self) -> str:
        """Description of the band."""
        band = f"{self.low:g} to {self.high:g}" if math.isfinite(self.high) else f"from {self.low:g}"
        place = "random annuli in place of " if self.control else ""
        return f"{self.term}, {place}{band} cycles per image"


def _compare(results: Results, bands: Mapping[str, Band]) -> Iterator[dict[str, Any]]:
    """Each objective with a band against each of its references, if both have runs."""
    measured = common.measurements(results, set(METRICS), {"iid", "ood"})
    records = results.read(metric=set(METRICS), suite={"iid", "ood"}, protocol={PROTOCOL}, objective=set(bands))
    for cell in common.conditions(records):
        values = measured.values(cell)
        for reference, name, others in _references(results, measured, bands, cell):
            pairs = pair(values, others) if values and others else None
            effect = Effect.of(pairs, cell["metric"]) if pairs else None
            if pairs and effect:
                yield {
                    **{key: cell[key] for key in (*_CONDITION, "metric", "objective", "lambda")},
                    **{"kind": bands[cell["objective"]].kind, "reference": reference, "against": name},
                    **effect.columns,
                    "direction": effect.direction,
                    **_tests(pairs, cell["metric"], results.margin_of(cell)),
                }


def _references(
    results: Results, measured: Measurements, bands: Mapping[str, Band], cell: Mapping[Any, Any]
) -> Iterator[tuple[str, str, Values | None]]:
    """Kind, name and values of each reference of an objective."""
    objectives, own = common.objectives(results), cell["objective"]
    yield "baseline", results.baseline, measured.reference(cell)
    for name, objective in objectives.items():
        alike = (objective.base, objective.form) == (objectives[own].base, objectives[own].form)
        if alike and common.is_full_band(objective):
            yield "full band", name, measured.values({**cell, "objective": name})
        elif alike and name in bands and bands[name].controls(bands[own]):
            yield "control", name, measured.values({**cell, "objective": name})


def _tests(pairs: Paired, metric: str, margin: float | None) -> dict[str, Any]:
    rule = metric_of(metric)
    improved = share_improved(rule.sign * pairs.over_classes, pairs.members)
    test = equivalence(pairs.values, pairs.members, margin=margin) if margin is not None else None
    narrow = test.interval if test else pairs.interval(level=1 - 2 * LEVEL)
    needed = margin_needed(pairs.interval(), narrow, pairs.informative_seeds, pairs.informative_groups)
    return {
        **dict(zip(("improved", "improved_low", "improved_high"), improved, strict=True)),
        "p": wilcoxon(pairs.over_classes, pairs.members),
        "p_equivalence": test.p if test else math.nan,
        "equivalent": bool(test and test.equivalent),
        "margin": math.nan if margin is None else rule.factor * margin,
        "margin_needed": rule.factor * needed,
    }


def _answer(compared: pd.DataFrame) -> Iterator[str]:
    middle = compared[compared["kind"] == "middle"]
    if middle.empty:
        yield "No conclusion: this study has no run of an objective that uses a middle band only."
        return
    dice = middle[(middle["metric"] == "dsc") & (middle["reference"] != "full band")]
    keys = [*_CONDITION, "objective", "lambda"]
    with_baseline = rows_where(dice, reference="baseline").set_index(keys).index
    dice = dice[pd.MultiIndex.from_frame(dice[keys]).isin(with_baseline)]
    beats = (dice["direction"] > 0).groupby([dice[name] for name in keys]).all()
    yield (
        f"In {beats.sum()} of {counted(len(beats), 'result')} it beats the baseline, and its control if it has "
        "one, in DSC beyond chance."
    )
    names = dict.fromkeys(f"'{name}'" for name in middle["objective"])
    for reference in REFERENCES:
        rows = rows_where(middle, reference=reference)
        parts = [_against(rows_where(rows, metric=metric), metric_of(metric).label) for metric in METRICS]
        if any(parts):
            against = listed(dict.fromkeys(f"'{name}'" for name in rows["against"]))
            pairs = f"{listed(names)} against the {reference} ({against})"
            yield f"{pairs}: {'; '.join(filter(None, parts))}."
    yield from common.few(middle)


def _against(rows: pd.DataFrame, label: str) -> str:
    """Verdicts on the differences in one metric, by intervals and after Holm, and the range of estimates."""
    if rows.empty:
        return ""
    better = int(((rows["p_holm"] <= LEVEL) & (rows["direction"] > 0)).sum())
    equivalent = f", equivalent in {rows['equivalent'].sum()}" if rows["margin"].notna().any() else ""
    spread = f"{signed(rows['estimate'].min())} to {signed(rows['estimate'].max())}"
    outcomes = common.outcomes(rows["direction"])
    return f"{label} {outcomes} (better after Holm in {better}{equivalent}), estimates {spread}"


def _needed(compared: pd.DataFrame) -> Iterator[str]:
    middle = compared[compared["kind"] == "middle"]
    if middle.empty:
        yield f"No run of an objective with a middle band: {common.OBJECTIVES_STUDY}."
        return
    for reference in REFERENCES:
        if reference not in set(middle["reference"]):
            yield f"No run of the {reference} for comparison: {common.OBJECTIVES_STUDY}."
    if not (middle["suite"] == "ood").any():
        yield f"No test set out of distribution: {common.OBJECTIVES_STUDY}."


def _blocks(rows: pd.DataFrame) -> Iterator[Block]:
    for architecture, part in rows.groupby("architecture", sort=False):
        tested = _conditions(part)
        lines: list[Line] = []
        for (name, lam), method in part.groupby(["objective", "lambda"], sort=False):
            label = f"{name}, λ = {lam}"
            for reference in REFERENCES:
                row = [row_where(method, reference=reference, **condition) for condition in tested]
                if any(row):
                    lines.append(Line(label, reference, tuple(Entry(_difference(cell)) for cell in row)))
                    lines.append(Line("", "", tuple(Entry(_test(cell)) for cell in row)))
                    label = ""
        suites = {"iid": "In distribution", "ood": "Out of distribution"}
        groups = tuple(suites[condition["suite"]] for condition in tested)
        yield Block(str(architecture), groups, tuple(map(tested_on, tested)), tuple(lines))


def _conditions(rows: pd.DataFrame) -> list[dict[str, Any]]:
    conditions = rows[_CONDITION].drop_duplicates().sort_values("suite", kind="stable")
    return conditions.to_dict("records")  # type: ignore[return-value]


def _difference(cell: Mapping[Any, Any]) -> str:
    if not cell:
        return NO_RUN
    return f"{limits(cell['estimate'], cell['low'], cell['high'])}{' ≈' if cell['equivalent'] else ''}"


def _test(cell: Mapping[Any, Any]) -> str:
    return f"p {p_text(cell['p_holm'])} · improved {100 * cell['improved']:.0f} %" if cell else ""


def _notes(compared: pd.DataFrame, bands: Mapping[str, Band]) -> Iterator[str]:
    for name, band in bands.items():
        yield f"{name}: {band.text}."
    for metric, part in compared.groupby("metric", sort=False):
        rule = metric_of(str(metric))
        unit = "percentage points" if rule.share else rule.unit
        yield f"Margin of equivalence in {rule.label}, mean over classes: {margins(part['margin'], unit)}."


def _draw(rows: pd.DataFrame, *, demonstration: bool) -> Figure:
    if rows.empty:
        return layout.no_data("No run of an objective that uses a band of frequencies.", demonstration=demonstration)
    tested = _conditions(rows)
    names = list(dict.fromkeys(rows["objective"]))
    footer = [
        "Difference in DSC in percentage points, same seeds and cases, with 95 % intervals over seeds and patients; "
        "with one seed over patients only. Bold: a middle band. Control: random annuli in place of the same band."
    ]
    sheet = layout.sheet(
        [min(6.2 / len(tested) - 0.1, 1.6)] * len(tested),
        [0.32 * len(names) + 0.1],
        footer,
        demonstration=demonstration,
        left=0.95,
        gap=0.1,
        top=0.36,
        below=0.5,
    )
    reach = 1.05 * float(np.abs(rows[["low", "high"]].to_numpy()).max())
    for panel, condition in zip(sheet.panels[0], tested, strict=True):
        panel.axvline(0, color="black", linewidth=0.5)
        for y, name in enumerate(names):
            for place, (reference, (colour, marker)) in enumerate(_LOOKS.items()):
                row = row_where(rows, objective=name, reference=reference, **condition)
                if row:
                    height = y + 0.22 * (place - 1)
                    panel.plot([row["low"], row["high"]], [height] * 2, color=colour, linewidth=0.8)
                    panel.plot(row["estimate"], height, marker, color=colour, markersize=3)
        panel.set_xlim(-reach, reach)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_yticks(range(len(names)), names if panel is sheet.panels[0][0] else [])
        panel.tick_params(axis="y", length=0)
        panel.set_title(tested_on(condition).replace(" → ", "\n→ "))
        panel.set_xlabel("Δ DSC")
    kinds = dict(zip(rows["objective"], rows["kind"], strict=True))
    for text in sheet.panels[0][0].get_yticklabels():
        text.set_fontweight("bold" if kinds[text.get_text()] == "middle" else "normal")
    references = [name for name in _LOOKS if name in set(rows["reference"])]
    handles = [common.handle(f"minus {name}", *_LOOKS[name], linewidth=0.8) for name in references]
    sheet.legend(0, handles, drop=0.28)
    return sheet.figure


_LOOKS = {"baseline": (style.BLUE, "o"), "full band": (style.VERMILLION, "s"), "control": (style.GREEN, "^")}
