"""Sections on segmentation: differences to the baseline, Eq. (2) against its controls, and λ."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.reporting.findings.cells import (
    MARKS,
    cell_labels,
    effect_table,
    entry,
    limits_apart,
    number_text,
    sizes_text,
    value_text,
)
from spectralseg.reporting.findings.extract import EQUIVALENT, MAIN_PROTOCOL, SEGMENTATION
from spectralseg.reporting.findings.numbers import CELL, PROTOCOLS, Numbers, Row, select
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.rendering import NO_RUN, counted, listed, signed
from spectralseg.reporting.rendering.markdown import pipe_table
from spectralseg.statistics.verdicts import FEWEST


def effects_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Differences of all objectives to the baseline, a table for each dataset."""
    columns = [("dsc", protocol) for protocol in PROTOCOLS]
    columns += [(metric, MAIN_PROTOCOL) for metric in SEGMENTATION[1:]]
    if select(numbers.main(numbers.against()), metric=SEGMENTATION).dropna(subset=["low"]).empty:
        return
    yield (
        f"For each network, the values of `{numbers.config.baseline}` (± standard deviation over seeds), and below "
        "them the difference of each objective to it with the 95 % interval; means over classes. DSC and NSD (within "
        "2 mm, or 2 pixels where the spacing is unknown) are in percent, their differences in percentage points; HD95 "
        "is in mm or pixels, that of a structure in only one of prediction and reference the diagonal of the image, "
        "and lower is better. False structures, where some case has no structure: percent of such cases in which one "
        "is predicted. "
        "*Published*: the paper's protocol, traps included; *sound*: ours, see [the metrics policy](metrics-policy.md)."
    )
    yield from _beside_the_paper(numbers)
    for effects in (select(numbers.effects, reference=numbers.config.baseline), numbers.other_data):
        keys = ["dataset", "test_dataset", "leak_free"]
        for (dataset, tested, leak_free), rows in numbers.main(numbers.ordered(effects)).groupby(keys, sort=False):
            if len(select(rows, metric=SEGMENTATION).dropna(subset=["low"])):
                trained = f", trained on {dataset_label(str(dataset))}" if tested != dataset else ""
                without = ", without leaked test cases" if leak_free else ""
                yield f"### {dataset_label(str(tested))}{trained}{without}"
                yield effect_table(numbers, rows, columns)
                yield sizes_text(rows)
                if tested == dataset and not leak_free:
                    yield from _class_table(numbers, str(dataset))


def _beside_the_paper(numbers: Numbers) -> Iterator[str]:
    """The paper's baseline and gain beside those of the study, under the paper's protocol."""
    name = numbers.subject
    effects = numbers.main(select(numbers.against(), metric="dsc", protocol="published", objective=name or ()))
    rows = [(row, numbers.published_gain(row)) for row in effects.dropna(subset=["low"]).to_dict("records")]
    lines = [
        (*cell_labels(row), f"{paper[0]:.2f}", value_text(row), signed(paper[1]), entry(row, marked=False))
        for row, paper in rows
        if paper
    ]
    if lines:
        yield (
            f"DSC of the baseline, and difference of `{name}` to it, in the paper and here, both under the paper's "
            "protocol. Its networks, image sizes and training are others (see [limits](#limits)); it gives neither "
            "seeds nor intervals."
        )
        sides = ("paper", "here")
        headings = (*(f"baseline, {side}" for side in sides), *(f"difference, {side}" for side in sides))
        yield pipe_table((*CELL, *headings), lines)


def _class_table(numbers: Numbers, dataset: str) -> Iterator[str]:
    """Effects in single classes."""
    rows = numbers.main(select(numbers.classes, dataset=dataset, test_dataset=dataset)).dropna(subset=["low"])
    if len(rows):
        yield f"Single classes of {dataset_label(dataset)}:"
        yield effect_table(numbers, rows, [(name, MAIN_PROTOCOL) for name in rows["class"].unique()], "class")


