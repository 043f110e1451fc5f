"""How fast batches are loaded and learnt here, alone and together: a short measurement for the doctor."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectralseg import provenance
from spectralseg.config import Config
from spectralseg.data import PreparedDataset, open_prepared, phantoms
from spectralseg.data.prepare import prepare
from spectralseg.data.specification import DatasetSpecification
from spectralseg.grid import runs
from spectralseg.operations.throughput import settings_of
from spectralseg.study_folder import StudyFolder
from spectralseg.training.batches import batches
from spectralseg.training.learner import Learner, choose_device, make_deterministic
from spectralseg.training.loop import learner_of

_ENDLESS = 10**9
_WARM_UP = 5  # steps, the fourth of which may be recorded as a graph


def measure(
    config: Config, specifications: dict[str, DatasetSpecification], results: Path, seconds: float = 20.0
) -> dict[str, Any]:
    """Seconds per batch of loading, of the training step and of both together, for the first run of a study.

    Its dataset is used if it is prepared as the study wants it, else a small phantom of it.

    Args:
        config: the study.
        specifications: the dataset files.
        results: folder of the study.
        seconds: about how long to measure; making the phantom and the first step come on top.
    """
    run = runs(config)[0]
    device = choose_device()
    with tempfile.TemporaryDirectory() as temporary:
        prepared = results / "prepared" / run.dataset
        ready = (prepared / "dataset.json").is_file() and not StudyFolder(results, config).unprepared(run.dataset)
        data = open_prepared(prepared) if ready else _phantom(config, specifications[run.dataset], Path(temporary))
        make_deterministic(config.training.deterministic, 0)
        learner = learner_of(config, run, data, device, pretrained=False)
        found = _times(config, data, learner, seconds / 3)
    hardware = provenance.hardware(str(device))
    return {
        "setting": asdict(settings_of(config, run.dataset)[run.architecture]),
        "dataset": run.dataset if ready else f"{run.dataset}, phantom",
        "workers": config.training.workers,
        "device_name": hardware["device_name"],
        "seconds": found,
    }


def _times(config: Config, data: PreparedDataset, learner: Learner, seconds: float) -> dict[str, float]:
    def stream() -> Iterator[tuple[Tensor, Tensor]]:
        return batches(data, config.training, 0, 0, _ENDLESS, learner.device)

    rate = config.training.learning_rate / 100  # nothing is to be learnt, nor to blow up
    loading, training = stream(), stream()
    images, masks = next(loading)
    for _ in range(_WARM_UP if learner.device.type == "cuda" else 1):  # the first do what is done only once
        learner.step(*next(training), rate)
    return {
        "loading": _per_call(lambda: next(loading), seconds, learner.device),
        "step": _per_call(lambda: learner.step(images, masks, rate), seconds, learner.device),
        "together": _per_call(lambda: learner.step(*next(training), rate), seconds, learner.device),
    }


def _per_call(work: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Mean time of a call, until the device has finished; at least two calls."""
    _wait(device)
    start, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - start < seconds:
        work()
        calls += 1
        if calls % 10 == 0:
            _wait(device)  # a device that lags behind must not be asked for minutes of work
    _wait(device)
    return (time.perf_counter() - start) / calls


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _phantom(config: Config, specification: DatasetSpecification, folder: Path) -> PreparedDataset:
    size = config.size_of(specification.name)
    phantoms.generate(specification.name, folder / "raw", cases=12, side=max(96, size), seed=0)
    prepare(
        specification,
        folder / "raw",
        folder / "prepared",
        image_size=size,
        source="phantom",
        validation=0.3,
        allow_partial=True,
    )
    return open_prepared(folder / "prepared")
