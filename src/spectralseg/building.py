"""Models and objectives, built from their configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from spectralseg.config import Architecture, Config, Objective
from spectralseg.errors import InputError
from spectralseg.models import build_model
from spectralseg.objectives import Combined, build_objective


def model_of(
    architecture: Architecture,
    channels: int,
    outputs: int,
    pretrained: Sequence[Path] = (),
    image_size: int | None = None,
) -> nn.Module:
    """The model of a configuration for images of ``channels`` channels and logits of ``outputs``.

    Without the files of its pretraining, a model gets untrained masked autoencoders. ``image_size`` is the side of the
    images in pixels.
    """
    return build_model(
        architecture.model,
        channels,
        outputs,
        encoder=architecture.encoder,
        encoder_weights=architecture.encoder_weights,
        pretrained=pretrained,
        image_size=image_size,
        **architecture.options,
    )


def without_files(config: Config, name: str) -> Architecture:
    """An architecture of a study as it can be built before any file of weights exists.

    The encoder has no pretrained weights. Masked autoencoders are untrained and as large as the first one. Residual
    maps are those of the image itself, as pretraining stores the maps of other cases.
    """
    architecture = config.architectures[name]
    options = dict(architecture.options)
    if sizes := [config.pretraining[autoencoder].sizes.as_dict() for autoencoder in architecture.pretrained]:
        options["mae_ratios"] = [size.pop("mask_ratio") for size in sizes]
        options |= {f"mae_{key}": value for key, value in sizes[0].items()}
        if options.get("map_source") == "other":
            options["map_source"] = "own"
    return architecture.model_copy(update={"encoder_weights": None, "options": options})


def objective_of(objective: Objective, lam: str, outputs: int = 1, side: int | None = None) -> Combined:
    """The objective of a configuration, with its λ.

    Args:
        objective: its configuration.
        lam: λ.
        outputs: channels of the logits.
        side: of the images in pixels; if given, the objective is computed once on such an image.

    Raises:
        InputError: an option is not valid, or not for images of this size.
    """
    base = build_objective(objective.base, **objective.base_options)
    auxiliary = build_objective(objective.auxiliary, **objective.auxiliary_options) if objective.auxiliary else None
    combined = Combined(base, auxiliary, float(lam), objective.form)
    if side is not None:
        try:
            combined.components(torch.zeros(1, outputs, side, side), torch.zeros(1, side, side, dtype=torch.long))
        except ValueError as error:
            raise InputError(f"the objective does not suit images of {side} x {side} pixels: {error}") from None
    return combined
