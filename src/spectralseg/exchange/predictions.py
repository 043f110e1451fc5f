"""Predictions of a trained run as label maps in native geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectralseg import provenance
from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.evaluation.conditions import Condition
from spectralseg.evaluation.label_maps import native_labels
from spectralseg.evaluation.predict import check_trained_on, load_predictor, predicted_cases
from spectralseg.exchange.label_files import file_ending, file_name, write_array
from spectralseg.files import creating_folder, sha256_of, write_json
from spectralseg.progress import progress_bar
from spectralseg.run_folder import WEIGHTS, read_settings
from spectralseg.torch_setup import choose_device

_BATCH = 16
DESCRIPTION = "predictions.json"


def predict(
    run: Path, data: PreparedDataset, out: Path, *, checkpoint: str = "best", device_name: str = "auto"
) -> None:
    """Write the labels of all test cases into the new folder ``out``, one file per case, named by its id.

    The labels, 0 for background and 1..K for the classes, are those that the evaluation scores under ``sound``. Volumes
    are NIfTI files on the voxel grid of the original label files, images are PNG files of the original size.
    ``predictions.json`` describes run, weights and labels.

    Args:
        run: finished run.
        data: the dataset that the run was trained on, or one with the same number of classes, size and channels.
        out: folder that does not exist yet.
        checkpoint: ``best`` on validation, or ``last``.
        device_name: torch device, or ``auto``.

    Raises:
        Diverged: the run diverged, or its logits for a test case are not finite.
        InputError: there is no such run, it does not fit the data, there is no test case, or ``out`` has content.
    """
    settings = read_settings(run)
    _check_fits(run, settings["data"], data)
    predictor = load_predictor(run, settings, checkpoint, _BATCH, str(choose_device(device_name)))
    condition, ending = Condition("iid", data), file_ending(data)
    cases = condition.cases()
    with creating_folder(out) as folder:
        predicted = predicted_cases(predictor, cases, condition.images)
        for case, probabilities in progress_bar(predicted, desc=f"predict {data.name}", unit="case", total=len(cases)):
            name = str(case["case"])
            labels = native_labels(probabilities, data.native_shape(name), data.fit)
            write_array(folder / file_name(name, ending), labels, data.geometry(name), data.spacing(name))
        write_json(
            folder / DESCRIPTION,
            {
                "run": settings["run"],
                "checkpoint": checkpoint,
                "weights_sha256": sha256_of(run / WEIGHTS),
                "dataset": data.name,
                "dataset_files": data.info["files"],
                "labels": ["background", *data.classes],
                "file_ending": ending,
                "cases": len(cases),
                "versions": provenance.versions(),
            },
        )


def _check_fits(run: Path, trained: dict[str, Any], data: PreparedDataset) -> None:
    if data.name == trained["name"]:
        check_trained_on(run, trained, data)
    same_shape = all(trained[key] == data.info[key] for key in ("image_size", "channels"))
    if len(trained["classes"]) != len(data.classes) or not same_shape:
        raise InputError(
            f"{data.path}: has other classes, size or channels than the data of {run}; prepare it with the same"
        )
