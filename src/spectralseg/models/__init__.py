"""Architectures. One module per model, each with ``build(in_channels, classes, encoder, encoder_weights, **options)``.

A model takes float images (B, 1 or 3, H, W) and returns raw logits (B, C, H, W). It has an ``encoder`` that returns a
list of feature maps and a ``decoder`` that takes one, so that the deepest map is found the same way in all of them.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from spectralseg import registry
from spectralseg.errors import InputError
from spectralseg.models._torchvision import ensure_operators
from spectralseg.redaction import redact

ensure_operators()


def available() -> list[str]:
    """Names of the models; a new module in this package is a new model."""
    return registry.names(__name__)


def build_model(
    name: str,
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet50",
    encoder_weights: str | None = None,
    **options: Any,
) -> nn.Module:
    """Build a model.

    Args:
        name: one of :func:`available`.
        in_channels: channels of the images, 1 or 3.
        classes: channels of the logits: 1 for binary tasks, otherwise foreground classes + 1.
        encoder: encoder of segmentation-models-pytorch.
        encoder_weights: name of pretrained encoder weights, or None for random initialisation.
        options: passed on to the model.

    Raises:
        InputError: the name, the encoder or an option is unknown, or the weights cannot be had.
    """
    build = registry.load(__name__, name, "model").build
    try:
        model: nn.Module = build(in_channels, classes, encoder, encoder_weights, **options)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        if encoder_weights is not None and isinstance(error, OSError):  # so do the libraries tell of a failed download
            raise InputError(
                f"weights '{encoder_weights}' of encoder '{encoder}' are not in the cache and cannot be downloaded; "
                f"run 'spectralseg weights {encoder} {encoder_weights}' where there is a network, or set "
                f"'encoder_weights: null' ({redact(reason)})"
            ) from error
        raise InputError(f"model '{name}' with encoder '{encoder}' cannot be built: {reason}") from error
    return model
