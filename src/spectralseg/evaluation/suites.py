"""One evaluation job per run: every suite, all records, and the example cases of the figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from spectralseg.config import Evaluation
from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.evaluation.corruptions import apply as corruptions
from spectralseg.evaluation.corruptions import conditions_of
from spectralseg.evaluation.examples import example_rows
from spectralseg.evaluation.predict import Predictor, load_predictor, to_labels
from spectralseg.evaluation.score import score_calibration, score_segmentation
from spectralseg.files import replacing
from spectralseg.interpretation.cam import seg_grad_cam
from spectralseg.metrics.records import COLUMNS, RUN_KEYS
from spectralseg.training.batches import seed_of, to_float
from spectralseg.training.learner import choose_device


@dataclass(frozen=True)
class Condition:
    """What is tested on: a dataset, clean or corrupted. ``severity`` is the string of the configuration."""

    suite: str
    data: PreparedDataset
    corruption: str = "none"
    severity: str = "0"
    calibration: bool = False


def conditions(evaluation: Evaluation, data: PreparedDataset, partners: Sequence[PreparedDataset]) -> list[Condition]:
    """The conditions of a run trained on ``data``; ``partners`` are its out-of-distribution datasets."""
    calibration = "calibration" in evaluation.suites
    found = []
    if "iid" in evaluation.suites or calibration:
        found.append(Condition("iid", data, calibration=calibration))
    if "ood" in evaluation.suites or calibration:
        found += [Condition("ood", partner, calibration=calibration) for partner in partners]
    if "noise" in evaluation.suites and data.name in evaluation.noise.datasets:
        for corruption, severities in evaluation.noise.corruptions.items():
            found += [Condition("noise", data, corruption, severity) for severity in severities]
    if "noise" in evaluation.suites and data.name in evaluation.noise.sweep:
        found += [Condition("noise", data, *pair) for pair in conditions_of(data.modality)]
    return found


def evaluate(
    run: Path,
    data: PreparedDataset,
    partners: Sequence[PreparedDataset],
    evaluation: Evaluation,
    out: Path,
    *,
    device_name: str = "auto",
) -> None:
    """Evaluate a trained run and write ``records.parquet`` and ``examples.npz`` into ``out``.

    Raises:
        InputError: a dataset is not the one that the run was trained on, or has other classes.
    """
    settings = _settings(run)
    if data.info["files"] != settings["data"]["files"]:
        raise InputError(f"{data.path}: is not the data that {run} was trained on; train the run again")
    for partner in partners:
        alike = all(partner.info[key] == data.info[key] for key in ("image_size", "channels"))
        if len(partner.classes) != len(data.classes) or not alike:
            raise InputError(f"{partner.path}: has other classes, size or channels than {data.path}; prepare it alike")
    device = choose_device(device_name)
    predictor = load_predictor(run, settings, evaluation.checkpoint, evaluation.batch_size, str(device))
    rows = [
        record
        for condition in conditions(evaluation, data, partners)
        for record in _records(settings["run"], predictor, condition)
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    with replacing(out / "records.parquet") as partial:
        frame.to_parquet(partial, index=False)
    with replacing(out / "examples.npz") as partial, partial.open("wb") as stream:
        found = examples(predictor, [data, *partners], evaluation.examples)
        np.savez_compressed(stream, allow_pickle=False, **found)


def _settings(run: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{run}: is no finished run ({error}); train it first") from None
    return settings


def _records(run: dict[str, Any], predictor: Predictor, condition: Condition) -> Iterator[dict[str, Any]]:
    data, classes = condition.data, condition.data.classes
    cases = data.cases[data.cases["part"] == "test"]
    if not len(cases):
        raise InputError(f"{data.path}: there are no test cases; choose another split")
    label = f"{condition.suite} {data.name} {condition.corruption}"
    for _, case in tqdm(cases.iterrows(), total=len(cases), desc=label, unit="case", mininterval=2):
        span = slice(case["first"], case["first"] + case["slices"])
        masks = np.asarray(data.masks[span])
        probabilities = predictor(corrupt(to_float(data.images[span]), condition, case["case"]))
        scores = list(
            score_segmentation(
                probabilities, masks, data.native_labels(case["case"]), data.spacing(case["case"]), len(classes)
            )
        )
        if condition.calibration:
            scores += score_calibration(probabilities, masks, len(classes))
        shared = {
            **{key: run[key] for key in RUN_KEYS},
            "suite": condition.suite,
            "test_dataset": data.name,
            "corruption": condition.corruption,
            "severity": condition.severity,
            "case": case["case"],
            "group": case["group"],
        }
        for score in scores:
            yield {
                **shared,
                "class": classes[score.label - 1],
                "protocol": score.protocol,
                "metric": score.metric,
                "value": score.value,
                "flag": score.flag,
            }


def corrupt(images: NDArray[np.float32], condition: Condition, case: str) -> NDArray[np.float32]:
    """Corrupt the images of a case; the draw depends on case and corruption only, so that every model sees the same."""
    if condition.corruption == "none":
        return images
    rng = np.random.default_rng(seed_of("corruption", condition.corruption, condition.severity, case))
    return corruptions.corrupt(images, condition.corruption, condition.severity, condition.data.modality, rng)


def examples(predictor: Predictor, datasets: Sequence[PreparedDataset], count: int) -> dict[str, NDArray[Any]]:
    """Predictions and class activation maps of the example cases, at network resolution."""
    chosen = [(data, case, row) for data in datasets for case, row in example_rows(data, count)]
    images = np.stack([to_float(np.asarray(data.images[row])) for data, _, row in chosen])
    probabilities = predictor(images)
    foreground = probabilities if probabilities.shape[1] == 1 else probabilities[:, 1:]
    return {
        "dataset": np.array([data.name for data, _, _ in chosen]),
        "case": np.array([case for _, case, _ in chosen]),
        "row": np.array([row for _, _, row in chosen]),
        "prediction": to_labels(probabilities),
        "probability": foreground.astype(np.float16),
        "cam": seg_grad_cam(predictor.model, predictor.standardise(images)).cpu().numpy(),
    }
