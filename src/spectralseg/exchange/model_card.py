"""The model card of a run, exported or not: training, results, input and output."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from spectralseg.corruptions import CLEAN
from spectralseg.data import PreparedDataset
from spectralseg.errors import one_line
from spectralseg.exchange.scoring import summarise

INPUT, OUTPUT = "images", "probabilities"
_METRICS = ("dsc", "iou", "hd95", "nsd")


@dataclass(frozen=True)
class Parity:
    """Differences between an exported model and the original.

    Attributes:
        images: number of images compared.
        error: largest absolute difference of a probability.
        tolerance: largest accepted difference.
        labels: fraction of pixels with another label, in [0, 1].
    """

    images: int
    error: float
    tolerance: float
    labels: float


@dataclass(frozen=True)
class Export:
    """The file of an exported model.

    Attributes:
        checkpoint: ``best`` or ``last``.
        file: name of the file.
        usage: Python code that runs it on :data:`INPUT`.
        parity: result of the parity check.
    """

    checkpoint: str
    file: str
    usage: str
    parity: Parity


def model_card(
    settings: Mapping[str, Any], data: PreparedDataset, records: pd.DataFrame | None, export: Export | None = None
) -> str:
    """The card of a model as Markdown.

    Args:
        settings: content of ``run.json``.
        data: the dataset that the run was trained on.
        records: metric records of the run; None if it is not evaluated.
        export: the exported file; None describes the run without one.
    """
    environment = Environment(
        loader=PackageLoader("spectralseg.exchange"),
        autoescape=False,  # autoescaping is for HTML
        finalize=_escaped,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("model_card.md").render(
        **{key: settings[key] for key in ("run", "architecture", "objective", "training", "parameters")},
        **{key: settings[key] for key in ("iterations", "best_iteration", "validation_dice")},
        version=settings["versions"]["spectralseg"],
        trained=settings["data"],
        data={"intensity": None, "fit": data.fit, **data.info},
        outputs=data.outputs,
        results=[] if records is None else list(_results(records)),
        input=INPUT,
        output=OUTPUT,
        export=export and replace(export, usage=_Verbatim(export.usage)),
    )


class _Verbatim(str):
    """Text that is Markdown already."""


def _escaped(value: Any) -> Any:
    """Escape text of a dataset as one line of Markdown without HTML, links, code or table cells."""
    if not isinstance(value, str) or isinstance(value, _Verbatim):
        return value
    line = one_line(re.sub(r"\s+", " ", value))
    return re.sub(r"[\[\]`|]", r"\\\g<0>", re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("<", "&lt;"))


def _results(records: pd.DataFrame) -> Iterator[dict[Hashable, Any]]:
    clean = records[(records["corruption"] == CLEAN) & records["metric"].isin(_METRICS)]
    for name, group in clean.groupby("test_dataset", sort=False, observed=True):
        yield from summarise(group).assign(test_dataset=name).to_dict("records")
