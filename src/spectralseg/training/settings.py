"""The settings that the weights of a run depend on. ``run.json`` records them; if they change, the run is retrained."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectralseg.config import Config, External
from spectralseg.files import sha256_of
from spectralseg.grid import Autoencoder, Run
from spectralseg.registry import weights_file


def settings_of(config: Config, run: Run | Autoencoder, data: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run or of a masked autoencoder as plain values.

    Args:
        config: the study.
        run: one of its runs or masked autoencoders.
        data: identity of its dataset, from :func:`spectralseg.data.prepared.identity_of`.
    """
    if isinstance(run, Autoencoder):
        return {"run": run.keys, **pretraining_of(config, run.dataset, run.name), "data": dict(data)}
    if run.external:
        return {"run": run.keys, "method": external_of(config.external[run.architecture]), "data": dict(data)}
    architecture = config.architectures[run.architecture]
    encoder = weights_file(architecture.encoder_weights)
    settings = {
        "run": run.keys,
        "architecture": architecture.model_dump(mode="json"),
        "encoder_sha256": _checksum(encoder, encoder.stat().st_mtime_ns) if encoder and encoder.is_file() else None,
        "objective": config.objectives[run.objective].model_dump(mode="json"),
        "training": config.training_of(run.dataset).learned(),
        "data": dict(data),
    }
    if architecture.pretrained:
        settings["pretraining"] = {name: pretraining_of(config, run.dataset, name) for name in architecture.pretrained}
    return settings


def pretraining_of(config: Config, dataset: str, name: str) -> dict[str, Any]:
    """Settings that a masked autoencoder depends on, besides the data, as plain values."""
    pretraining = config.pretraining[name]
    training = pretraining.training(config.training_of(dataset)).learned()
    return {**pretraining.model_dump(mode="json"), "training": training}


def external_of(method: External) -> dict[str, Any]:
    """What the model of an external method depends on, besides the data: commands, and checksums of its files."""
    files = {name: Path(name) for name in method.dependencies}
    checksums = {
        name: _checksum(file, file.stat().st_mtime_ns) if file.is_file() else None for name, file in files.items()
    }
    return {"commands": method.commands, "files": checksums}


@functools.cache
def _checksum(file: Path, _modified: int) -> str:
    """Cached, because many runs share a file of weights, which takes a second to read."""
    return sha256_of(file)


def difference(saved: Any, current: Any, key: str = "") -> str:
    """The first key, with dots, in which two settings differ; empty if they are equal."""
    if saved == current:
        return ""
    if isinstance(saved, dict) and isinstance(current, dict):
        names = sorted({*saved, *current})
        differences = (
            difference(saved.get(name), current.get(name), f"{key}.{name}" if key else name) for name in names
        )
        return next(filter(None, differences), key)
    return key
