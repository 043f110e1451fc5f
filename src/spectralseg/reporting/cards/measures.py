"""Measurements of a prepared dataset for its card. Arrays stay memory-mapped; masks are read row by row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectralseg.data.prepared import PreparedDataset
from spectralseg.data.splits import PARTS
from spectralseg.errors import InputError

BINS = 64
SAMPLE = 200

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Measures:
    """Measurements of a prepared dataset.

    Attributes:
        data: the dataset.
        pixels: number of pixels of each label, background first, in each row of the arrays: int64 (N, K + 1).
    """

    data: PreparedDataset
    pixels: NDArray[np.int64]

    @cached_property
    def parts(self) -> list[str]:
        """Parts with at least one case, in the order train, validation, test."""
        return [part for part in PARTS if part in set(self.data.cases["part"])]

    @cached_property
    def volumes(self) -> bool:
        """Whether cases are volumes."""
        return self.geometry["depth"].notna().any().item()

    @cached_property
    def grouped(self) -> bool:
        """Whether any group differs from its case."""
        return bool((self.data.cases["group"] != self.data.cases["case"]).any())

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Cases, groups and slices (rows of the arrays) of each part."""
        by_part = self.data.cases.groupby("part")
        counts = {"cases": by_part.size(), "groups": by_part["group"].nunique(), "slices": by_part["slices"].sum()}
        return pd.DataFrame(counts).reindex(self.parts)

    @cached_property
    def row_cases(self) -> NDArray[np.int64]:
        """Position of the case of each row of the arrays, (N,)."""
        return np.repeat(np.arange(len(self.data.cases)), self.data.cases["slices"])

    @cached_property
    def row_parts(self) -> NDArray[Any]:
        """Part of each row of the arrays, (N,)."""
        return self.data.cases["part"].to_numpy()[self.row_cases]

    @cached_property
    def class_shares(self) -> Values:
        """Share of each foreground class in the pixels of each row, (N, K)."""
        shares: Values = self.pixels[:, 1:] / self.pixels.sum(axis=1, keepdims=True)
        return shares

    @cached_property
    def foreground(self) -> Values:
        """Share of all foreground in the pixels of each row, (N,)."""
        shares: Values = self.class_shares.sum(axis=1)
        return shares

    @cached_property
    def foreground_by_part(self) -> dict[str, Values]:
        """:attr:`foreground` by part."""
        return {part: self.foreground[self.row_parts == part] for part in self.parts}

    @cached_property
    def empty_cases(self) -> NDArray[np.int64]:
        """Positions of the cases without foreground."""
        largest = np.zeros(len(self.data.cases))
        np.maximum.at(largest, self.row_cases, self.foreground)
        return np.flatnonzero(largest == 0)

    @cached_property
    def balance(self) -> pd.DataFrame:
        """One row per class and part.

        ``pixels``: share of the part's pixels; ``slices`` and ``cases``: share of slices and cases with the class;
        ``low``, ``median``, ``high``: 5 %, 50 % and 95 % quantile of its share of a slice with the class, else NaN.
        """
        rows = []
        for name, shares in zip(self.data.classes, self.class_shares.T, strict=True):
            for part in self.parts:
                in_part = self.row_parts == part
                rows.append({"class": name, "part": part, **_occurrence(shares[in_part], self.row_cases[in_part])})
        return pd.DataFrame(rows)

    @cached_property
    def geometry(self) -> pd.DataFrame:
        """Native geometry of each case: ``width``, ``height``, ``depth`` in pixels, ``row``, ``column``, ``slice``
        spacing in millimetres; NaN if not recorded.
        """
        shapes, spacings = _from_json(self.data, "native_shape"), _from_json(self.data, "spacing")
        return pd.DataFrame(
            [
                {**_named(shape, ("depth", "height", "width")), **_named(spacing, ("slice", "row", "column"))}
                for shape, spacing in zip(shapes, spacings, strict=True)
            ],
            columns=["width", "height", "depth", "row", "column", "slice"],
            dtype=np.float64,
        )

    @cached_property
    def attributes(self) -> dict[str, pd.DataFrame]:
        """Cases by value and part of each attribute; a case that lacks the attribute counts under ``not given``."""
        values = pd.DataFrame(value or {} for value in _from_json(self.data, "attributes"))
        values = values.fillna("not given").astype(str)
        parts = pd.Categorical(self.data.cases["part"], self.parts)
        return {name: pd.crosstab(values[name].to_numpy(), parts, dropna=False) for name in values.columns}


def measure(data: PreparedDataset) -> Measures:
    """Count the labels of every row.

    Raises:
        InputError: a mask contains more labels than there are classes.
    """
    labels = len(data.classes) + 1
    counts = [np.bincount(mask.ravel(), minlength=labels) for mask in data.masks]
    if max(len(count) for count in counts) > labels:
        raise InputError(f"{data.path / 'masks.npy'}: holds labels above {labels - 1}; prepare the dataset again")
    return Measures(data, np.stack(counts))


def intensities(data: PreparedDataset) -> tuple[Values, int]:
    """Share of the intensities 0..1 in :data:`BINS` equal bins, (channels, BINS), and the number of images read.

    At most :data:`SAMPLE` rows are read, evenly spaced over the training part, or over all rows if it is empty.
    """
    rows = data.rows("train") if len(data.rows("train")) else np.arange(len(data.images))
    sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).round().astype(int)]
    per_bin = (np.iinfo(data.images.dtype).max + 1) // BINS
    counts = np.zeros((data.images.shape[-1], BINS), np.int64)
    for row in sample:
        for channel, plane in enumerate(np.moveaxis(data.images[row] // per_bin, -1, 0)):
            counts[channel] += np.bincount(plane.ravel(), minlength=BINS)
    return counts / counts.sum(axis=1, keepdims=True), len(sample)


def _occurrence(shares: Values, cases: NDArray[np.int64]) -> dict[str, float]:
    """Frequency and size of a class, from its share of each slice and the case of each slice."""
    present = shares > 0
    low, median, high = np.quantile(shares[present], [0.05, 0.5, 0.95]) if present.any() else [np.nan] * 3
    frequency = {"slices": present.mean(), "cases": len(np.unique(cases[present])) / len(np.unique(cases))}
    return {"pixels": shares.mean(), **frequency, "low": low, "median": median, "high": high}


def _from_json(data: PreparedDataset, column: str) -> list[Any]:
    """A column of the case table, parsed; None for an empty cell."""
    try:
        return [json.loads(value) if value else None for value in data.cases[column]]
    except ValueError as error:
        problem = f"column '{column}' is damaged ({error}); prepare the dataset again"
        raise InputError(f"{data.path / 'cases.csv'}: {problem}") from None


def _named(values: list[float] | None, names: tuple[str, str, str]) -> dict[str, float]:
    """Values of the last axes by name."""
    return dict(zip(names[-len(values) :], values, strict=True)) if values else {}
