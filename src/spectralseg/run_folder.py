"""The folder of a finished run: weights, a description with their checksum, and the training log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from spectralseg.errors import InputError
from spectralseg.files import dump_json, replacing_all, sha256_of
from spectralseg.grid import Run
from spectralseg.loading import Kinds, read_json, read_tensors, reading

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, DESCRIPTION, HISTORY = "model.pt", "run.json", "history.jsonl"
CHECKSUM = "weights_sha256"  # key of the description

_RETRAIN = "train the run again"
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


def read_settings(run: Path) -> dict[str, Any]:
    """The description of a finished run, from its ``run.json``.

    Raises:
        InputError: the folder holds no finished run, or the file is damaged.
    """
    return read_json(run / DESCRIPTION, "the description of a finished run", _RETRAIN, _KEYS)


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


def refuse_other_run(out: Path, keys: Mapping[str, Any]) -> None:
    """Refuse to replace a finished run by another run.

    Raises:
        InputError: the folder holds another finished run.
    """
    if not (out / DESCRIPTION).exists():
        return
    try:
        current = read_settings(out)["run"]
    except InputError:  # a damaged run is replaced
        return
    if current != keys:
        raise InputError(
            f"{out}: holds another run, {Run.of(current).folder}; choose another folder, or remove this one to train "
            f"{Run.of(keys).folder} here"
        )


def finished(out: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a folder holds a complete run of these settings."""
    try:
        description = read_settings(out)
        check_weights(out, description)
    except InputError:
        return False
    description["training"] = {name: description["training"].get(name) for name in settings["training"]}
    return (out / HISTORY).is_file() and all(description.get(key) == value for key, value in settings.items())
