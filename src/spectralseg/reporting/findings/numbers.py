"""Numbers of a page: the extracted CSV files, and the parts of them that several sections show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from spectralseg.config import Config, load_config
from spectralseg.loading import read_csv
from spectralseg.metrics.records import MEAN
from spectralseg.reporting.findings.extract import COLUMNS, CONFIG, MAIN_PROTOCOL, METHOD, VALIDATION
from spectralseg.reporting.studies._common import is_full_band

PROTOCOLS = (MAIN_PROTOCOL, "published")
CELL = ["dataset", "architecture"]
Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Numbers:
    """The CSV files of a folder, and the configuration beside them."""

    folder: Path

    @cached_property
    def config(self) -> Config:
        """The study's configuration."""
        return load_config(self.folder / CONFIG)

    def table(self, name: str) -> pd.DataFrame:
        """One of the CSV files; names and λ are text, an empty cell is NaN or an empty text."""
        texts = (*METHOD, "reference", "reference_lambda", "metric", "class", "protocol", "leak_free")
        expected = "the numbers of a study", "run 'spectralseg findings' again"
        options: dict[str, Any] = {"dtype": dict.fromkeys(texts, "str"), "keep_default_na": True}
        frame = read_csv(self.folder / f"{name}.csv", *expected, COLUMNS[name], **options)
        return frame.fillna({column: "" for column in texts if column in frame})

    def curves(self, name: str) -> pd.DataFrame:
        """Validation Dice during training, from one of the CSV files: mean over the seeds of each method, and their
        number.
        """
        keys = [*METHOD, "learning_rate", "iterations", "iteration"]
        by_iteration = self.table(name).groupby(keys, sort=False, dropna=False)[VALIDATION]
        return by_iteration.agg(["mean", "count"]).rename(columns={"mean": VALIDATION, "count": "seeds"}).reset_index()

    def notes(self, name: str) -> Iterator[str]:
        """The text of a hand-written Markdown file in the folder, if it exists."""
        file = self.folder / name
        if file.is_file():
            yield file.read_text(encoding="utf-8").strip()

    @cached_property
    def all_effects(self) -> pd.DataFrame:
        """Differences between methods on all test sets."""
        return self.table("effects")

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Differences between methods on test cases of the dataset that they were trained on, mean over classes."""
        effects = select(self.all_effects, **{"class": MEAN})
        return effects[effects["dataset"] == effects["test_dataset"]]

    @cached_property
    def classes(self) -> pd.DataFrame:
        """Differences to the baseline in single classes, where a dataset has several."""
        effects = select(self.all_effects, reference=self.config.baseline, leak_free="")
        return self.ordered(effects[effects["class"] != MEAN])

    @cached_property
    def other_data(self) -> pd.DataFrame:
        """Differences to the baseline on other datasets, mean over classes."""
        effects = select(self.all_effects, reference=self.config.baseline, **{"class": MEAN})
        return self.ordered(effects[effects["dataset"] != effects["test_dataset"]])

    @cached_property
    def paper(self) -> dict[tuple[str, ...], float]:
        """Mean DSC of the paper's tables 1 and 2 for each dataset, network, objective and λ."""
        cells = select(self.table("published"), table=("table_1", "table_2"))
        return dict(zip(cells[list(METHOD)].itertuples(index=False, name=None), cells["value"], strict=True))

    def published_gain(self, row: Row) -> tuple[float, float] | None:
        """The paper's DSC of the baseline, and its difference of a method to it; None if it does not have both."""
        method = self.paper.get(tuple(row[key] for key in METHOD))
        reference = self.paper.get((row["dataset"], row["architecture"], self.config.baseline, "0"))
        return None if method is None or reference is None else (reference, method - reference)

    def ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows in the order of the configuration, those of other names, as of external methods, last."""
        config = self.config
        orders = (list(config.datasets), list(config.architectures), list(config.objectives))
        keys = zip(frame["dataset"], frame["architecture"], frame["objective"], frame["lambda"], strict=True)
        places = [
            (*(([*order, name]).index(name) for order, name in zip(orders, names, strict=True)), float(weight))
            for *names, weight in keys
        ]
        return frame.iloc[sorted(range(len(places)), key=places.__getitem__)]

    def against(self, reference: str | None = None, *, leak_free: str = "") -> pd.DataFrame:
        """Effects against the baseline, or another reference."""
        return self.ordered(select(self.effects, reference=reference or self.config.baseline, leak_free=leak_free))

    @cached_property
    def evaluated(self) -> pd.DataFrame:
        """Runs with metric values."""
        return select(self.table("runs"), state="evaluated")

    @cached_property
    def dice(self) -> pd.DataFrame:
        """Effects in DSC against the baseline under the main protocol that have an interval."""
        return select(self.against(), metric="dsc", protocol=MAIN_PROTOCOL).dropna(subset=["low"])

    @cached_property
    def sweep(self) -> pd.DataFrame:
        """:attr:`dice` of the objectives with more than two λ on a dataset and network."""
        several = self.dice.groupby([*CELL, "objective"])["lambda"].transform("nunique")
        return self.dice[several > 2]

    @cached_property
    def weights(self) -> dict[str, str]:
        """The main λ of each objective with an auxiliary term: the λ of most datasets and networks; of equally many,
        the first of the configuration.
        """
        order = list(dict.fromkeys(lam for block in self.config.grid.values() for lam in block.lambdas))
        methods = self.effects.drop_duplicates(list(METHOD))
        cells: dict[Any, int] = methods.groupby(["objective", "lambda"]).size().to_dict()
        weights: dict[str, str] = {}
        for name, lam in sorted(cells, key=lambda key: (-cells[key], order.index(key[1]) if key[1] in order else -1)):
            if self.config.objectives[name].auxiliary is not None and float(lam):
                weights.setdefault(name, lam)
        return weights

    def main(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows at the main λ, and those of objectives without an auxiliary term."""
        return frame[frame["lambda"] == frame["objective"].map(lambda name: self.weights.get(name, "0"))]

    @cached_property
    def subject(self) -> str | None:
        """The objective that the study is about: Eq. (2) over all frequencies, added as a loss."""
        objectives = self.config.objectives.items()
        added = (name for name, objective in objectives if is_full_band(objective) and objective.form == "add")
        return next((name for name in added if name != self.config.baseline), None)

    def controls(self, name: str) -> list[str]:
        """Objectives other than the baseline that an objective is compared with."""
        references = dict.fromkeys(self.main(select(self.effects, objective=name))["reference"])
        return [reference for reference in references if reference not in (name, self.config.baseline)]

    def is_same_function(self, reference: str) -> bool:
        """Whether a control is the squared Dice, rather than more weight on the Dice of the base objective."""
        return self.config.objectives[reference].auxiliary is not None

    @cached_property
    def iterations(self) -> dict[str, float]:
        """The longest run on each dataset."""
        longest = self.table("runs").groupby("dataset", sort=False)["iterations"].max().dropna()
        return {str(name): most for name, most in longest.items()}


def select(rows: pd.DataFrame, **values: str | Iterable[str]) -> pd.DataFrame:
    """Rows whose columns hold a value, or one of several."""
    for column, value in values.items():
        rows = rows[rows[column].isin([value] if isinstance(value, str) else [*value])]
    return rows
