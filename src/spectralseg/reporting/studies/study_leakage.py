"""What does leakage do to the claim about other data?

Dice and gains over the baseline on all test cases and on those without a match in the training dataset.

The paper tests on other datasets that share images with the training data. This page repeats every comparison without
leaked test cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectralseg.data.splits import PARTS
from spectralseg.outputs import title_of
from spectralseg.reporting.drawing import layout, style
from spectralseg.reporting.labels import method_label, pair_label
from spectralseg.reporting.measurements import LEAK_FREE
from spectralseg.reporting.rendering import NO_RUN, UNDEFINED, Block, Entry, Line, Section, counted, limits, signed
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD, PAIR, rows_where
from spectralseg.reporting.studies import _common as common
from spectralseg.reporting.study import Study, study_page
from spectralseg.reporting.tables._cells import leak_warnings
from spectralseg.reporting.tables.leakage_effect import build as build_table
from spectralseg.statistics.verdicts import side

RUNS = {"suite": ("ood",)}
NEEDS = ("published/table_3.csv",)

PROTOCOL = "sound"
STEPS = {"": "all cases", **dict(zip(PARTS, ("not in training", "nor validation", "nor test"), strict=True))}
_LOOKS = tuple(
    zip((style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.ORANGE, "black"), "os^DPv", strict=True)
)
_Audited = Mapping[Any, Mapping[Any, Any]]  # row of the audit by training and test dataset
_LEGEND = (
    f"DSC, mean over foreground classes, protocol '{PROTOCOL}'; the CSV contains both. Columns from left to "
    "right leave out more test cases: those that match training data of the training dataset, validation data, and "
    "test data. Gain: difference to the baseline, same seeds and cases. In brackets 95 % intervals over seeds and "
    "patients."
)


def build(results: Results) -> Study:
    """Compare results out of distribution over all test cases with those over leak-free test cases.

    Raises:
        InputError: there was no audit, or published numbers or records are missing or damaged.
    """
    cells = build_table(results).cells
    cells = cells[cells["suite"] == "ood"].drop(columns=["published", "published_bold", "source"])
    gains = rows_where(common.published_gains(results, "table_3"), metric="dsc")[[*PAIR, *METHOD, "published_gain"]]
    cells = cells.merge(gains, "left", [*PAIR, *METHOD])
    sound = cells[cells["protocol"] == PROTOCOL]
    audited = {(pair["train_dataset"], pair["test_dataset"]): pair for pair in results.leakage.pairs.to_dict("records")}
    page = study_page(
        results,
        "study_leakage",
        title_of(__doc__),
        answer=_answer(sound, audited, gains),
        needed=_needed(sound),
        sections=[Section("", "", tuple(_blocks(sound)))],
        legend=_LEGEND,
        row_headings=("Method", ""),
        warnings=leak_warnings(results.leakage, sound),
    )
    return Study(page, cells.assign(part="leakage"), _draw(sound, demonstration=results.demonstration))


def _answer(cells: pd.DataFrame, audited: _Audited, gains: pd.DataFrame) -> Iterator[str]:
    if cells.empty:
        yield "No conclusion: no run is tested on another dataset."
    else:
        yield _headline(cells, audited)
    for pair, part in cells.groupby(PAIR, sort=False):
        name = pair_label(*map(str, pair))
        audit = audited[pair]
        leaks = int(audit["train"] + audit["validation"])
        if not leaks:
            yield f"{name}: none of {audit['cases']} test cases matches training or validation data."
            continue
        steps = {step: part[part["leak_free"] == step].set_index(METHOD) for step in STEPS}
        shift = (steps[LEAK_FREE]["measured"] - steps[""]["measured"]).dropna()
        ends = f"{signed(shift.min())} to {signed(shift.max())}" if len(shift) else "an undefined amount"
        yield (
            f"{name}: {leaks} of {counted(int(audit['cases']), 'test case')} match training or validation data. "
            f"Without them DSC changes by {ends} over {counted(len(shift), 'method')}."
        )
        yield from _claims(steps, _of_pair(gains, pair))
    yield from common.few(cells)


def _headline(cells: pd.DataFrame, audited: _Audited) -> str:
    """Numbers of pairs with leaks, and of differences beyond chance with and without leaked cases."""
    pairs = list(cells[PAIR].drop_duplicates().itertuples(index=False, name=None))
    leaking = [pair for pair in pairs if audited[pair]["train"] + audited[pair]["validation"]]
    compared = pd.concat([_of_pair(cells, pair) for pair in leaking or pairs]).dropna(subset=["gain"])
    limits = compared[["gain_low", "gain_high", "seeds", "groups"]].itertuples(index=False, name=None)
    decided = compared[np.array([side(*row) != 0 for row in limits], bool)]
    (all_decided, all_cases), (leak_free_decided, leak_free) = (
        [int((rows["leak_free"] == step).sum()) for rows in (decided, compared)] for step in ("", LEAK_FREE)
    )
    return (
        f"{len(leaking)} of {counted(len(pairs), 'pair')} of datasets leak training or validation data"
        f"{'; there' if leaking else ', and'} {all_decided} of {all_cases} differences to the baseline are beyond "
        f"chance on all test cases, and {leak_free_decided} of {leak_free} on leak-free test cases."
    )


def _of_pair(rows: pd.DataFrame, pair: tuple[Any, ...]) -> pd.DataFrame:
    return rows_where(rows, **dict(zip(PAIR, pair, strict=True)))


def _claims(steps: Mapping[str, pd.DataFrame], gains: pd.DataFrame) -> Iterator[str]:
    """Published gains of the paper's methods, and measured gains on all and on leak-free cases."""
    both = (steps[step].dropna(subset=["gain"]) for step in ("", LEAK_FREE))
    everything, leak_free = both
    for method in gains.to_dict("records"):
        key = tuple(method[name] for name in METHOD)
        texts = [_gain(rows.loc[key]) for rows in (everything, leak_free) if key in rows.index]
        if len(texts) == 2:
            yield (
                f"{method_label(method)}: published gain {signed(method['published_gain'])}, measured "
                f"{texts[0]} on all cases, {texts[1]} on leak-free cases."
            )


