"""Stored example predictions as pictures of the report page: the image once, with outlines as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.prepared import PreparedDataset
from spectralseg.grid import Run
from spectralseg.reporting.cards.pictures import jpeg, outlines
from spectralseg.reporting.drawing.images import detail, mean_dice, shown_image
from spectralseg.reporting.results import Results


def overlays(
    results: Results, training: str, test: str, methods: Sequence[tuple[str, str, str]], cases: Sequence[str]
) -> dict[int, dict[str, Any]]:
    """Pictures by position of the case, for the cases with a stored prediction.

    Each has ``image`` (base64 JPEG), ``side`` of the coordinates, ``slice`` (number of the slice from 1 and number of
    slices, None for images), ``part`` (whether only the central third is shown), ``reference``: outlines as class
    and SVG path; and ``predictions`` by position of the method: ``seed``, ``dice`` of the slice in percent (None if
    both are empty), ``outlines``. Every method is shown with the lowest seed that any method has stored.

    Args:
        results: the results folder.
        training: training dataset of the methods.
        test: test dataset.
        methods: architecture, objective and λ.
        cases: ids of the cases.

    Raises:
        InputError: stored predictions are damaged.
    """
    if test not in results.prepared_names:
        return {}
    data = results.prepared(test)
    seed = min((run.seed for run in results.runs() if run.dataset == training), default=0)
    stored = [results.examples(Run(training, *method, seed)) for method in methods]
    slices = {
        (str(case), int(row))
        for examples in stored
        if examples is not None
        for case, row in zip(examples.case, examples.row, strict=True)
    }
    pictures: dict[int, dict[str, Any]] = {}
    for case, row in sorted(slices):
        predictions = {
            method: examples.prediction[index]
            for method, examples in enumerate(stored)
            if examples is not None and (index := examples.find(test, case, row)) is not None
        }
        if predictions and case in cases:
            pictures[cases.index(case)] = _picture(data, case, row, seed, predictions)
    return pictures


def _picture(
    data: PreparedDataset, case: str, row: int, seed: int, predictions: dict[int, NDArray[np.uint8]]
) -> dict[str, Any]:
    reference = np.asarray(data.masks[row])
    window = detail(reference > 0)
    entry = data.cases[data.cases["case"] == case].iloc[0]
    return {
        "image": jpeg(shown_image(data, row)[window]),
        "side": len(reference[window]),
        "slice": [int(row - entry["first"]) + 1, int(entry["slices"])] if entry["slices"] > 1 else None,
        "part": reference[window].shape != reference.shape,
        "reference": _paths(reference[window], data.classes),
        "predictions": {
            method: {
                "seed": seed,
                "dice": None if np.isnan(dice := mean_dice(labels, reference)) else round(100 * dice, 1),
                "outlines": _paths(labels[window], data.classes),
            }
            for method, labels in predictions.items()
        },
    }


def _paths(labels: NDArray[np.uint8], classes: list[str]) -> list[tuple[str, str]]:
    return [(outline.name, outline.path) for outline in outlines(np.ascontiguousarray(labels), classes)]
