"""Downloads in advance, on a machine with a network, so that compute nodes need none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from spectralseg.config import Config
from spectralseg.data.fetch import fetch
from spectralseg.data.specification import DatasetSpecification
from spectralseg.errors import InputError
from spectralseg.registry import weights_file

_log = logging.getLogger(__name__)


def prefetch(config: Config, specifications: Mapping[str, DatasetSpecification]) -> None:
    """Download the official files of a study into its download folder, and encoder weights into the cache.

    After a failure, the remaining downloads are still tried.

    Raises:
        InputError: lists all failed downloads.
    """
    failures = []
    for name, dataset in config.datasets.items():
        if dataset.source != "official":
            _log.info("%s: source '%s' needs no download", name, dataset.source)
            continue
        try:
            fetch(specifications[name], Path(config.downloads) / name, mirrors=dataset.mirrors)
        except InputError as error:
            failures.append(str(error))
    pretrained = {
        (architecture.model, architecture.encoder, architecture.encoder_weights)
        for architecture in config.architectures.values()
        if architecture.encoder_weights and not weights_file(architecture.encoder_weights)
    }
    for model, encoder, weights in sorted(pretrained):
        try:
            fetch_weights(encoder, weights, model)
        except InputError as error:
            failures.append(str(error))
    if failures:
        raise InputError(f"{len(failures)} downloads failed: " + " | ".join(failures))


def fetch_weights(encoder: str, weights: str, model: str = "unet") -> None:
    """Download pretrained weights of a model's encoder into the cache of the library that loads them.

    Raises:
        InputError: the encoder or its weights are unknown, or the network is unavailable.
    """
    from spectralseg.models import build_model

    build_model(model, 3, 1, encoder=encoder, encoder_weights=weights)
    _log.info("weights '%s' of encoder '%s' are in the cache", weights, encoder)
