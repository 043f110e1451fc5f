"""Evaluation of a run: all suites in one pass over each test condition."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectralseg.config import Evaluation
from spectralseg.data import PreparedDataset
from spectralseg.data.specification import Fit
from spectralseg.errors import Diverged, InputError
from spectralseg.evaluation.conditions import Condition, conditions
from spectralseg.evaluation.examples import INNER, example_rows
from spectralseg.evaluation.label_maps import to_labels
from spectralseg.evaluation.lesions import LesionRule
from spectralseg.evaluation.predict import Predictor, check_trained_on, load_predictor, predicted_cases
from spectralseg.evaluation.recheck import Labelled, recheck
from spectralseg.evaluation.score import Score, predictions, reliabilities, score_reliabilities, score_segmentation
from spectralseg.files import replacing_all, write_parquet
from spectralseg.interpretation.cam import seg_grad_cam
from spectralseg.interpretation.scores import Score as InterpretationScore
from spectralseg.interpretation.scores import cam_scores, spectral_scores
from spectralseg.metrics.calibration import Reliability
from spectralseg.metrics.records import COLUMNS, POOLED, RELIABILITY, RUN_KEYS, WHOLE_CASE, divergence_record
from spectralseg.preprocessing import to_float
from spectralseg.progress import progress_bar
from spectralseg.run_folder import CHECKSUM, read_settings
from spectralseg.seeds import seed_of
from spectralseg.torch_setup import choose_device

_log = logging.getLogger(__name__)


def evaluate(
    run: Path,
    data: PreparedDataset,
    partners: Sequence[PreparedDataset],
    evaluation: Evaluation,
    out: Path,
    *,
    device_name: str = "auto",
) -> None:
    """Evaluate a trained run and write ``records.parquet``, ``reliability.parquet`` and ``examples.npz`` into ``out``.

    A run that diverged, in training or by a logit that is not finite here, is not scored: the files hold the record of
    :func:`~spectralseg.metrics.records.divergence_record`, no histogram and no example.

    Args:
        run: folder of the trained run.
        data: the dataset that it was trained on.
        partners: its out-of-distribution datasets.
        evaluation: the suites and their options.
        out: folder for the files.
        device_name: torch device, or ``auto``.

    Raises:
        InputError: the run is damaged, ``data`` is not the dataset that it was trained on, a partner has other classes,
            or another implementation of a metric disagrees.
    """
    settings = read_settings(run)
    check_trained_on(run, settings["data"], data)
    for partner in partners:
        same_shape = all(partner.info[key] == data.info[key] for key in ("image_size", "channels"))
        if len(partner.classes) != len(data.classes) or not same_shape:
            raise InputError(
                f"{partner.path}: has other classes, size or channels than {data.path}; prepare it with the same"
            )
    keys = {key: settings["run"][key] for key in RUN_KEYS}
    try:
        predictor = load_predictor(
            run, settings, evaluation.checkpoint, evaluation.batch_size, str(choose_device(device_name))
        )
        records, reliability, examples = _results(predictor, keys, data, partners, evaluation)
    except Diverged as error:
        _log.warning("%s", error)
        records = pd.DataFrame([divergence_record(data.name, error.reason)])
        reliability, examples = pd.DataFrame(columns=list(RELIABILITY)), _no_examples(data)
    files = [out / name for name in ("records.parquet", "reliability.parquet", "examples.npz")]
    notes = {"run": keys, CHECKSUM: settings.get(CHECKSUM)}  # name the weights in the tables
    with replacing_all(*files) as (records_file, reliability_file, examples_file):
        write_parquet(records_file, _with_keys(keys, records), notes)
        write_parquet(reliability_file, _with_keys(keys, reliability), notes)
        with examples_file.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **examples)


def _results(
    predictor: Predictor,
    keys: Mapping[str, Any],
    data: PreparedDataset,
    partners: Sequence[PreparedDataset],
    evaluation: Evaluation,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, NDArray[Any]]]:
    """Metric records and reliability histograms without the identity of the run, and the examples."""
    rng = np.random.default_rng(seed_of("recheck", *keys.values()))
    results = [
        _evaluate_condition(predictor, condition, evaluation, rng)
        for condition in conditions(evaluation, data, partners)
    ]
    largest = recheck((labelled for result in results for labelled in result.sample), len(data.classes))
    _log.info("largest difference to medpy and MONAI: %s", f"{largest.size:.1e}" if largest else "nothing to compare")
    clean = {result.condition.data.name: result for result in results if result.condition.clean}
    examples = [_examples(predictor, test, clean.get(test.name), evaluation.examples) for test in (data, *partners)]
    records = pd.DataFrame([row for result in results for row in result.rows], columns=list(COLUMNS[len(RUN_KEYS) :]))
    histograms = [row for result in clean.values() for row in result.reliability()]
    reliability = pd.DataFrame(histograms, columns=list(RELIABILITY))
    arrays = {name: np.concatenate([example[name] for example in examples]) for name in examples[0]}
    return records, reliability, arrays


def _with_keys(keys: Mapping[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    """Add the identity of the run before the columns of a table."""
    return pd.concat([pd.DataFrame(dict(keys), index=frame.index), frame], axis=1)


@dataclass
class _ConditionResult:
    """Results of a test condition.

    Attributes:
        condition: the test condition.
        rows: metric records without the identity of the run.
        pooled: calibration of the whole test set, by label and region.
        examples: probabilities (C, S, S) of the example rows.
        sample: cases for the independent check.
    """

    condition: Condition
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    pooled: dict[tuple[int, str], Reliability] = field(default_factory=dict)
    examples: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    sample: list[Labelled] = field(default_factory=list)

    def add(self, case: str, group: str, scores: Iterable[tuple[int, str, str, float, str]], prefix: str = "") -> None:
        """Add scores (label, protocol, metric, value, flag); label 0 is the whole foreground."""
        names, keys = [WHOLE_CASE, *self.condition.data.classes], tuple(self.condition.keys.values())
        for label, protocol, metric, value, flag in scores:
            self.rows.append((*keys, case, group, names[label], protocol, prefix + metric, value, flag))

    def reliability(self) -> Iterator[tuple[Any, ...]]:
        """Rows of the pooled reliability histograms, one per bin."""
        suite, dataset = self.condition.suite, self.condition.data.name
        for (label, region), sums in self.pooled.items():
            for number, (pixels, probability, positive) in enumerate(sums.binned().T):
                name = self.condition.data.classes[label - 1]
                yield suite, dataset, name, region, number, int(pixels), probability, int(positive)


def _evaluate_condition(
    predictor: Predictor, condition: Condition, evaluation: Evaluation, rng: np.random.Generator
) -> _ConditionResult:
    """Predict every test case of a condition once, and score it for all suites."""
    data, cases = condition.data, condition.cases()
    calibrated, interpreted = (
        condition.clean and suite in evaluation.suites for suite in ("calibration", "interpretation")
    )
    example_set = {row for _, row in example_rows(data, evaluation.examples)} if condition.clean else set()
    count = min(evaluation.recheck, len(cases)) if condition.clean else 0
    sampled = set(rng.choice(cases["case"], count, replace=False))
    result, lesions = _ConditionResult(condition), LesionRule.of(data)
    label = f"{condition.suite} {data.name} {condition.corruption} {condition.severity}".removesuffix(" none 0")
    for case, probabilities in progress_bar(
        predicted_cases(predictor, cases, condition.images), desc=label, unit="case", total=len(cases)
    ):
        name, rows = str(case["case"]), range(case["first"], case["first"] + case["slices"])
        masks, native, spacing = (
            np.asarray(data.masks[rows.start : rows.stop]),
            data.native_labels(name),
            data.spacing(name),
        )
        rule = lesions and lesions.of_case(data, name)
        scores = list(score_segmentation(probabilities, masks, native, spacing, len(data.classes), data.fit, rule))
        result.add(name, case["group"], scores)
        if name in sampled:
            result.sample += _to_recheck(name, probabilities, masks, native, spacing, data.fit, scores)
        if calibrated:
            sums = reliabilities(probabilities, masks, len(data.classes))
            result.add(name, case["group"], score_reliabilities(sums))
            for key, value in sums.items():
                result.pooled[key] = result.pooled.get(key, Reliability.empty()) + value
        if interpreted:
            spectral = spectral_scores(probabilities, to_labels(probabilities), masks)
            result.add(name, case["group"], _sound(spectral))
        result.examples.update((row, probabilities[row - rows.start].copy()) for row in example_set & set(rows))
    result.add(POOLED, POOLED, score_reliabilities(result.pooled), f"{POOLED}_")
    if interpreted:
        _add_activation_maps(result, predictor, evaluation)
    return result


_HAUSDORFF = {"published": "hd95 pooled", "sound": "hd95 max"}  # definition of each protocol


def _to_recheck(
    case: str,
    probabilities: NDArray[np.float32],
    masks: NDArray[np.uint8],
    native: NDArray[np.uint8],
    spacing: Sequence[float] | None,
    fit: Fit,
    scores: Sequence[Score],
) -> Iterator[Labelled]:
    """A case for the independent check under both protocols, with the recorded values that the policy did not set."""
    published, sound = predictions(probabilities, native.shape, fit)
    arrays = {
        "published": (published, native if native.ndim == 3 else masks[0], None),
        "sound": (sound, native, spacing),
    }
    for protocol, inputs in arrays.items():
        names = {"dsc": "dsc", "hd95": _HAUSDORFF[protocol]}
        recorded = {
            (score.label, names[score.metric]): score.value
            for score in scores
            if score.protocol == protocol and score.metric in names and not score.flag
        }
        yield Labelled(case, *inputs, recorded)


def _sound(scores: Iterable[InterpretationScore]) -> Iterator[tuple[int, str, str, float, str]]:
    """Interpretation scores, which have no protocol, as scores under ``sound``."""
    return ((score.label, "sound", score.metric, score.value, score.flag) for score in scores)


def _add_activation_maps(result: _ConditionResult, predictor: Predictor, evaluation: Evaluation) -> None:
    """Score class activation maps of test cases, selected as the examples are."""
    data, options = result.condition.data, evaluation.interpretation
    groups = dict(zip(data.cases["case"], data.cases["group"], strict=True))
    rows = example_rows(data, options.cases)
    for case, row in progress_bar(rows, desc=f"activation maps {data.name}", unit="case"):
        image = predictor.standardise(to_float(np.asarray(data.images[row : row + 1])))[0]
        rng = np.random.default_rng(seed_of("activation map", data.name, case))
        for layer in options.layers:
            scores = cam_scores(
                predictor.model,
                image,
                np.asarray(data.masks[row]),
                rng,
                layer=layer,
                steps=options.steps,
                batch_size=predictor.batch_size,
            )
            result.add(case, groups[case], _sound(scores))


def _examples(
    predictor: Predictor, data: PreparedDataset, clean: _ConditionResult | None, count: int
) -> dict[str, NDArray[Any]]:
    """Predictions, class activation maps and inner maps of the example cases, at network resolution."""
    cases, rows = zip(*example_rows(data, count), strict=True)
    images = np.stack([to_float(np.asarray(data.images[row])) for row in rows])
    probabilities = predictor(images) if clean is None else np.stack([clean.examples[row] for row in rows])
    foreground = probabilities if probabilities.shape[1] == 1 else probabilities[:, 1:]
    maps = [
        seg_grad_cam(predictor.model, predictor.standardise(images[start : start + predictor.batch_size])).cpu().numpy()
        for start in range(0, len(images), predictor.batch_size)
    ]
    return {
        "dataset": np.array([data.name] * len(rows)),
        "case": np.array(cases),
        "row": np.array(rows),
        "prediction": to_labels(probabilities),
        "probability": foreground.astype(np.float16),
        "cam": np.concatenate(maps),
        **{f"{INNER}{name}": values for name, values in predictor.inner_maps(images).items()},
    }


def _no_examples(data: PreparedDataset) -> dict[str, NDArray[Any]]:
    """The arrays of :func:`_examples` without any case."""
    side, text = data.masks.shape[1:], np.array([], dtype=str)
    return {
        "dataset": text,
        "case": text,
        "row": np.array([], dtype=np.int64),
        "prediction": np.empty((0, *side), np.uint8),
        "probability": np.empty((0, len(data.classes), *side), np.float16),
        "cam": np.empty((0, *side), np.float32),
    }
