"""What does leakage do to the claim about other data?

Dice and gains over the baseline on all test cases and on those without a match in the training dataset.

The paper tests on other datasets that share images with the training data. This page repeats every comparison without
the leaked test cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spectralseg.data.audit import Audit
from spectralseg.data.splits import PARTS
from spectralseg.outputs import title_of
from spectralseg.reporting.drawing import layout, style
from spectralseg.reporting.labels import method_label, pair_label
from spectralseg.reporting.measurements import LEAK_FREE
from spectralseg.reporting.rendering import MINUS, NO_RUN, UNDEFINED, Block, Entry, Line, Section, limits, signed
from spectralseg.reporting.results import Results
from spectralseg.reporting.studies import _common as common
from spectralseg.reporting.study import Study, study_page
from spectralseg.reporting.tables.leakage_effect import build as build_table
from spectralseg.statistics.verdicts import side

NEEDS = ("published/table_3.csv",)

PROTOCOL = "sound"
STEPS = {"": "all cases", **dict(zip(PARTS, ("not in training", "nor validation", "nor test"), strict=True))}
_METHOD = ["architecture", "objective", "lambda"]
_PAIR = ["dataset", "test_dataset"]
_LIMIT = 6  # methods that a panel holds
_Audited = Mapping[Any, Mapping[Any, Any]]  # what the audit found by training and test dataset
_LEGEND = (
    f"DSC, mean over foreground classes, protocol '{PROTOCOL}'; the CSV holds the other as well. Columns from left to "
    "right leave out ever more test cases: those that match training data of the training dataset, validation data, "
    "and test data. Gain: less the baseline for the same seeds and cases. In brackets 95 % intervals over seeds and "
    "patients."
)


def build(results: Results) -> Study:
    """Set results out of distribution over all test cases beside those over leak-free ones.

    Raises:
        InputError: there was no audit, or published numbers or records are missing or damaged.
    """
    cells = build_table(results).cells
    cells = cells[cells["suite"] == "ood"].drop(columns=["published", "published_bold", "source"])
    gains = _published_gains(results)
    cells = cells.merge(gains, "left", [*_PAIR, *_METHOD])
    shown = cells[cells["protocol"] == PROTOCOL]
    audited = {(pair["train_dataset"], pair["test_dataset"]): pair for pair in results.leakage.pairs.to_dict("records")}
    page = study_page(
        results,
        "study_leakage",
        title_of(__doc__),
        answer=_answer(shown, audited, gains),
        needed=_needed(shown),
        sections=[Section("", "", tuple(_blocks(shown)))],
        legend=_LEGEND,
        row_headings=("Method", ""),
        warnings=_warnings(shown, results.leakage),
    )
    with style.applied():
        figure = _draw(shown, demonstration=results.demonstration)
    return Study(page, cells.assign(part="leakage"), figure)


def _published_gains(results: Results) -> pd.DataFrame:
    """Published DSC of each method out of distribution less that of the spatial objective, ``published_gain``."""
    cells = common.published_table(results, "table_3").cells
    dice = cells[cells["metric"] == "dsc"]
    spatial = dice[dice["objective"] == "spatial"][[*_PAIR, "architecture", "value"]]
    both = dice[dice["objective"] != "spatial"].merge(spatial, on=[*_PAIR, "architecture"], suffixes=("", "_spatial"))
    return both.assign(published_gain=both["value"] - both["value_spatial"])[[*_PAIR, *_METHOD, "published_gain"]]


def _warnings(cells: pd.DataFrame, audit: Audit) -> Iterator[str]:
    pairs = set(cells[_PAIR].itertuples(index=False, name=None))
    return (f"Leakage audit. {finding}." for finding in audit.findings(pairs))


def _answer(cells: pd.DataFrame, audited: _Audited, gains: pd.DataFrame) -> Iterator[str]:
    if cells.empty:
        yield "Nothing can be said: no run is tested on another dataset."
    else:
        yield _headline(cells, audited)
    for pair, part in cells.groupby(_PAIR, sort=False):
        name = pair_label(*map(str, pair))
        found = audited[pair]
        seen = int(found["train"] + found["validation"])
        if not seen:
            yield f"{name}: none of {found['cases']} test cases matches training or validation data."
            continue
        steps = {step: part[part["leak_free"] == step].set_index(_METHOD) for step in STEPS}
        shift = (steps[LEAK_FREE]["measured"] - steps[""]["measured"]).dropna()
        ends = f"{signed(shift.min())} to {signed(shift.max())}" if len(shift) else "an undefined amount"
        yield (
            f"{name}: {seen} of {common.counted(int(found['cases']), 'test case')} match training or validation data. "
            f"Without them DSC changes by {ends} over {common.counted(len(shift), 'method')}."
        )
        yield from _claims(steps, _of_pair(gains, pair))
    yield from common.few(cells)


def _headline(cells: pd.DataFrame, audited: _Audited) -> str:
    """How many pairs leak, and how many differences to the baseline hold with and without leaking cases."""
    pairs = list(cells[_PAIR].drop_duplicates().itertuples(index=False, name=None))
    leaking = [pair for pair in pairs if audited[pair]["train"] + audited[pair]["validation"]]
    compared = pd.concat([_of_pair(cells, pair) for pair in leaking or pairs]).dropna(subset=["gain"])
    limits = compared[["gain_low", "gain_high", "seeds", "groups"]].itertuples(index=False, name=None)
    decided = compared[np.array([side(*one) != 0 for one in limits], bool)]
    counts = [[int((rows["leak_free"] == step).sum()) for step in ("", LEAK_FREE)] for rows in (decided, compared)]
    return (
        f"{len(leaking)} of {common.counted(len(pairs), 'pair')} of datasets leak training or validation data"
        f"{'; there' if leaking else ', and'} {counts[0][0]} of {counts[1][0]} differences to the baseline are beyond "
        f"chance on all test cases, and {counts[0][1]} of {counts[1][1]} on the leak-free ones."
    )


def _of_pair(rows: pd.DataFrame, pair: tuple[Any, ...]) -> pd.DataFrame:
    found: pd.DataFrame = rows[(rows["dataset"] == pair[0]) & (rows["test_dataset"] == pair[1])]
    return found


def _claims(steps: Mapping[str, pd.DataFrame], gains: pd.DataFrame) -> Iterator[str]:
    """What the paper claims, and the gains over the baseline on all and on leak-free cases."""
    everything, left = (steps[step].dropna(subset=["gain"]) for step in ("", LEAK_FREE))
    for method in gains.to_dict("records"):
        key = tuple(method[name] for name in _METHOD)
        texts = [_gain(rows.loc[key]) for rows in (everything, left) if key in rows.index]
        if len(texts) == 2:
            yield (
                f"{method_label(method)}: published gain {signed(method['published_gain'])}, measured "
                f"{texts[0]} on all cases, {texts[1]} on the leak-free ones."
            )


def _needed(cells: pd.DataFrame) -> Iterator[str]:
    if cells.empty:
        yield f"Runs on a dataset with a partner that is prepared as well: {common.PAPER_STUDY}."
    elif cells["gain"].isna().all():
        yield f"No method stands beside a baseline with the same seeds: {common.PAPER_STUDY}."


def _blocks(cells: pd.DataFrame) -> Iterator[Block]:
    for pair, part in cells.groupby(_PAIR, sort=False):
        lines: list[Line] = []
        for _, rows in part.groupby(_METHOD, sort=False):
            steps = [rows[rows["leak_free"] == step].to_dict("records")[0] for step in STEPS]
            lines.append(Line(method_label(steps[0]), "DSC", tuple(Entry(_mean(step)) for step in steps)))
            if np.isfinite([step["gain"] for step in steps]).any():
                lines.append(Line("", "gain", tuple(Entry(_gain(step)) for step in steps)))
            if np.isfinite(steps[0]["published_gain"]):
                texts = [signed(steps[0]["published_gain"]), *[""] * (len(steps) - 1)]
                lines.append(Line("", "published gain", tuple(map(Entry, texts))))
        counts = [int(part.loc[part["leak_free"] == step, "cases"].max()) for step in STEPS]
        title = pair_label(*map(str, pair))
        count = Line("Cases", "", tuple(Entry(str(number)) for number in counts))
        yield Block(title, ("",) * len(STEPS), tuple(STEPS.values()), tuple(lines), (count,))


def _mean(row: Mapping[Any, Any]) -> str:
    if not row["seeds"]:
        return NO_RUN
    if np.isnan(row["measured"]):
        return UNDEFINED
    texts = [f"{row[name]:.2f}".replace("-", MINUS) for name in ("measured", "measured_low", "measured_high")]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _gain(row: Mapping[Any, Any]) -> str:
    if np.isnan(row["gain"]):
        return ""
    return limits(row["gain"], row["gain_low"], row["gain_high"])


def _draw(cells: pd.DataFrame, *, demonstration: bool) -> Figure:
    if cells.empty:
        return layout.nothing("No run is tested on another dataset.", demonstration=demonstration)
    methods = _chosen(cells)
    left_out = len(cells[_METHOD].drop_duplicates()) - len(methods)
    footer = [
        "Means over seeds with 95 % intervals over seeds and patients (with one seed over patients only), over all "
        "test cases and over ever fewer. Gain: less the baseline for the same seeds and cases. Stars: published gains."
        + (f" Methods left out: {left_out}." if left_out else "")
    ]
    pairs = list(cells[_PAIR].drop_duplicates().itertuples(index=False, name=None))
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
    handles = [
        Line2D(
            [],
            [],
            color=colour,
            marker=marker,
            markersize=3,
            label=method_label(dict(zip(_METHOD, m, strict=True))),
        )
        for m, (colour, marker) in zip(methods, _LOOKS, strict=False)
    ]
    sheet.legend(len(pairs) - 1, handles, drop=0.32)
    return sheet.figure


_LOOKS = (
    (style.BLUE, "o"),
    (style.VERMILLION, "s"),
    (style.GREEN, "^"),
    (style.PURPLE, "D"),
    (style.ORANGE, "P"),
    ("black", "v"),
)


def _chosen(cells: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Those with a published gain, the baseline, and as many others as there is room for, one λ per objective."""
    order = np.select([cells["published_gain"].notna(), cells["objective"] == cells["baseline"]], [0, 1], 2)
    methods = cells.assign(order=order).sort_values("order", kind="stable").drop_duplicates(_METHOD[:2])
    return list(methods[_METHOD].itertuples(index=False, name=None))[:_LIMIT]


