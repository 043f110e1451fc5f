"""Test conditions: datasets, clean or corrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectralseg.config import Evaluation
from spectralseg.corruptions import CLEAN, conditions_of
from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.preprocessing import to_float
from spectralseg.seeds import seed_of


@dataclass(frozen=True)
class Condition:
    """A test dataset, clean or corrupted; ``severity`` is the string in the configuration."""

    suite: str
    data: PreparedDataset
    corruption: str = CLEAN
    severity: str = "0"

    @property
    def clean(self) -> bool:
        """Whether the images are not corrupted."""
        return self.corruption == CLEAN

    @property
    def keys(self) -> dict[str, str]:
        """The condition as columns of the metric records."""
        return {
            "suite": self.suite,
            "test_dataset": self.data.name,
            "corruption": self.corruption,
            "severity": self.severity,
        }

    def cases(self) -> pd.DataFrame:
        """Test cases, as rows of the case table.

        Raises:
            InputError: there are no test cases.
        """
        cases = self.data.cases[self.data.cases["part"] == "test"]
        if not len(cases):
            raise InputError(f"{self.data.path}: there are no test cases; choose another split")
        return cases

    def images(self, case: pd.Series) -> NDArray[np.float32]:
        """Images (N, S, S, channels) of a case in [0, 1], with the same corruption for every model.

        The random numbers depend on the case, the corruption and its severity only.
        """
        images = to_float(self.data.images[case["first"] : case["first"] + case["slices"]])
        if self.clean:
            return images
        from spectralseg.corruptions import apply  # imported here, as predictions are scored without OpenCV

        rng = np.random.default_rng(seed_of("corruption", self.corruption, self.severity, case["case"]))
        return apply.corrupt(images, self.corruption, self.severity, self.data.modality, rng)


def conditions(evaluation: Evaluation, data: PreparedDataset, partners: Sequence[PreparedDataset]) -> list[Condition]:
    """The test conditions of a run trained on ``data``; ``partners`` are its out-of-distribution datasets."""
    suites, noise = set(evaluation.suites), evaluation.noise
    needs_clean = suites & {"calibration", "interpretation"}
    selected = []
    if "iid" in suites or needs_clean:
        selected.append(Condition("iid", data))
    if "ood" in suites or needs_clean:
        selected += [Condition("ood", partner) for partner in partners]
    if "noise" in suites and data.name in noise.datasets:
        selected += [
            Condition("noise", data, name, level) for name, levels in noise.corruptions.items() for level in levels
        ]
    if "noise" in suites and data.name in noise.sweep:
        selected += [Condition("noise", data, *pair) for pair in conditions_of(data.modality)]
    return selected
