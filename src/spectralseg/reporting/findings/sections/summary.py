"""The beginning of a page: the answer in two sentences, the forest plot, and what the verdicts mean."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from spectralseg.reporting.findings.extract import BETTER, EQUIVALENT, MAIN_PROTOCOL, UNDECIDED, WORSE
from spectralseg.reporting.findings.numbers import Numbers, select
from spectralseg.reporting.rendering import MINUS, counted, listed, margins, signed
from spectralseg.statistics.verdicts import FEWEST, FEWEST_SEEDS


def answer(numbers: Numbers) -> list[str]:
    """The answer in two sentences: Eq. (2) as 1 − S against the baseline, and against the squared Dice.

    Without this objective, each other objective against the baseline. Other test data add a sentence.
    """
    name = numbers.subject
    if name is None:
        others = [other for other in numbers.config.objectives if other != numbers.config.baseline]
        return [
            f"No objective of this study adds 1 {MINUS} S, with S of Eq. (2) over all frequencies, to the baseline.",
            *(sentence for other in others for sentence in _against_baseline(numbers, other)),
        ]
    return [
        *_against_baseline(numbers, name),
        *(
            _outcome("It", f"its control `{reference}`", _dice(numbers, numbers.against(reference), name))
            for reference in numbers.controls(name)
            if numbers.is_same_function(reference)
        ),
    ]


def _against_baseline(numbers: Numbers, name: str) -> Iterator[str]:
    weight = numbers.weights.get(name, "0")
    label = f"`{name}`" if weight == "0" else f"`{name}` (λ = {weight})"
    yield _outcome(label, f"the baseline `{numbers.config.baseline}`", _dice(numbers, numbers.against(), name))
    other = _dice(numbers, select(numbers.other_data, leak_free=""), name)
    if len(other):
        yield f"On other data, {_outcome('it', 'the baseline', other)}"


def _dice(numbers: Numbers, frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return numbers.main(select(frame, objective=name, metric="dsc", protocol=MAIN_PROTOCOL))


def _outcome(name: str, reference: str, rows: pd.DataFrame) -> str:
    """What comparisons in DSC say together, no stronger than their intervals."""
    rows, impossible = rows.dropna(subset=["low"]), int(rows["low"].isna().sum())
    more = f" ({counted(impossible, 'comparison')} more without an interval)" if impossible else ""
    if rows.empty:
        return f"{name} could not be compared with {reference} in DSC{more}."
    counts, unit = rows["verdict"].value_counts(), "percentage points"
    phrases = [
        f"better than {reference} in {counts.get(BETTER, 0)} of {counted(len(rows), 'comparison')} in DSC{more}",
        f"worse in {counts.get(WORSE, 0)}",
        f"equivalent within {margins(rows['margin'], unit)} in {counts.get(EQUIVALENT, 0)}",
        f"undecided in {counts.get(UNDECIDED, 0)}",
    ]
    low, high = signed(rows["difference"].min()), signed(rows["difference"].max())
    spread = f"the difference is {low}" if len(rows) == 1 else f"differences are {low} to {high}"
    seeds = f"those of single seeds {signed(rows['smallest_seed'].min())} to {signed(rows['largest_seed'].max())}"
    return f"{name} is {listed(phrases)}; {spread} {unit}, {seeds}."


def head_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Forest plot, answer, missing runs and the meaning of the verdicts."""
    if len(numbers.main(numbers.dice)):
        yield f"![Differences to the baseline in DSC with 95 % intervals]({link}/forest.svg)"
        few = f" Grey line: fewer than {FEWEST_SEEDS} seeds." if (numbers.dice["seeds"] < FEWEST_SEEDS).any() else ""
        yield (
            "*Differences to the baseline in DSC with 95 % intervals. Grey band: the margin. A full dot: better or "
            f"worse.{few}*"
        )
    yield " ".join(answer(numbers))
    yield from _incomplete(numbers.table("runs"))
    if "phantom" in set(numbers.table("datasets")["source"]):
        yield "**Measured on synthetic phantoms: nothing here says anything about a paper.**"
    yield (
        "*Equivalent* comes first: the 90 % interval over seeds and patients lies within the margin, whether it "
        "excludes zero or not. Otherwise *better* or *worse*: the 95 % interval excludes zero. Each verdict needs "
        f"{FEWEST}; where seeds are fewer, their number is given, and the interval says nothing about other "
        "seeds. Images of unknown patients count as patients. Verdicts are not adjusted for the number of comparisons. "
        f"Every number is computed from CSV files in the folder `{link}`: [effects]({link}/effects.csv) with p values, "
        f"[runs]({link}/runs.csv), [noise]({link}/noise.csv), [claims]({link}/claims.csv) and others."
    )


def _incomplete(runs: pd.DataFrame) -> Iterator[str]:
    """Numbers of runs without results."""
    diverged = runs[runs["state"] == "diverged"]
    if waiting := len(runs) - len(diverged) - (runs["state"] == "evaluated").sum():
        verb = "has" if waiting == 1 else "have"
        yield f"**Unfinished: {waiting} of {counted(len(runs), 'run')} {verb} no results.**"
    if len(diverged):
        counts = listed(f"`{name}` {count}" for name, count in diverged["objective"].value_counts(sort=False).items())
        yield (
            f"**{len(diverged)} of {counted(len(runs), 'run')} diverged: {counts}. Comparisons leave out their seeds, "
            "which favours an objective that diverges.**"
        )
