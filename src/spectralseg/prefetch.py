"""Everything that needs the network, done once where there is one: compute nodes then need none."""

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
    """Fetch the official files of a study into its download folder, and encoder weights into the cache.

    One failure does not keep the rest from being fetched.

    Raises:
        InputError: names all that could not be had.
    """
    failures = []
    for name, choice in config.datasets.items():
        if choice.source != "official":
            _log.info("%s: source '%s' needs no download", name, choice.source)
            continue
        try:
            fetch(specifications[name], Path(config.downloads) / name, mirrors=choice.mirrors)
        except InputError as error:
            failures.append(str(error))
    pretrained = {
        (a.model, a.encoder, a.encoder_weights)
        for a in config.architectures.values()
        if a.encoder_weights and not weights_file(a.encoder_weights)
    }
    for model, encoder, weights in sorted(pretrained):
        try:
            fetch_weights(encoder, weights, model)
        except InputError as error:
            failures.append(str(error))
    if failures:
        raise InputError(f"{len(failures)} could not be fetched: " + " | ".join(failures))


def fetch_weights(encoder: str, weights: str, model: str = "unet") -> None:
    """Have pretrained weights of a model's encoder in the cache of the library that loads them.

    Raises:
        InputError: the encoder or its weights are unknown, or there is no network.
    """
    from spectralseg.models import build_model

    build_model(model, 3, 1, encoder=encoder, encoder_weights=weights)
    _log.info("weights '%s' of encoder '%s' are in the cache", weights, encoder)