def _steps(
    panel: Axes,
    cells: pd.DataFrame,
    methods: Sequence[tuple[str, str, str]],
    names: Sequence[str],
    *,
    published: bool = False,
) -> None:
    """One line per method over the steps, with stars for published gains if asked."""
    by_method = dict(iter(cells.groupby(_METHOD)))
    for place, (method, (colour, marker)) in enumerate(zip(methods, _LOOKS, strict=False)):
        if method not in by_method:
            continue
        rows = by_method[method].set_index("leak_free").loc[list(STEPS)]
        x = np.arange(len(STEPS)) + 0.07 * (place - (len(methods) - 1) / 2)
        middle, low, high = (rows[name].to_numpy(float) for name in names)
        if np.isfinite(middle).any():
            reach = np.abs(np.stack([low, high]) - middle)
            panel.errorbar(x, middle, reach, color=colour, marker=marker, markersize=3, elinewidth=0.7)
        if published and np.isfinite(rows["published_gain"]).any():
            panel.plot(x[0] - 0.12, rows["published_gain"].iloc[0], "*", color=colour, markersize=5)
    counts = [int(cells.loc[cells["leak_free"] == step, "cases"].max()) for step in STEPS]
    labels = [f"{label}\n({count})" for label, count in zip(STEPS.values(), counts, strict=True)]
    panel.set_xticks(range(len(STEPS)), labels)
    panel.set_xlim(-0.45, len(STEPS) - 0.55)
