"""Overlap between test sets and training datasets.

Share of each test set that also occurs in a training dataset, for every pair of datasets that can be compared, and
leaked test images beside their matches.

The diagonal is each dataset's own test set.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from spectralseg.data.audit import Audit
from spectralseg.data.prepared import PreparedDataset
from spectralseg.data.splits import PARTS
from spectralseg.reporting.drawing import images, layout, style
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results
from spectralseg.reporting.tables.leakage import LABELS

IMAGES = True

_SHARES = LinearSegmentedColormap.from_list("shares", ["white", style.VERMILLION])
_EXAMPLES = 4
_CELL = (0.93, 0.3)  # inches, at most
_LEFT, _BETWEEN = 0.95, 0.1
_READING = (
    "Numbers: test cases that match training or validation data, of all test cases; in brackets those that match test "
    "cases only. Colour: their share, without those in brackets. Framed: own test sets and partners out of "
    "distribution. Grey: not compared, as the numbers of channels differ or a dataset has no training or test cases."
)
_RULE = (
    "Below: test images of the framed pair with the most matches, each beside its match, evenly spaced in the order of "
    "their ids; of volumes the middle slice."
)


def build(results: Results) -> Figure:
    """Share of test cases that match training data, for every pair of datasets, and examples of the worst pair."""
    audit = results.leakage
    if audit.pairs.empty:
        return layout.no_data("Leakage was not audited.", demonstration=results.demonstration)
    examples = _examples(audit)
    # The order of the pairs keeps comparable datasets together.
    names = list(dict.fromkeys(audit.pairs[["train_dataset", "test_dataset"]].to_numpy().ravel()))
    side = layout.fitting(2 * _EXAMPLES, left=_LEFT, extra=_BETWEEN * (_EXAMPLES - 1))
    sheet = layout.sheet(
        [side] * (2 * _EXAMPLES),
        [_CELL[1] * len(names)] + [side] * bool(len(examples)),
        [_READING, *([_RULE] if len(examples) else ["No framed pair has a match."])],
        demonstration=results.demonstration,
        left=_LEFT,
        top=0.5,
        wider=dict.fromkeys(range(2, 2 * _EXAMPLES, 2), _BETWEEN),
        taller={1: 0.6},
        below=0.34,
    )
    _matrix(_joined(sheet, _CELL[0] * len(names)), audit, names)
    for panel in sheet.panels[-1][2 * len(examples) :] if len(examples) else []:
        panel.set_visible(False)
    for index, match in enumerate(examples.to_dict("records")):
        left, right = sheet.panels[1][2 * index : 2 * index + 2]
        _show(left, results.prepared(match["test_dataset"]), match["test_case"], "test")
        _show(right, results.prepared(match["train_dataset"]), match["train_case"], match["train_part"])
        kinds = textwrap.fill(match["kinds"], 28, break_on_hyphens=False)
        left.text(0, -0.05, kinds, transform=left.transAxes, va="top", fontsize=style.SMALL_SIZE)
    return sheet.figure


def _examples(audit: Audit) -> pd.DataFrame:
    """A few matches of the pair with the most leaks, one per test case, preferably leaks, with their kinds."""
    worst = audit.used.iloc[0]
    leaks = audit.between(worst["train_dataset"], worst["test_dataset"])
    kinds = leaks["kind"].map(LABELS).groupby([leaks["test_case"], leaks["train_case"]]).agg(", ".join).rename("kinds")
    leaks = leaks.join(kinds, ["test_case", "train_case"]).assign(order=leaks["train_part"].map(PARTS.index))
    leaks = leaks[leaks["train_part"] != "test"] if worst["leaked"] else leaks
    each = leaks.sort_values(["test_case", "order"], kind="stable").drop_duplicates("test_case")
    return each.iloc[np.unique(np.linspace(0, len(each) - 1, min(_EXAMPLES, len(each))).round().astype(int))]


def _joined(sheet: layout.Sheet, width: float) -> Axes:
    """The first panel of the first row, widened to ``width`` inches but at most to the end of the row."""
    panels = sheet.panels[0]
    first, last = panels[0].get_position(), panels[-1].get_position()
    for panel in panels[1:]:
        panel.set_visible(False)
    share = min(width / sheet.figure.get_figwidth(), last.x1 - first.x0)
    panels[0].set_position((first.x0, first.y0, share, first.height))
    return panels[0]


def _matrix(panel: Axes, audit: Audit, names: Sequence[str]) -> None:
    labels = [dataset_label(name) for name in names]
    panel.set_facecolor(style.EMPTY)
    panel.set_xlim(0, len(names))
    panel.set_ylim(len(names), 0)
    panel.set_xticks(np.arange(len(names)) + 0.5, labels)
    panel.set_yticks(np.arange(len(names)) + 0.5, labels)
    panel.tick_params(length=0, labelsize=style.TEXT_SIZE, top=False, labeltop=True, labelbottom=False)
    panel.spines[:].set_visible(False)
    panel.set_xlabel("tested on", fontsize=style.TEXT_SIZE, labelpad=4)
    panel.xaxis.set_label_position("top")
    panel.set_ylabel("trained on", fontsize=style.TEXT_SIZE)
    for pair in sorted(audit.pairs.to_dict("records"), key=lambda pair: pair["role"] != "other"):
        _cell(panel, names.index(pair["test_dataset"]), names.index(pair["train_dataset"]), pair)


def _cell(panel: Axes, x: int, y: int, pair: dict[Any, Any]) -> None:
    leaks = pair["train"] + pair["validation"]
    share = leaks / pair["cases"]
    edge = "black" if pair["role"] != "other" else "white"
    box = Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, facecolor=_SHARES(share), edgecolor=edge, linewidth=0.9)
    panel.add_patch(box)
    text = f"{leaks} of {pair['cases']}" + (f" (+{pair['test']})" if pair["test"] else "")
    colour = "white" if share > 0.6 else "black" if leaks or pair["test"] else style.FAINT
    panel.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=style.SMALL_SIZE, color=colour)


def _show(panel: Axes, data: PreparedDataset, case: str, part: str) -> None:
    row = data.cases[data.cases["case"] == case].iloc[0]
    layout.picture(panel, images.shown_image(data, int(row["first"] + row["slices"] // 2)))
    panel.set_title(f"{dataset_label(data.name)}\n{part}\n{case}", fontsize=style.SMALL_SIZE)
