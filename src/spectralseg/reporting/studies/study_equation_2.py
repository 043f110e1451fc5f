"""What is Eq. (2)?

Value of Eq. (2) on stored predictions beside Dice coefficients, how its weight is distributed over frequencies, and
runs with the spectral term tested for equivalence with runs that have a Dice in its place.

The paper presents its similarity of spectra as a new term. By Parseval's theorem, a sum over all frequencies equals a
sum over all pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectralseg.config import Objective
from spectralseg.interpretation import spectra
from spectralseg.outputs import title_of
from spectralseg.reporting.drawing import layout, style
from spectralseg.reporting.labels import dataset_label, method_label
from spectralseg.reporting.rendering import MINUS, NO_RUN, Block, Entry, Line, Section, counted, limits, margins, signed
from spectralseg.reporting.results import Results
from spectralseg.reporting.studies import _common as common
from spectralseg.reporting.study import Study, study_page
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.pairing import pair
from spectralseg.statistics.verdicts import margin_needed

RUNS = {"auxiliary": ("spectral",)}

ROUNDING = 1e-9  # largest rounding error of values in [0, 1] in double precision
_BANDS = tuple(spectra.BANDS)
_LEGEND = (
    "Masks: one for each example slice, run and class, probabilities of the network against the reference; undefined "
    "where both are empty. Weight: share of the joint power in bands of cycles per image; Eq. (2) is the mean of the "
    "similarities within the bands with these weights. Linear Dice: without squares in the denominator, for contrast."
)
_TEST = (
    "Difference: DSC with the spectral term minus that with its control, same seeds and cases, protocol sound, in "
    "percentage points with the 90 % interval of two one-sided tests. Equivalent from: the smallest margin with which "
    "the two are equivalent."
)


def build(results: Results) -> Study:
    r"""Compare Eq. (2) with the squared Dice, in value on example predictions and in effect on training.

    In value: by Fourier transform, in closed form :math:`2 \sum yp / (\sum y^2 + \sum p^2)`, and as
    :math:`1 - \sum (y - p)^2 / (\sum y^2 + \sum p^2)`, all in double precision. In effect: DSC of runs with the
    spectral term against runs with a Dice in its place, tested for equivalence.

    Raises:
        InputError: records, examples or prepared datasets are missing or damaged.
    """
    values = pd.DataFrame(_values(results), columns=[*_KEYS, *_VALUES])
    trained = pd.DataFrame(_trained(results), columns=list(_TRAINED))
    page = study_page(
        results,
        "study_equation_2",
        title_of(__doc__),
        answer=[*_identity(values), *_effect(trained)],
        needed=_needed(values, trained),
        sections=[
            Section("value", "Eq. (2) and Dice on example predictions", tuple(_value_blocks(values))),
            Section("effect", "Training with a Dice in place of Eq. (2)", tuple(_effect_blocks(trained))),
        ],
        legend=_LEGEND,
        row_headings=("Test set", ""),
        notes=[_TEST] if len(trained) else [],
    )
    numbers = pd.concat([values.assign(part="value"), trained.assign(part="effect")], ignore_index=True)
    return Study(page, numbers, _draw(values, demonstration=results.demonstration))


_KEYS = ("dataset", "architecture", "objective", "lambda", "seed", "test_dataset", "case", "row", "class")
_VALUES = (
    *("fourier", "closed_form", "squared_dice", "linear_dice"),
    *(f"weight_{band}" for band in _BANDS),
    *(f"similarity_{band}" for band in _BANDS),
)
_TRAINED = (
    *("dataset", "architecture", "objective", "lambda", "control", "difference", "low", "high"),
    *("p", "equivalent", "margin", "margin_needed", "seeds", "groups", "cases"),
)


def _values(results: Results) -> Iterator[dict[str, Any]]:
    """One row for each class of each example slice of each run."""
    for run in results.runs():
        examples = results.examples(run)
        if examples is None:
            continue
        for name in np.unique(examples.dataset):
            data = results.prepared(str(name))
            classes = data.info["classes"]
            for index in np.flatnonzero(examples.dataset == name):
                reference = spectra.one_hot(data.masks[examples.row[index]], len(classes))
                values = compared(reference, examples.probability[index].astype(np.float64))
                for place, label in enumerate(classes):
                    yield {
                        **run.keys,
                        "test_dataset": str(name),
                        "case": str(examples.case[index]),
                        "row": int(examples.row[index]),
                        "class": label,
                        **{key: float(value[place]) for key, value in values.items()},
                    }


def compared(reference: spectra.Real, probability: spectra.Real) -> dict[str, spectra.Real]:
    """Eq. (2) in three ways, the linear Dice, and weight and similarity of each band, each (K,).

    Args:
        reference: masks (K, S, S) of zeros and ones.
        probability: maps (K, S, S) in [0, 1].

    Returns:
        NaN where both maps of a class are zero.
    """
    crossed = spectra.cross_spectra([(reference, probability)])
    axes = (-2, -1)
    product, energy = (reference * probability).sum(axes), (reference**2 + probability**2).sum(axes)
    distance, area = ((reference - probability) ** 2).sum(axes), (reference + probability).sum(axes)
    weights, similarities = spectra.band_shares(crossed.first + crossed.second), spectra.band_similarity(crossed)
    with np.errstate(invalid="ignore"):
        closed_form, squared, linear = 2 * product / energy, 1 - distance / energy, 2 * product / area
    return {
        "fourier": spectra.similarity(crossed),
        **{"closed_form": closed_form, "squared_dice": squared, "linear_dice": linear},
        **{f"weight_{band}": weights[:, place] for place, band in enumerate(_BANDS)},
        **{f"similarity_{band}": similarities[:, place] for place, band in enumerate(_BANDS)},
    }


def _trained(results: Results) -> Iterator[dict[str, Any]]:
    """The difference in DSC of every spectral run with a control, per dataset, in percentage points."""
    objectives = common.objectives(results)
    measured = common.measurements(results, {"dsc"}, {"iid"})
    cells = common.conditions(results.read(metric={"dsc"}, suite={"iid"}, protocol={"sound"}))
    for cell in cells:
        if cell["objective"] not in objectives or not common.is_full_band(objectives[cell["objective"]]):
            continue
        for name, lam in controls(objectives, cell["objective"], cell["lambda"]):
            values, control = measured.values(cell), measured.values({**cell, "objective": name, "lambda": lam})
            if values is None or control is None:
                continue
            pairs = pair(values, control)
            margin = results.margins.of_share("dsc", cell["test_dataset"])
            tested = equivalence(pairs.values, pairs.members, margin=margin)
            seeds, groups = pairs.informative_seeds, pairs.informative_groups
            yield {
                **{key: cell[key] for key in ("dataset", "architecture", "objective", "lambda")},
                "control": method_label({"architecture": "", "objective": name, "lambda": lam}).strip(),
                **dict(zip(("difference", "low", "high"), (100 * part for part in tested.interval), strict=True)),
                "p": tested.p,
                "equivalent": tested.equivalent,
                "margin": 100 * margin,
                "margin_needed": 100 * margin_needed(pairs.interval(), tested.interval, seeds, groups),
                "seeds": seeds,
                "groups": groups,
                "cases": len(pairs.cases),
            }


_SMOOTHING = ("smooth", "smooth_share")


def controls(objectives: Mapping[str, Objective], name: str, lam: str) -> Iterator[tuple[str, str]]:
    """Objectives with a Dice in place of Eq. (2), with their λ.

    Either the auxiliary term is the squared Dice, with the same λ; or there is no auxiliary term, and the weight of the
    Dice of the base objective is larger by λ.
    """
    spectral = objectives[name]
    for other, objective in objectives.items():
        options = objective.auxiliary_options
        alike = (objective.base, objective.base_options, objective.form) == (
            spectral.base,
            spectral.base_options,
            spectral.form,
        )
        squared = options.get("denominator") == "squared" and options.keys() <= {"denominator", *_SMOOTHING}
        # Only for the form "add": the other forms change the base objective as well.
        heavier = spectral.base_options | {"dice_weight": spectral.base_options.get("dice_weight", 1.0) + float(lam)}
        if objective.auxiliary == "dice" and alike and squared:
            yield other, lam
        elif (
            spectral.form == "add"
            and objective.auxiliary is None
            and (objective.base, objective.base_options) == (spectral.base, heavier)
        ):
            yield other, "0"


def _identity(values: pd.DataFrame) -> Iterator[str]:
    defined = values.dropna(subset=["fourier"])
    if defined.empty:
        yield "No example prediction is stored, so that values cannot be compared."
        return
    largest = max(_largest(defined, "closed_form"), _largest(defined, "squared_dice"))
    where = f"on {counted(len(defined), 'predicted mask')} of {len(values.groupby(list(_KEYS[:5])))} runs"
    if largest < ROUNDING:
        yield (
            f"The squared Dice: {where} its value by Fourier transform differs from 2Σyp / (Σy² + Σp²) by at most "
            f"{largest:.0e}, a rounding error; from the linear Dice by {_largest(defined, 'linear_dice'):.2f}."
        )
    else:
        yield f"Not the squared Dice: {where} the two differ by up to {largest:.2g}."
    shares = [100 * defined[f"weight_{band}"] for band in _BANDS]
    low, mid, high = (f"{share.mean():.1f} % ({share.min():.1f} to {share.max():.1f})" for share in shares)
    edges = [limits[0] for limits in spectra.BANDS.values()]
    yield (
        f"Of its weight, {low} lies below {edges[1]} cycles per image, {mid} between {edges[1]} and {edges[2]}, and "
        f"{high} above: the lowest band has {shares[0].mean() / shares[1].mean():.1f} times the weight of the middle "
        "band."
    )


def _effect(trained: pd.DataFrame) -> Iterator[str]:
    for control, part in trained.groupby("control", sort=False):
        comparisons, margin = counted(len(part), "comparison"), margins(part["margin"], "percentage points")
        yield (
            f"Training with '{control}' instead gives an equivalent DSC, within {margin}, in "
            f"{part['equivalent'].sum()} of {comparisons} (differences from {signed(part['low'].min())} to "
            f"{signed(part['high'].max())} at the limits of the 90 % intervals)."
        )
    yield from common.few(trained)


def _needed(values: pd.DataFrame, trained: pd.DataFrame) -> Iterator[str]:
    if values.empty:
        yield f"Runs with stored examples: {common.PAPER_STUDY}."
    if trained.empty:
        yield (
            "No run with the spectral term has a counterpart with a squared Dice in its place, so that their effects "
            f"cannot be compared: {common.OBJECTIVES_STUDY}."
        )


def _value_blocks(values: pd.DataFrame) -> Iterator[Block]:
    rows = [
        Line(dataset_label(str(name)), _masks(part), _entries(part)) for name, part in values.groupby("test_dataset")
    ]
    groups = ("Largest difference of Eq. (2) to",) * 3 + ("Weight in Eq. (2), %",) * 3 + ("Similarity within",) * 3
    headings = ("closed form", "squared Dice", "linear Dice", *_BANDS, *_BANDS)
    if rows:
        yield Block("", groups, headings, (*rows, Line("All", _masks(values), _entries(values))))


def _masks(part: pd.DataFrame) -> str:
    return counted(int(part["fourier"].notna().sum()), "mask")


def _entries(part: pd.DataFrame) -> tuple[Entry, ...]:
    differences = [f"{_largest(part, name):.0e}" for name in ("closed_form", "squared_dice")]
    weights = [f"{100 * part[f'weight_{band}'].mean():.1f}" for band in _BANDS]
    similarities = [f"{part[f'similarity_{band}'].mean():.3f}" for band in _BANDS]
    texts = [*differences, f"{_largest(part, 'linear_dice'):.3f}", *weights, *similarities]
    return tuple(Entry(text.replace("-", MINUS)) for text in texts)


def _effect_blocks(trained: pd.DataFrame) -> Iterator[Block]:
    for (objective, lam, control), part in trained.groupby(["objective", "lambda", "control"], sort=False):
        rows = tuple(
            Line(
                dataset_label(row["dataset"]),
                row["architecture"],
                (
                    Entry(limits(row["difference"], row["low"], row["high"])),
                    Entry(f"{row['p']:.3f}"),
                    Entry(("yes" if row["equivalent"] else "not shown") + f", ± {row['margin']:g}"),
                    Entry(f"± {row['margin_needed']:.2f}" if np.isfinite(row["margin_needed"]) else NO_RUN),
                    Entry(f"{row['seeds']} × {row['cases']}"),
                ),
            )
            for row in part.to_dict("records")
        )
        headings = ("Difference in DSC", "p", "Equivalent", "Equivalent from", "Seeds × cases")
        yield Block(f"{objective}, λ = {lam}, minus {control}", ("",) * len(headings), headings, rows)


def _largest(values: pd.DataFrame, name: str) -> float:
    return float((values["fourier"] - values[name]).abs().max())


def _draw(values: pd.DataFrame, *, demonstration: bool) -> Figure:
    defined = values.dropna(subset=["fourier"])
    if defined.empty:
        return layout.no_data("No example prediction is stored.", demonstration=demonstration)
    names = sorted(defined["test_dataset"].unique())
    footer = [
        "Left: one point for each class of each example slice of each run. Right: share of the joint power of "
        "reference and prediction in bands of cycles per image, which is the weight of the band in Eq. (2), mean over "
        "examples."
    ]
    sheet = layout.sheet(
        [2.6, 2.9], [2.4], footer, demonstration=demonstration, left=0.45, gap=0.95, top=0.5, below=0.36
    )
    left, right = sheet.panels[0]
    left.plot([0, 1], [0, 1], color="black", linewidth=0.6, label="identity")
    points = {"linear_dice": ("linear Dice", style.ORANGE, "x"), "squared_dice": ("squared Dice", style.BLUE, "o")}
    for name, (label, colour, marker) in points.items():
        left.plot(defined[name], defined["fourier"], marker, color=colour, markersize=2.4, alpha=0.7, label=label)
    left.set_xlabel("Dice of the probabilities")
    left.set_ylabel("Eq. (2) by Fourier transform")
    left.legend(loc="upper left", fontsize=style.SMALL_SIZE)
    _bars(right, defined, names)
    return sheet.figure


def _bars(panel: Axes, values: pd.DataFrame, names: list[str]) -> None:
    shares = values.groupby("test_dataset")[[f"weight_{band}" for band in _BANDS]].mean().loc[names] * 100
    start = np.zeros(len(names))
    tones = zip(style.PART_COLOURS.values(), ("white", "white", "black"), strict=True)  # bars and the text in them
    for (band, (low, high)), (colour, tone) in zip(spectra.BANDS.items(), tones, strict=True):
        ink: dict[str, Any] = {"color": tone, "fontsize": style.SMALL_SIZE}
        width = shares[f"weight_{band}"].to_numpy()
        label = f"{low}–{high}" if np.isfinite(high) else f"≥ {low}"
        panel.barh(names, width, left=start, color=colour, edgecolor="white", linewidth=0.4, label=label)
        for y, (x, wide) in enumerate(zip(start, width, strict=True)):
            if wide > 8:
                panel.text(x + wide / 2, y, f"{wide:.0f}", ha="center", va="center", **ink)
        start = start + width
    panel.set_yticks(range(len(names)), [dataset_label(name) for name in names])
    panel.tick_params(axis="y", length=0)
    panel.invert_yaxis()
    panel.set_xlim(0, 100)
    panel.set_xlabel("weight in Eq. (2), %")
    fonts: dict[str, Any] = {"fontsize": style.SMALL_SIZE, "title_fontsize": style.SMALL_SIZE}
    panel.legend(title="cycles per image", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, **fonts)
