"""Stored example predictions as pictures of the report page: the image once, outlines as vectors over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.prepared import PreparedDataset
from spectralseg.grid import Run
from spectralseg.reporting.cards.pictures import jpeg, outlines
from spectralseg.reporting.drawing.images import detail, mean_dice, shown_image
from spectralseg.reporting.results import Examples, Results


def overlays(
    results: Results, training: str, test: str, methods: Sequence[tuple[str, str, str]], cases: Sequence[str]
) -> dict[int, dict[str, Any]]:
    """Pictures by number of the case, for the cases of which a run has stored its prediction.

    Each has ``image`` (base64 JPEG), ``side`` of the coordinates, ``slice`` (number of the slice from 1 and how many
    there are, None for images), ``part`` (whether only the central third is shown), ``reference``: outlines as class
    and SVG path; and ``predictions`` by number of the method: ``seed``, ``dice`` of the slice in percent (None where
    both are empty), ``outlines``. Every method is shown with the lowest seed that any has stored.

    Args:
        results: the results folder.
        training: dataset that the methods were trained on.
        test: dataset that they are tested on.
        methods: architecture, objective and λ.
        cases: ids of the cases.

    Raises:
        InputError: stored predictions are damaged.
    """
    if test not in results.prepared_names:
        return {}
    data, stored = results.prepared(test), _stored(results, training, methods)
    shown = {
        (str(case), int(row))
        for examples, _ in stored.values()
        for case, row in zip(examples.case, examples.row, strict=True)
    }
    found: dict[int, dict[str, Any]] = {}
    for case, row in sorted(shown):
        of_case = {
            number: (examples.prediction[index], seed)
            for number, (examples, seed) in stored.items()
            if (index := examples.find(test, case, row)) is not None
        }
        if of_case and case in cases:
            found[cases.index(case)] = _picture(data, case, row, of_case)
    return found


def _stored(
    results: Results, training: str, methods: Sequence[tuple[str, str, str]]
) -> dict[int, tuple[Examples, int]]:
    """Examples of each method that has any, with their seed."""
    seed = min((run.seed for run in results.runs() if run.dataset == training), default=0)
    examples = {number: results.examples(Run(training, *method, seed)) for number, method in enumerate(methods)}
    return {number: (found, seed) for number, found in examples.items() if found is not None}


def _picture(
    data: PreparedDataset, case: str, row: int, predictions: dict[int, tuple[NDArray[np.uint8], int]]
) -> dict[str, Any]:
    reference = np.asarray(data.masks[row])
    window = detail(reference > 0)
    about = data.cases[data.cases["case"] == case].iloc[0]
    return {
        "image": jpeg(shown_image(data, row)[window]),
        "side": len(reference[window]),
        "slice": [int(row - about["first"]) + 1, int(about["slices"])] if about["slices"] > 1 else None,
        "part": reference[window].shape != reference.shape,
        "reference": _paths(reference[window], data.classes),
        "predictions": {
            number: {
                "seed": seed,
                "dice": None if np.isnan(dice := mean_dice(labels, reference)) else round(100 * dice, 1),
                "outlines": _paths(labels[window], data.classes),
            }
            for number, (labels, seed) in predictions.items()
        },
    }


def _paths(labels: NDArray[np.uint8], classes: list[str]) -> list[tuple[str, str]]:
    return [(outline.name, outline.path) for outline in outlines(np.ascontiguousarray(labels), classes)]
