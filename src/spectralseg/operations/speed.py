"""Speed measurement for ``spectralseg doctor``: loading, training step and both."""

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
from spectralseg.grid import grid_runs
from spectralseg.operations.throughput import settings_of
from spectralseg.study_folder import StudyFolder
from spectralseg.torch_setup import choose_device, make_deterministic
from spectralseg.training.batches import batches
from spectralseg.training.learner import Learner
from spectralseg.training.loop import learner_of

_ENDLESS = 10**9
_WARM_UP = 5  # steps; the fourth may be captured as a CUDA graph


def measure(
    config: Config, specifications: dict[str, DatasetSpecification], results: Path, seconds: float = 20.0
) -> dict[str, Any]:
    """Measure the seconds per batch of loading, of the training step and of both, for the first run of a study.

    Its dataset is used if it is prepared with the settings of the study, otherwise a small phantom.

    Args:
        config: the study.
        specifications: the dataset files.
        results: results folder of the study.
        seconds: approximate duration, without generating the phantom and warming up.
    """
    run = grid_runs(config)[0]
    device = choose_device()
    with tempfile.TemporaryDirectory() as temporary:
        prepared = results / "prepared" / run.dataset
        ready = (prepared / "dataset.json").is_file() and not StudyFolder(results, config).unprepared(run.dataset)
        data = open_prepared(prepared) if ready else _phantom(config, specifications[run.dataset], Path(temporary))
        make_deterministic(config.training.deterministic, 0)
        learner = learner_of(config, run, data, device, pretrained=False)
        times = _times(config, data, learner, seconds / 3)
    hardware = provenance.hardware(str(device))
    return {
        "setting": asdict(settings_of(config, run.dataset)[run.architecture]),
        "dataset": run.dataset if ready else f"{run.dataset}, phantom",
        "workers": config.training.workers,
        "device": hardware["device"],
        "device_name": hardware["device_name"],
        "seconds": times,
    }


def _times(config: Config, data: PreparedDataset, learner: Learner, seconds: float) -> dict[str, float]:
    def stream() -> Iterator[tuple[Tensor, Tensor]]:
        return batches(data, config.training, 0, 0, _ENDLESS, learner.device)

    rate = config.training.learning_rate / 100  # low, so that training cannot diverge
    loading, training = stream(), stream()
    images, masks = next(loading)
    for _ in range(_WARM_UP if learner.device.type == "cuda" else 1):  # the first steps have one-time costs
        learner.step(*next(training), rate)
    return {
        "loading": _per_call(lambda: next(loading), seconds, learner.device),
        "step": _per_call(lambda: learner.step(images, masks, rate), seconds, learner.device),
        "together": _per_call(lambda: learner.step(*next(training), rate), seconds, learner.device),
    }


def _per_call(work: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Mean time of a call, of at least two, including the work of the device."""
    _wait(device)
    start, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - start < seconds:
        work()
        calls += 1
        if calls % 10 == 0:
            _wait(device)  # limits the work queued on a slow device
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
