"""The folder of a finished run: weights, a description with their checksum, and the training log."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from spectralseg.errors import InputError
from spectralseg.files import dump_json, replacing_all, sha256_of
from spectralseg.grid import folder_of
from spectralseg.loading import Kinds, read_json, read_tensors, reading

if TYPE_CHECKING:
    from torch import Tensor

    from spectralseg.data import PreparedDataset

WEIGHTS, DESCRIPTION, HISTORY = "model.pt", "run.json", "history.jsonl"
CHECKSUM = "weights_sha256"  # key of the description

_RETRAIN = "train the run again"
_REPEAT = "run 'spectralseg pretrain' again"
_KEYS: Kinds = {  # keys of the description that later steps read
    "run.dataset": str,
    "run.architecture": str,
    "run.objective": str,
    "run.lambda": str,
    "run.seed": int,
    "architecture": dict,
    "objective": dict,
    "training": dict,
    "data.name": str,
    "data.source": str,
    "data.classes": list,
    "data.channels": int,
    "data.image_size": int,
    "data.mean": list,
    "data.std": list,
    "data.files": dict,
    "iterations": int,
    "best_iteration": (int, NoneType),
    "validation_dice": (int, float, NoneType),
    "parameters": int,
    "versions.spectralseg": str,
}
PRETRAINING_KEYS: Kinds = {"run.dataset": str, "run.pretraining": str, "training": dict, "data": dict, CHECKSUM: str}
"""As above, of a pretraining."""
EXTERNAL_KEYS: Kinds = {"run.dataset": str, "run.architecture": str, "method": dict, "data": dict, CHECKSUM: str}
"""As above, of a run of an external method."""
_log = logging.getLogger(__name__)


def write_run(out: Path, weights: Mapping[str, Mapping[str, Tensor]], description: Mapping[str, Any]) -> None:
    """Write weights and description of a run together.

    Args:
        out: the run folder.
        weights: ``best`` on validation, and ``last``.
        description: the content of ``run.json``; the checksum of the weights is added.
    """
    with replacing_all(out / WEIGHTS, out / DESCRIPTION) as (weights_file, description_file):
        write_tensors(weights_file, weights)
        dump_json(description_file, {**description, CHECKSUM: sha256_of(weights_file)})


def write_tensors(file: Path, content: Mapping[str, Any]) -> None:
    """``torch.save`` that raises the :class:`OSError` of a full disk."""
    import torch

    with file.open("wb") as stream:
        try:
            torch.save(content, stream)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides it in a RuntimeError
                raise error.__context__ from None
            raise


def read_settings(run: Path, keys: Kinds = _KEYS) -> dict[str, Any]:
    """The description of a finished run, from its ``run.json``.

    Args:
        run: the run folder.
        keys: required keys; :data:`PRETRAINING_KEYS` for a pretraining.

    Raises:
        InputError: the folder holds no finished run, or the file is damaged.
    """
    return read_json(run / DESCRIPTION, "the description of a finished run", _RETRAIN, keys)


def check_weights(run: Path, description: Mapping[str, Any]) -> None:
    """Check the weights of a run against the checksum in its description.

    Descriptions of earlier versions have no checksum; their weights are accepted with a warning.

    Raises:
        InputError: the weights are missing or have another checksum.
    """
    file, what = run / WEIGHTS, "the weights of a run"
    if CHECKSUM not in description:
        _log.warning("%s: has no checksum of the weights (earlier version); they are not verified", run / DESCRIPTION)
        return
    with reading(file, what, _RETRAIN):
        checksum = sha256_of(file)
    if checksum != description[CHECKSUM]:
        raise InputError(f"{file}: is damaged or of another run, as its checksum differs from run.json; {_RETRAIN}")


def read_weights(run: Path, description: Mapping[str, Any], checkpoint: str) -> dict[str, Tensor]:
    """Read the weights of a run and verify their checksum.

    Args:
        run: the run folder.
        description: content of its ``run.json``.
        checkpoint: ``best`` or ``last``.

    Raises:
        InputError: the weights are missing, damaged or of another run.
    """
    check_weights(run, description)
    content = read_tensors(run / WEIGHTS, "the weights of a run", _RETRAIN, {checkpoint: dict})
    weights: dict[str, Tensor] = content[checkpoint]
    return weights


def recorded_file(file: Path, run: Path) -> dict[str, str]:
    """How a run records the file of a pretraining: its path relative to the run folder, and its checksum."""
    return {"file": os.path.relpath(file, run), "sha256": sha256_of(file)}


def pretrained_files(run: Path, description: Mapping[str, Any]) -> list[Path]:
    """Files of the masked autoencoders that a run was trained with, in their order.

    Raises:
        InputError: a file is missing or has changed since.
    """
    files = []
    for entry in description.get("pretrained", []):
        file = Path(os.path.normpath(run / entry["file"]))
        if not file.is_file():
            raise InputError(
                f"{file}: {run} was trained with this file, which is missing; restore it or pretrain again"
            )
        if sha256_of(file) != entry["sha256"]:
            raise InputError(f"{file}: has changed since {run} was trained with it; {_RETRAIN}")
        files.append(file)
    return files


def refuse_other_pretraining(file: Path, name: str, data: PreparedDataset, settings: Mapping[str, Any]) -> None:
    """Refuse a masked autoencoder of other settings or data, whose training part may hold test cases of these data.

    Args:
        file: weights of a pretraining, beside its description.
        name: expected name of the pretraining.
        data: the dataset.
        settings: current settings of the pretraining.

    Raises:
        InputError: there is no finished pretraining, or it has another name, dataset, split, image size or settings.
    """
    if not file.is_file():
        raise InputError(f"{file}: the pretrained masked autoencoder is missing; run 'spectralseg pretrain'")
    description = read_json(file.with_name(DESCRIPTION), "the description of a pretraining", _REPEAT, PRETRAINING_KEYS)
    if sha256_of(file) != description[CHECKSUM]:
        raise InputError(f"{file}: is damaged, as its checksum differs from {DESCRIPTION}; {_REPEAT}")
    if description["run"]["pretraining"] != name:
        raise InputError(
            f"{file}: is the pretraining '{description['run']['pretraining']}', not '{name}'; give its file"
        )
    if description["data"] != data.identity:
        kind = "image size" if description["data"].get("image_size") != data.info["image_size"] else "dataset or split"
        raise InputError(f"{file}: was pretrained on another {kind} than {data.path}; {_REPEAT}")
    recorded = _comparable(description, settings)
    if changed := [key for key, value in settings.items() if recorded.get(key) != value]:
        raise InputError(f"{file}: was pretrained with another '{changed[0]}' than the configuration has; {_REPEAT}")


def refuse_other_run(out: Path, keys: Mapping[str, Any]) -> None:
    """Refuse to replace a finished run by another run.

    Raises:
        InputError: the folder holds another finished run.
    """
    if not (out / DESCRIPTION).exists():
        return
    try:
        current = read_settings(out, PRETRAINING_KEYS if "pretraining" in keys else _KEYS)["run"]
    except InputError:  # a damaged run is replaced
        return
    if current != keys:
        raise InputError(
            f"{out}: holds another run, {folder_of(current)}; choose another folder, or remove this one to train "
            f"{folder_of(keys)} here"
        )


def finished(out: Path, settings: Mapping[str, Any], keys: Kinds = _KEYS) -> bool:
    """Whether a folder holds a complete run of these settings; ``keys`` as in :func:`read_settings`."""
    try:
        description = read_settings(out, keys)
        check_weights(out, description)
    except InputError:
        return False
    recorded = _comparable(description, settings)
    return (out / HISTORY).is_file() and all(recorded.get(key) == value for key, value in settings.items())


def _comparable(description: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A description without hyper-parameters that do not affect the weights."""
    return {**description, "training": {key: description["training"].get(key) for key in settings["training"]}}
