"""Pretrained weights: by the name that a library knows, or in a file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from spectralseg.errors import InputError
from spectralseg.registry import weights_file


def file_of(weights: str | None) -> Path | None:
    """The file that ``weights`` names, or None where it is the name of published weights.

    Raises:
        InputError: there is no such file.
    """
    file = weights_file(weights)
    if file is not None and not file.is_file():
        raise InputError(f"{file}: there are no such encoder weights; check 'encoder_weights'")
    return file


def load(module: nn.Module, file: Path) -> None:
    """Load a ``state_dict`` that holds at least all that ``module`` has, e.g. also a head or an unused stage.

    Raises:
        InputError: the file is damaged, or lacks something.
    """
    try:
        state: dict[str, Any] = (
            load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
        )
        missing = [key for key in module.state_dict() if key not in state and not key.endswith("num_batches_tracked")]
        module.load_state_dict(state, strict=False)
    except (SafetensorError, RuntimeError, EOFError, AttributeError, TypeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: cannot be loaded as encoder weights ({reason}); give a state_dict") from None
    if missing:
        raise InputError(
            f"{file}: lacks {len(missing)} of the encoder's arrays, {missing[0]} first; give weights of this encoder"
        )


def load_encoder(encoder: Any, file: Path, in_channels: int) -> None:
    """Load weights for three channels into an encoder of segmentation-models-pytorch, then adapt it to others."""
    load(encoder, file)
    if in_channels == 3:
        return
    if not hasattr(encoder, "set_in_channels"):
        raise InputError(
            f"{file}: cannot be adapted from 3 to {in_channels} channels for this encoder; choose another, or null"
        )
    encoder.set_in_channels(in_channels, pretrained=True)