def control_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Eq. (2) against its controls, with equivalence tests."""
    name = numbers.subject
    for reference in numbers.controls(name) if name else []:
        effects = numbers.main(select(numbers.against(reference), objective=name or "", metric="dsc"))
        effects = effects.dropna(subset=["low"])
        if effects.empty:
            continue
        rows = [
            (
                *cell_labels(row),
                f"{metric_of(row['metric']).label}, {row['protocol']}",
                limits_apart(row, "narrow_low", "narrow_high", [row["margin"]]),
                f"±{row['margin']:g}" if row["margin"] == row["margin"] else NO_RUN,
                MARKS[EQUIVALENT] if row["equivalent"] else "",
                f"{signed(row['smallest_seed'])} to {signed(row['largest_seed'])}",
                row["seeds"],
                row["groups"],
            )
            for row in effects.to_dict("records")
        ]
        yield (
            f"Difference of `{name}` to `{reference}` with the 90 % interval of two one-sided tests; single seeds: the "
            "smallest and the largest difference of a seed."
        )
        same = numbers.is_same_function(reference)
        yield (
            "But for smoothing and rounding, both are the same function (Parseval's theorem), so a difference can only "
            "come from these, by way of training."
            if same
            else f"`{reference}` has no auxiliary term. Instead, the Dice of its base L has more weight, by λ."
        )
        headings = (*CELL, "metric", "difference", "margin", "verdict", "single seeds", "seeds", "patients")
        yield pipe_table(headings, rows)
        dice = select(effects, protocol=MAIN_PROTOCOL)
        if same and len(dice):
            yield (
                f"With the same data and seed, the two nevertheless differ by up to {listed(_largest_of_seeds(dice))} "
                "percentage points of DSC. A difference of that size between single runs is no evidence for an "
                "objective."
            )
        if len(dice):
            yield (
                f"Equivalent under '{MAIN_PROTOCOL}': {dice['equivalent'].sum()} of "
                f"{counted(len(dice), 'comparison')}; {_all_equivalent(dice)}."
            )


def _largest_of_seeds(dice: pd.DataFrame) -> list[str]:
    """The largest absolute difference of a seed on each dataset."""
    largest = dice[["smallest_seed", "largest_seed"]].abs().max(axis=1).groupby(dice["dataset"], sort=False).max()
    return [f"{value:.2f} ({dataset_label(str(name))})" for name, value in largest.items()]


def _all_equivalent(dice: pd.DataFrame) -> str:
    """A margin with two decimals that all intervals lie within, none at its limits."""
    if dice["margin_needed"].isna().any():
        return f"no margin would be enough, because equivalence needs {FEWEST}"
    needed = math.floor(round(100 * dice["margin_needed"].max(), 6)) + 1
    return f"all would be with a margin of {needed / 100:.2f} percentage points"


def sweep_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Differences to the baseline against λ, beside the paper's Table 6."""
    for (dataset, architecture), sweep in numbers.sweep.groupby(CELL, sort=False):
        cell = {"dataset": str(dataset), "architecture": str(architecture)}
        names, weights = dict.fromkeys(sweep["objective"]), sorted(set(sweep["lambda"]), key=float)
        published = select(numbers.table("published"), table="table_6", **cell).set_index("lambda")["value"]
        lines = []
        if len(published):
            lines.append(("Table 6 of the paper, DSC", *(number_text(published.get(weight)) for weight in weights)))
        for name in names:
            effects = select(sweep, objective=name).set_index("lambda").to_dict("index")
            lines.append((f"`{name}` less the baseline", *(entry(effects.get(weight)) for weight in weights)))
        yield f"{', '.join(cell_labels(cell))}: DSC under '{MAIN_PROTOCOL}' against λ."
        yield pipe_table(("", *(f"λ = {weight}" for weight in weights)), lines)
        yield sizes_text(sweep)
        for name in names:
            ends = select(numbers.against(name), objective=name, protocol=MAIN_PROTOCOL, **cell)
            yield from (_ends(row, published) for row in ends.dropna(subset=["low"]).to_dict("records"))
    if len(numbers.sweep):
        yield f"![Difference in DSC to the baseline against λ]({link}/sweep.svg)"


def _ends(row: Row, published: pd.Series[float]) -> str:
    """The difference of the largest λ to the smallest, paired, and that of the paper's table."""
    first, last = row["reference_lambda"], row["lambda"]
    paper, mark = "", MARKS[row["verdict"]]
    if {first, last} <= set(published.index):
        paper = f"; the paper's DSC changes by {signed(published[last] - published[first])}"
    return (
        f"`{row['objective']}` from λ = {first} to λ = {last}: {entry(row, marked=False)} percentage points"
        f"{f', {mark}' if mark else ''}{paper}."
    )
