"""Sections on calibration, noise, activation maps and spectra."""

from __future__ import annotations

import math
from collections.abc import Iterator

from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import MEAN
from spectralseg.reporting.findings.cells import cell_labels, effect_table, entry, method_table, range_text, value_text
from spectralseg.reporting.findings.extract import CALIBRATION, MAIN_PROTOCOL
from spectralseg.reporting.findings.numbers import CELL, Numbers, Row, select
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.rendering import NO_RUN, limits, listed, margins
from spectralseg.reporting.rendering.markdown import pipe_table

_MAPS = {
    "cam_energy_relative": "energy of the class activation map inside the structure, by its share of the image",
    "cam_random_energy_relative": "the same of a random map",
    "cam_pointing": "percent of maps whose maximum lies in the structure",
    "cam_random_pointing": "the same of a random map",
    "spectral_correlation": "correlation of log spectra, the paper's Fig. 8",
    "spectral_correlation_detrended": "the same less the mean of each ring",
    "spectral_similarity": "Eq. (2) on hard labels",
    "frc_mid": "Fourier ring correlation, middle band",
}
_NOTHING_LEFT = 90  # percent of the clean Dice that is lost


def calibration_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Differences in calibration, a table for each dataset."""
    rows = select(numbers.main(numbers.against()), metric=CALIBRATION, protocol=MAIN_PROTOCOL).dropna(subset=["low"])
    if rows.empty:
        return
    yield (
        "For each network, the values of the baseline, and below them the differences to it; lower is better. ECE and "
        "Brier score in percent."
    )
    for dataset, part in rows.groupby("dataset", sort=False):
        yield f"{dataset_label(str(dataset))}:"
        yield effect_table(numbers, part, [(metric, MAIN_PROTOCOL) for metric in CALIBRATION])
        wide = part[part["equivalent"] & (part["reference_measured"] <= part["margin"])]
        if names := [metric_of(metric).label for metric in CALIBRATION if metric in set(wide["metric"])]:
            yield (
                f"Here the margin, {margins(wide['margin'], 'percentage points')}, is at least as large as the "
                f"{listed(names)} of the baseline itself, so that *equivalent* says little."
            )


def noise_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Share of Dice that corruptions cost, a table for each dataset."""
    noise = select(numbers.table("noise"), protocol=MAIN_PROTOCOL, quantity="rD")
    if noise.empty:
        return
    yield (
        "Percent of the clean Dice that a [corruption](corruptions.md) costs (0: no loss), and in brackets its "
        "difference to the baseline with the 95 % interval; below zero is more robust. Mean: over corruptions. "
        f"{NO_RUN}: undefined, as without any clean Dice."
    )
    for dataset, part in numbers.ordered(numbers.main(noise)).groupby("dataset", sort=False):
        yield f"{dataset_label(str(dataset))}:"
        headings = {(name,): name for name in noise["corruption"].unique()}
        yield method_table(part, ("corruption",), headings, _loss)
        yield f"Seeds: {range_text(part['seeds'])}. Test cases: {range_text(part['cases'])}."
        corrupted = select(part, corruption=set(part["corruption"]) - {MEAN})
        least = corrupted.groupby("corruption", sort=False)["measured"].min()
        if len(lost := least[least > _NOTHING_LEFT]):
            yield (
                f"Under {listed(f'`{name}`' for name in lost.index)}, every method loses more than {_NOTHING_LEFT} % "
                "of its Dice, so that hardly anything is left to compare."
            )


def _loss(row: Row | None) -> str:
    if row is None or row["measured"] != row["measured"]:
        return NO_RUN
    gain = row["gain"], row["gain_low"], row["gain_high"]
    return f"{row['measured']:.2f}" + ("" if any(map(math.isnan, gain)) else f" ({limits(*gain)})")


def maps_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Scores of class activation maps and of spectra."""
    name = numbers.subject
    rows = numbers.main(select(numbers.against(), metric=_MAPS, protocol=MAIN_PROTOCOL, objective=name or ()))
    rows = rows.dropna(subset=["low"])
    if rows.empty:
        return
    rows = rows.sort_values("metric", key=lambda names: names.map(list(_MAPS).index), kind="stable")
    lines = [
        (
            *(*cell_labels(row), _MAPS[row["metric"]], value_text(row)),
            entry(row, marked=False) if "random" not in row["metric"] else "",
            *(row["seeds"], row["groups"]),
        )
        for row in rows.to_dict("records")
    ]
    yield (
        f"`{name}` against the baseline. Class activation maps are those of at most "
        f"{numbers.config.evaluation.interpretation.cases} test cases of each dataset, and a constant map has no "
        "score, so that a difference can be over fewer cases than the baseline's mean; spectra are those of all test "
        "cases. [Interpretation](interpretation.md) says what such scores are "
        "worth: a map that is no better than a random one explains nothing."
    )
    yield pipe_table((*CELL, "score", "baseline", "difference", "seeds", "patients"), lines)