def _needed(cells: pd.DataFrame) -> Iterator[str]:
    if cells.empty:
        yield f"Runs on a dataset with a partner that is prepared as well: {common.PAPER_STUDY}."
    elif cells["gain"].isna().all():
        yield f"No method has a baseline with the same seeds: {common.PAPER_STUDY}."


def _blocks(cells: pd.DataFrame) -> Iterator[Block]:
    for pair, part in cells.groupby(PAIR, sort=False):
        lines: list[Line] = []
        for _, rows in part.groupby(METHOD, sort=False):
            steps = [rows[rows["leak_free"] == step].to_dict("records")[0] for step in STEPS]
            lines.append(Line(method_label(steps[0]), "DSC", tuple(Entry(_mean(step)) for step in steps)))
            if np.isfinite([step["gain"] for step in steps]).any():
                lines.append(Line("", "gain", tuple(Entry(_gain(step)) for step in steps)))
            if np.isfinite(steps[0]["published_gain"]):
                texts = [signed(steps[0]["published_gain"]), *[""] * (len(steps) - 1)]
                lines.append(Line("", "published gain", tuple(map(Entry, texts))))
        count = Line("Cases", "", tuple(Entry(str(count)) for count in _counts(part)))
        yield Block(pair_label(*map(str, pair)), ("",) * len(STEPS), tuple(STEPS.values()), tuple(lines), (count,))


def _counts(cells: pd.DataFrame) -> list[int]:
    """Number of cases after each step."""
    return [int(cells.loc[cells["leak_free"] == step, "cases"].max()) for step in STEPS]


def _mean(row: Mapping[Any, Any]) -> str:
    if not row["seeds"]:
        return NO_RUN
    if np.isnan(row["measured"]):
        return UNDEFINED
    return common.with_interval("dsc", row["measured"], row["measured_low"], row["measured_high"])


def _gain(row: Mapping[Any, Any]) -> str:
    return "" if np.isnan(row["gain"]) else limits(row["gain"], row["gain_low"], row["gain_high"])


def _draw(cells: pd.DataFrame, *, demonstration: bool) -> Figure:
    if cells.empty:
        return layout.no_data("No run is tested on another dataset.", demonstration=demonstration)
    methods = _methods(cells)
    left_out = len(cells[METHOD].drop_duplicates()) - len(methods)
    footer = [
        "Means over seeds with 95 % intervals over seeds and patients (with one seed over patients only), over all "
        "test cases and decreasing subsets. Gain: difference to the baseline, same seeds and cases. Stars: published "
        "gains." + (f" Methods left out: {left_out}." if left_out else "")
    ]
    pairs = list(cells[PAIR].drop_duplicates().itertuples(index=False, name=None))
    sheet = layout.sheet(
        [2.9, 2.9],
        [1.35] * len(pairs),
        footer,
        demonstration=demonstration,
        left=0.5,
        gap=0.5,
        top=0.3,
        taller=dict.fromkeys(range(1, len(pairs)), 0.12),
        below=0.85,
    )
    for (means, gains), pair in zip(sheet.panels, pairs, strict=True):
        part = _of_pair(cells, pair)
        _steps(means, part, methods, ("measured", "measured_low", "measured_high"))
        _steps(gains, part, methods, ("gain", "gain_low", "gain_high"), published=True)
        gains.axhline(0, color="black", linewidth=0.5)
        means.set_title(f"{pair_label(*map(str, pair))}: DSC, %")
        gains.set_title("gain over the baseline, percentage points")
    labels = [method_label(dict(zip(METHOD, method, strict=True))) for method in methods]
    handles = [common.handle(label, *look) for label, look in zip(labels, _LOOKS, strict=False)]
    sheet.legend(len(pairs) - 1, handles, drop=0.32)
    return sheet.figure


def _methods(cells: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Methods with a published gain, the baseline, and others up to the number of looks, one λ per objective."""
    order = np.select([cells["published_gain"].notna(), cells["objective"] == cells["baseline"]], [0, 1], 2)
    methods = cells.assign(order=order).sort_values("order", kind="stable").drop_duplicates(METHOD[:2])
    return list(methods[METHOD].itertuples(index=False, name=None))[: len(_LOOKS)]


def _steps(
    panel: Axes,
    cells: pd.DataFrame,
    methods: Sequence[tuple[str, str, str]],
    names: Sequence[str],
    *,
    published: bool = False,
) -> None:
    """One line per method over the steps, optionally with stars for published gains."""
    by_method = dict(iter(cells.groupby(METHOD)))
    for place, (method, look) in enumerate(zip(methods, _LOOKS, strict=False)):
        if method not in by_method:
            continue
        rows = by_method[method].set_index("leak_free").loc[list(STEPS)]
        x = np.arange(len(STEPS)) + 0.07 * (place - (len(methods) - 1) / 2)
        common.error_bars(panel, x, rows, names, *look)
        if published and np.isfinite(rows["published_gain"]).any():
            panel.plot(x[0] - 0.12, rows["published_gain"].iloc[0], "*", color=look[0], markersize=5)
    labels = [f"{label}\n({count})" for label, count in zip(STEPS.values(), _counts(cells), strict=True)]
    panel.set_xticks(range(len(STEPS)), labels)
    panel.set_xlim(-0.45, len(STEPS) - 0.55)
