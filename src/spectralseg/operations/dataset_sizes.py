"""Numbers of cases and images of the datasets of a study, prepared or expected, for estimates of time."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from spectralseg.config import Config
from spectralseg.data.specification import DatasetSpecification
from spectralseg.errors import InputError
from spectralseg.files import read_text
from spectralseg.study_folder import StudyFolder
from spectralseg.study_outputs import evaluated_conditions

_TEST_SHARE = 0.2  # of the cases of a dataset that is not prepared, unless its split states the share
_MAX_BYTES = 2**27  # of cases.csv


@dataclass(frozen=True)
class DatasetSize:
    """Size of a dataset; numbers are None if unknown.

    Attributes:
        prepared: whether it is prepared with the settings of the study.
        dimensions: 3 for volumes, which are segmented slice by slice; None without a dataset file.
        cases: number of cases.
        test_cases: number of test cases.
        test_images: number of images of the test cases.
    """

    prepared: bool
    dimensions: int | None = None
    cases: int | None = None
    test_cases: int | None = None
    test_images: int | None = None


def dataset_sizes(
    config: Config, study: StudyFolder, specifications: Mapping[str, DatasetSpecification]
) -> dict[str, DatasetSize]:
    """Sizes of the datasets of a study: of ``cases.csv`` where they are prepared, otherwise as expected."""
    return {name: _size(name, config, study, specifications.get(name)) for name in config.datasets}


def _size(name: str, config: Config, study: StudyFolder, specification: DatasetSpecification | None) -> DatasetSize:
    dimensions = specification.dimensions if specification else None
    if name in study.datasets:
        current = not study.unprepared(name)
        try:
            return DatasetSize(current, dimensions, *_count(study.root / "prepared" / name / "cases.csv"))
        except (InputError, OSError, KeyError, ValueError):  # reported when the dataset is read
            return DatasetSize(current, dimensions)
    if specification is None:
        return DatasetSize(False)
    dataset = config.datasets[name]
    cases = dataset.phantom.cases if dataset.source == "phantom" else specification.expected_cases
    split = specification.alternative_splits.get(dataset.split or "", specification.split)
    share = 1.0 if split.everything else split.random or _TEST_SHARE
    test_cases = None if cases is None else round(share * cases)
    return DatasetSize(False, dimensions, cases, test_cases, test_cases if dimensions == 2 else None)


def _count(file: Path) -> tuple[int, int, int]:
    """Numbers of cases, test cases and images of test cases in a table of cases."""
    rows = list(csv.DictReader(read_text(file, _MAX_BYTES).splitlines()))
    slices = [int(row["slices"]) for row in rows if row["part"] == "test"]
    return len(rows), len(slices), sum(slices)


def evaluated_images(
    config: Config, specifications: Mapping[str, DatasetSpecification], sizes: Mapping[str, DatasetSize]
) -> dict[str, int | None]:
    """Number of images that the evaluation of a run predicts, by its dataset; None if unknown.

    All suites count: each test condition, and for activation maps those of insertion and deletion.
    """
    return {name: _evaluated(config, specifications.get(name), sizes) for name in config.datasets}


def _evaluated(
    config: Config, specification: DatasetSpecification | None, sizes: Mapping[str, DatasetSize]
) -> int | None:
    if specification is None:
        return None
    counts = [_of_condition(config, sizes[name], suite) for suite, name in _conditions(config, specification)]
    return None if None in counts else sum(count for count in counts if count is not None)


def _conditions(config: Config, specification: DatasetSpecification) -> Iterator[tuple[str, str]]:
    """Suite and test dataset of each test condition."""
    for condition in evaluated_conditions(config, specification):
        suite, name, *_ = condition.split("/")
        yield suite, name


def _of_condition(config: Config, size: DatasetSize, suite: str) -> int | None:
    if size.test_images is None or size.test_cases is None:
        return None
    maps = config.evaluation.interpretation
    explained = min(maps.cases, size.test_cases) if "interpretation" in config.evaluation.suites else 0
    return size.test_images + (explained * len(maps.layers) * (1 + 2 * maps.steps) if suite != "noise" else 0)
