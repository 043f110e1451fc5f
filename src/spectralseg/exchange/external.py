"""Methods that this suite does not train: their commands are run, and their predictions become metric records."""

from __future__ import annotations

import json
import logging
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectralseg import provenance
from spectralseg.config import Config, External, fill
from spectralseg.data import PreparedDataset
from spectralseg.data.fingerprint import fingerprint
from spectralseg.data.fit import FITTINGS
from spectralseg.errors import InputError
from spectralseg.evaluation.conditions import conditions
from spectralseg.evaluation.examples import example_rows
from spectralseg.exchange.label_files import file_ending, file_name, read_labels
from spectralseg.exchange.process import run_command
from spectralseg.exchange.scoring import score_prepared
from spectralseg.files import replacing, replacing_all, write_json, write_parquet
from spectralseg.grid import Run
from spectralseg.loading import read_json
from spectralseg.metrics.records import RELIABILITY, RUN_KEYS
from spectralseg.registry import suggest
from spectralseg.run_folder import CHECKSUM, DESCRIPTION, EXTERNAL_KEYS, read_settings
from spectralseg.training.settings import settings_of

MODEL, PREDICTIONS = "model", "predictions"
"""Folders in the run folder: what the command for training leaves, and the predictions by test dataset."""

PREPARED = "prepared.json"
"""File that says that the command for preparation has finished, beside the folder ``preprocessed``."""

_ATTEMPTS = "attempts.jsonl"  # seconds of each attempt to train
_REPORT, _PROGRESS = "description.json", "progress.json"  # what the method says about its model and itself, in MODEL
_log = logging.getLogger(__name__)


def method_of(config: Config, name: str, file: str) -> External:
    """The external method of a configuration with this name.

    Raises:
        InputError: there is none.
    """
    if name not in config.external:
        valid = suggest(name, config.external) if config.external else "add it"
        raise InputError(f"{file}: '{name}' is not under 'external'; {valid}")
    return config.external[name]


def preprocessed_folder(out: Path) -> Path:
    """The folder that the command for preparation fills, below the folder of a method and dataset."""
    return out / "preprocessed"


def prepare(name: str, method: External, exported: Path, out: Path, *, threads: int, environment: Path | None) -> None:
    """Run the command for preparation, and write :data:`PREPARED` when it has ended. It may resume earlier work.

    Args:
        name: of the method.
        method: its settings, with a command for preparation.
        exported: training dataset in the raw layout of nnU-Net.
        out: folder of the method and dataset.
        threads: number of threads that the command may use.
        environment: virtual environment of the method; None for the present one.

    Raises:
        InputError: the method has no such command, or it fails.
    """
    if method.prepare is None:
        raise InputError(f"external.{name}: has no command 'prepare'; add it, or train without preparation")
    folder = preprocessed_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    words = fill(method.prepare, {"data": exported, "preprocessed": folder, "threads": threads})
    run_command(words, f"external.{name}.prepare", environment=environment)
    write_json(out / PREPARED, {"commands": method.commands})


def train(
    config: Config,
    run: Run,
    data: PreparedDataset,
    exported: Path,
    shared: Path,
    out: Path,
    *,
    threads: int,
    environment: Path | None,
    deadline: float | None = None,
) -> None:
    """Run the command for training, which may resume what an earlier attempt left, and describe its model.

    Args:
        config: the study.
        run: run of an external method.
        data: its training dataset.
        exported: this dataset in the raw layout of nnU-Net.
        shared: folder of the method and dataset, see :func:`prepare`.
        out: run folder.
        threads: number of threads that the command may use.
        environment: virtual environment of the method; None for the present one.
        deadline: value of ``time.monotonic()`` at which this process must have ended; None without a limit.

    Raises:
        InputError: the command fails or leaves no model.
        Interrupted: a signal or the deadline ended the command.
    """
    from spectralseg.torch_setup import choose_device

    method, model = config.external[run.architecture], out / MODEL
    settings = settings_of(config, run, data.identity)
    _discard_other_model(out, settings)
    model.mkdir(parents=True, exist_ok=True)
    words = fill(
        method.train,
        {
            **{"data": exported, "preprocessed": preprocessed_folder(shared), "model": model},
            **{"seed": run.seed, "threads": threads},
        },
    )
    start = time.monotonic()
    try:
        what = f"external.{run.architecture}.train"
        run_command(words, what, environment=environment, deadline=deadline, progress=model / _PROGRESS)
    finally:
        _note_attempt(out, time.monotonic() - start)
    if not any(model.iterdir()):
        raise InputError(f"external.{run.architecture}.train: left nothing in {model}; write the model there")
    description = {
        **settings,
        "seconds": sum(_attempts(out)),
        **_reported(model),
        "hardware": provenance.hardware(str(choose_device("auto"))),
        "peak_memory": {"resident_mib": _peak_memory_of_children()},
        "git": provenance.git_revision(),
        CHECKSUM: fingerprint(model),
    }
    write_json(out / DESCRIPTION, description)
    (out / _ATTEMPTS).unlink()


