"""Sections on what the study supports: claims of papers, statistical power and limits."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.reporting.claim_papers import ClaimPaper, read_claim_papers, tally
from spectralseg.reporting.findings.cells import cell_labels, digits_of, range_text
from spectralseg.reporting.findings.extract import CALIBRATION, MAIN_PROTOCOL, METRICS, SEGMENTATION, TO_SETTLE
from spectralseg.reporting.findings.numbers import CELL, Numbers, Row, select
from spectralseg.reporting.labels import architecture_label, dataset_label
from spectralseg.reporting.rendering import counted, limits, listed, p_text, signed
from spectralseg.reporting.rendering.markdown import pipe_table
from spectralseg.statistics.verdicts import UNTESTED


def claims_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Verdicts on the claims of each paper."""
    claims, papers = numbers.table("claims"), read_claim_papers(numbers.folder)
    for paper in papers:
        if paper.runs:
            yield f"### {paper.heading}"
            yield from _claims_of(paper, claims[claims["paper"] == paper.paper])
    yield " ".join(paper.sentence for paper in papers if not paper.runs)


def _claims_of(paper: ClaimPaper, claims: pd.DataFrame) -> Iterator[str]:
    tested, judged = claims[claims["verdict"] != UNTESTED], claims["p"].notna().sum()
    complete = (claims["comparisons"] > 0) & (claims["untested"] == 0)
    partly = (claims["untested"] > 0) & (claims["untested"] < claims["comparisons"])
    others = "; the others need datasets, networks, runs or measurements that this study does not have"
    sentences = [
        f"Of {counted(paper.claims, 'claim')} of the paper, these runs have all comparisons of {complete.sum()} and "
        f"some comparisons of {partly.sum()} more{others if (complete | partly).sum() < paper.claims else ''}.",
        f"With them, {tally(tested['verdict'])}." if len(tested) else "",
        "A claim that needs all of its comparisons can fail with some of them, but not hold." if partly.any() else "",
        "Verdicts use all metrics of the study, also those that are not on this page.",
    ]
    yield " ".join(filter(None, sentences))
    if len(tested):
        yield (
            f"*Adjusted*: the verdict when the {judged} claims with a p value are judged together, see "
            f"[many comparisons](statistics.md#many-comparisons). Adjusted, {tally(tested['verdict_adjusted'])}."
        )
        headings = ("section", "claim", "verdict", "p", "adjusted", "adjusted p", "why")
        yield pipe_table(headings, [_claim(row) for row in tested.to_dict("records")])


def _claim(row: Row) -> tuple[str, ...]:
    why = row["reason"]
    if not any(row[name] != row[name] for name in ("published", "measured", "low", "high")):
        measured = limits(row["measured"], row["low"], row["high"])
        why += f"; published {signed(row['published'])}, measured {measured} {row['unit']}"
    p, adjusted = p_text(row["p"]), p_text(row["p_adjusted"])
    return row["section"], row["claim"], row["verdict"], p, row["verdict_adjusted"], adjusted, why


def power_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Detectable differences, and sizes of studies that would detect those of the paper."""
    rows = select(
        numbers.main(numbers.against()),
        protocol=MAIN_PROTOCOL,
        objective=numbers.subject or (),
        metric=(*SEGMENTATION, *CALIBRATION),
    ).dropna(subset=["detectable"])
    if rows.empty:
        return
    rows = rows.sort_values("metric", key=lambda names: names.map(METRICS.index), kind="stable")
    lines = [
        (
            *(
                *cell_labels(row),
                metric_of(row["metric"]).label,
                f"{row['detectable']:.{digits_of(row)}f}",
                _paper_gain(numbers, row),
            ),
            *(_needed(row, f"{kind}_for_{size}") for size in TO_SETTLE for kind in ("seeds", "groups")),
        )
        for row in rows.to_dict("records")
    ]
    sizes = [f"{kind} for {size}" for size in TO_SETTLE for kind in ("seeds", "patients")]
    low, high = TO_SETTLE
    yield (
        "The smallest true difference that the 95 % interval of a study of this size excludes from zero with a "
        "[probability of 80 %](statistics.md#power), if the variances between seeds and patients are those that were "
        f"estimated; and how many seeds (with these patients) or patients (with these seeds) would detect {low} or "
        f"{high} percentage points of DSC. Paper: the published difference. 'None': no number does, because the other "
        "source of variance alone is too large. The variances are estimates from few seeds, so these numbers are "
        "orders of magnitude."
    )
    yield pipe_table((*CELL, "metric", "detectable", "paper", *sizes), lines)


def _paper_gain(numbers: Numbers, row: Row) -> str:
    paper = numbers.published_gain(row) if row["metric"] == "dsc" else None
    return signed(paper[1]) if paper else ""


def _needed(row: Row, name: str) -> str:
    if row["metric"] != "dsc":
        return ""
    return f"{row[name]:.0f}" if row[name] == row[name] else "None"


def limits_section(numbers: Numbers, link: str) -> Iterator[str]:
    """What the study cannot show."""
    runs = numbers.evaluated
    if runs.empty:
        return
    used = numbers.table("datasets").set_index("dataset").loc[list(dict.fromkeys(runs["dataset"]))]
    sizes, parameters = sorted(set(used["image_size"])), range_text((runs["parameters"] / 1e6).dropna().round(1))
    networks = f"networks of {parameters} million parameters" if parameters else "these networks"
    most = max(numbers.iterations.values(), default=None)
    training = "this training" if most is None else f"at most {most:.0f} iterations"
    datasets, architectures = map(dataset_label, used.index), map(architecture_label, runs["architecture"].unique())
    others = [dataset_label(name) for name in dict.fromkeys(numbers.other_data["test_dataset"])]
    tested = "each tested on cases of its own dataset" + (f", and some on {listed(others)}" if others else "")
    points = (
        f"Images of {listed(map(str, sizes))} pixels, {training} and {networks}: this does not show whether the same "
        "holds for other sizes, after longer training and for other networks.",
        f"{listed(datasets)} with {listed(architectures)} only, {tested}: this does not show what holds on other data.",
        "Learning rate and iterations were tuned for the baseline alone, with one learning rate for all datasets."
        if len(numbers.table("tuning"))
        else "All objectives have the same learning rate and iterations; none was tuned individually.",
        "An undecided comparison is no evidence of equality.",
    )
    yield "\n".join(f"- {point}" for point in points)
