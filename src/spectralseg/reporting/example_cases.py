"""Selection of the cases and runs of a figure. The rules use reference masks only, never predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.prepared import PreparedDataset
from spectralseg.evaluation.examples import example_rows
from spectralseg.grid import Run
from spectralseg.reporting.results import Results

COUNT = 3  # examples of a test dataset in a figure; runs store more, for the report
RULE = (
    "Cases: test cases at evenly spaced quantiles of foreground area, of volumes the slice with the largest "
    "foreground; the choice does not depend on any model."
)


@dataclass(frozen=True)
class Method:
    """A method: its label and the keys of its runs."""

    label: str
    architecture: str
    objective: str
    lam: str

    @property
    def keys(self) -> tuple[str, str, str]:
        """Architecture, objective and λ."""
        return self.architecture, self.objective, self.lam


METHODS = (
    Method("UNet", "unet", "spatial", "0"),
    Method("TransUNet", "transunet", "spatial", "0"),
    Method("UNet (ours)", "unet", "spatial_spectral", "0.2"),
    Method("TransUNet (ours)", "transunet", "spatial_spectral", "0.2"),
)


@dataclass(frozen=True)
class ExampleCase:
    """One example slice: test dataset, case id, row in the prepared arrays, foreground area as a share of pixels."""

    dataset: str
    case: str
    row: int
    area: float

    @property
    def area_text(self) -> str:
        """The foreground area in percent of the image."""
        return f"area {100 * self.area:.1f} %"


@dataclass(frozen=True)
class Prediction:
    """Output of one run for one example slice: label map, class probabilities, class activation map."""

    labels: NDArray[np.uint8]
    probability: NDArray[np.float16]
    cam: NDArray[np.float16]


def method_runs(results: Results, dataset: str, methods: Sequence[Method] = METHODS) -> list[Run]:
    """The run of each method on a training dataset, with the lowest seed that any of them has."""
    keys = {method.keys for method in methods}
    runs = [r for r in results.runs() if r.dataset == dataset and (r.architecture, r.objective, r.lam) in keys]
    seed = min((run.seed for run in runs), default=0)
    return [Run(dataset, *method.keys, seed) for method in methods]


def example_cases(
    results: Results, trained_on: str, tested_on: str, methods: Sequence[Method] = METHODS
) -> list[ExampleCase]:
    """Up to :data:`COUNT` of the example slices that runs stored of a test dataset; without a run, by the same rule."""
    data = results.prepared(tested_on)
    for run in method_runs(results, trained_on, methods):
        examples = results.examples(run)
        if examples is not None and tested_on in examples.dataset:
            indices = spread(np.flatnonzero(examples.dataset == tested_on).tolist(), COUNT)
            return [_example(data, str(examples.case[i]), int(examples.row[i])) for i in indices]
    return choose_cases(data, COUNT)


def spread(examples: Sequence[Any], count: int) -> list[Any]:
    """Some of the examples, which are in the order of foreground area, at evenly spaced quantiles."""
    places = range(1, count + 1)
    return list(examples) if len(examples) <= count else [examples[n * len(examples) // (count + 1)] for n in places]


def choose_cases(data: PreparedDataset, count: int) -> list[ExampleCase]:
    """Test cases by the rule of the evaluation, independent of any run; empty if there is no test case."""
    if not (data.cases["part"] == "test").any():
        return []
    return [_example(data, case, row) for case, row in example_rows(data, count)]


def _example(data: PreparedDataset, case: str, row: int) -> ExampleCase:
    return ExampleCase(data.name, case, row, float(np.count_nonzero(data.masks[row]) / data.masks[row].size))


def predictions(results: Results, runs: Sequence[Run], example: ExampleCase) -> list[Prediction | None]:
    """The prediction of each run for an example; None if the run or its example is missing."""
    return [_prediction(results, run, example) for run in runs]


def _prediction(results: Results, run: Run, example: ExampleCase) -> Prediction | None:
    stored = results.examples(run)
    index = stored.find(example.dataset, example.case, example.row) if stored is not None else None
    if stored is None or index is None:
        return None
    return Prediction(stored.prediction[index], stored.probability[index], stored.cam[index])