def _peak_memory_of_children() -> float:
    """Peak resident memory in MiB of the largest of the child processes that have ended."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _discard_other_model(out: Path, settings: Mapping[str, Any]) -> None:
    """Remove what attempts with other settings left: a command that resumes could not know."""
    file, text = out / "settings.json", json.dumps(settings, sort_keys=True)
    if file.exists() and file.read_text(encoding="utf-8") != text:
        _log.info("%s: trains from the start, as settings or data have changed", out)
        shutil.rmtree(out / MODEL, ignore_errors=True)
        (out / _ATTEMPTS).unlink(missing_ok=True)
    with replacing(file) as partial:
        partial.write_text(text, encoding="utf-8")


def _note_attempt(out: Path, seconds: float) -> None:
    with (out / _ATTEMPTS).open("a", encoding="utf-8") as stream:
        stream.write(f"{seconds:.3f}\n")


def _attempts(out: Path) -> list[float]:
    """Seconds of the attempts to train; those that were killed are not recorded."""
    return [float(line) for line in (out / _ATTEMPTS).read_text(encoding="utf-8").splitlines() if line.strip()]


def _reported(model: Path) -> dict[str, Any]:
    """Number of parameters, steps and versions, where the method writes them.

    Raises:
        InputError: the file is damaged.
    """
    file, own = model / _REPORT, {"spectralseg": provenance.versions()["spectralseg"]}
    report = read_json(file, "the description of an external model", "correct the command") if file.exists() else {}
    values = {name: report.get(name) for name in ("parameters", "iterations")}
    if unusable := [name for name, value in values.items() if not (value is None or type(value) is int)]:
        raise InputError(f"{file}: '{unusable[0]}' is not a whole number; correct the command")
    versions = report.get("versions", {})
    if not isinstance(versions, dict):
        raise InputError(f"{file}: 'versions' is not an object of names and versions; correct the command")
    return {**values, "versions": {**own, **{str(name): str(version) for name, version in versions.items()}}}


def evaluate(
    config: Config,
    run: Path,
    data: PreparedDataset,
    partners: Sequence[PreparedDataset],
    exported: Sequence[Path],
    shared: Path,
    *,
    threads: int,
    environment: Path | None,
) -> None:
    """Predict all test cases with the command of a method, and write the outputs that evaluation of a run writes.

    Records are those of clean images, without calibration and interpretation, which need probabilities and gradients:
    there are no reliability histograms, and the examples have NaN as probabilities and activation maps.

    Args:
        config: the study.
        run: run folder of an external method.
        data: its training dataset.
        partners: out-of-distribution datasets.
        exported: these datasets, ``data`` first, in the raw layout of nnU-Net.
        shared: folder of the method and dataset, see :func:`prepare`.
        threads: number of threads that the command may use.
        environment: virtual environment of the method; None for the present one.

    Raises:
        InputError: the run is damaged or was trained on other data, its model has changed, the command fails, or
            predictions cannot be scored.
    """
    settings = read_settings(run, EXTERNAL_KEYS)
    keys = Run.of(settings["run"])
    if settings["data"] != data.identity:
        raise InputError(f"{data.path}: differs from the dataset that {run} was trained on; train the run again")
    if fingerprint(run / MODEL) != settings[CHECKSUM]:
        raise InputError(f"{run / MODEL}: has changed since training; delete {run / DESCRIPTION} to train again")
    method = method_of(config, keys.architecture, str(run))
    folders = {test.name: folder for test, folder in zip((data, *partners), exported, strict=True)}
    records, examples = [], []
    for condition in conditions(config.evaluation, data, partners):
        if not condition.clean:
            continue
        test, predictions = condition.data, run / PREDICTIONS / condition.data.name
        shutil.rmtree(predictions, ignore_errors=True)
        predictions.mkdir(parents=True)
        words = fill(
            method.predict,
            {
                **{"preprocessed": preprocessed_folder(shared), "model": run / MODEL},
                **{"images": folders[test.name] / "imagesTs", "predictions": predictions, "threads": threads},
            },
        )
        run_command(words, f"external.{keys.architecture}.predict", environment=environment)
        scores = score_prepared(predictions, test, keys)
        for finding in scores.findings:
            _log.warning("%s: %s", predictions, finding)
        records.append(scores.records)
        examples.append(_examples(predictions, test, config.evaluation.examples))
    _write(run, keys, settings[CHECKSUM], records, examples)


def _write(
    run: Path, keys: Run, checksum: str, records: Iterable[pd.DataFrame], examples: Sequence[dict[str, NDArray[Any]]]
) -> None:
    notes = {"run": keys.keys, CHECKSUM: checksum}
    files = [run / name for name in ("records.parquet", "reliability.parquet", "examples.npz")]
    with replacing_all(*files) as (records_file, reliability_file, examples_file):
        write_parquet(records_file, pd.concat(records, ignore_index=True), notes)
        write_parquet(reliability_file, pd.DataFrame(columns=[*RUN_KEYS, *RELIABILITY]), notes)
        with examples_file.open("wb") as stream:
            arrays = {name: np.concatenate([example[name] for example in examples]) for name in examples[0]}
            np.savez_compressed(stream, allow_pickle=False, **arrays)


def _examples(predictions: Path, data: PreparedDataset, count: int) -> dict[str, NDArray[Any]]:
    """Predictions of the example cases at network resolution; see :class:`spectralseg.reporting.results.Examples`."""
    cases, rows = zip(*example_rows(data, count), strict=True)
    side = data.info["image_size"]
    fit = FITTINGS[data.fit].labels
    labels = []
    for case, row in zip(cases, rows, strict=True):
        native = read_labels(predictions / file_name(case, file_ending(data)), data, case)
        first = data.cases.set_index("case")["first"][case]
        labels.append(fit(native.reshape(-1, *native.shape[-2:])[row - first], (side, side)))
    return {
        "dataset": np.array([data.name] * len(rows)),
        "case": np.array(cases),
        "row": np.array(rows),
        "prediction": np.stack(labels),
        "probability": np.full((len(rows), len(data.classes), side, side), np.nan, np.float16),
        "cam": np.full((len(rows), side, side), np.nan, np.float32),
    }
