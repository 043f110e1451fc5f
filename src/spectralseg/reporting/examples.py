"""Which cases and runs a figure shows. The rules look at the reference masks only, never at a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.prepared import PreparedDataset
from spectralseg.evaluation.examples import example_rows
from spectralseg.grid import Run
from spectralseg.reporting.results import Results

COUNT = 3
RULE = (
    "Cases: test cases at evenly spaced quantiles of foreground area, of volumes the slice with the largest "
    "foreground; the choice does not depend on any model."
)


@dataclass(frozen=True)
class Method:
    """A method of the paper: its printed name and the keys of its runs."""

    label: str
    architecture: str
    objective: str
    lam: str


METHODS = (
    Method("UNet", "unet", "spatial", "0"),
    Method("TransUNet", "transunet", "spatial", "0"),
    Method("UNet (ours)", "unet", "spatial_spectral", "0.2"),
    Method("TransUNet (ours)", "transunet", "spatial_spectral", "0.2"),
)


@dataclass(frozen=True)
class ExampleCase:
    """One example slice: test dataset, case id, row in the prepared arrays, share of its pixels that is foreground."""

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
    """What one run says about one example slice: label map, class probabilities, class activation map."""

    labels: NDArray[np.uint8]
    probability: NDArray[np.float16]
    cam: NDArray[np.float16]


def method_runs(results: Results, dataset: str) -> list[Run]:
    """The run of each method on a training dataset, all with one seed: the lowest for which any of them exists."""
    wanted = {(m.architecture, m.objective, m.lam) for m in METHODS}
    there = [r for r in results.runs() if r.dataset == dataset and (r.architecture, r.objective, r.lam) in wanted]
    seed = min((run.seed for run in there), default=0)
    return [Run(dataset, m.architecture, m.objective, m.lam, seed) for m in METHODS]


def example_cases(results: Results, trained_on: str, tested_on: str) -> list[ExampleCase]:
    """Example slices of a test dataset, as its runs have stored them, or by the same rule where there is no run."""
    data = results.prepared(tested_on)
    for run in method_runs(results, trained_on):
        examples = results.examples(run)
        if examples is not None and tested_on in examples.dataset:
            found = np.flatnonzero(examples.dataset == tested_on)
            return [_example(data, str(examples.case[i]), int(examples.row[i])) for i in found]
    return choose_cases(data, COUNT)


def choose_cases(data: PreparedDataset, count: int) -> list[ExampleCase]:
    """Test cases by the rule of the evaluation, whether or not any run exists; none where there is no test case."""
    if not (data.cases["part"] == "test").any():
        return []
    return [_example(data, case, row) for case, row in example_rows(data, count)]


def _example(data: PreparedDataset, case: str, row: int) -> ExampleCase:
    return ExampleCase(data.name, case, row, float(np.count_nonzero(data.masks[row]) / data.masks[row].size))


def predictions(results: Results, runs: Sequence[Run], example: ExampleCase) -> list[Prediction | None]:
    """What each run says about an example; None where there is no run or the run has no such example."""
    return [_prediction(results, run, example) for run in runs]


def _prediction(results: Results, run: Run, example: ExampleCase) -> Prediction | None:
    stored = results.examples(run)
    index = stored.find(example.dataset, example.case, example.row) if stored is not None else None
    if stored is None or index is None:
        return None
    return Prediction(stored.prediction[index], stored.probability[index], stored.cam[index])
