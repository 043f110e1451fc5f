"""Architectures: one module per model, all models of segmentation-models-pytorch, and 2-D networks of MONAI.

A module has a function ``build(in_channels, classes, encoder, encoder_weights, **options)``. Among the models of the
library is ``unet`` (Ronneberger et al. 2015), with 32.52 M parameters for ``resnet50``, 3 channels and one class.

A model takes float images (B, 1 or 3, H, W) and returns raw logits (B, C, H, W). It has an ``encoder`` that returns a
list of feature maps and a ``decoder`` that takes such a list, so that interpretation finds the deepest map, or
``feature_maps`` that say where these maps are, as :class:`spectralseg.models._monai.Network` has.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

from spectralseg import registry
from spectralseg.errors import InputError
from spectralseg.extras import explaining_missing_packages
from spectralseg.redaction import redact

with explaining_missing_packages(__name__):
    from torch import nn

    from spectralseg._torchvision import ensure_operators

    ensure_operators()

    from spectralseg.models import _monai
    from spectralseg.models._masked_autoencoder import load_residual_map, untrained_map
    from spectralseg.patches import Sizes

__all__ = ["Sizes", "available", "build_model", "load_residual_map", "untrained_map"]


def available() -> list[str]:
    """Names of the models; a new module in this package is a new model.

    Examples:
        >>> from spectralseg.models import available
        >>> {"unet", "transunet", "grcsf", "monai:SwinUNETR"} <= set(available())
        True
    """
    return registry.model_names()


def build_model(
    name: str,
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet50",
    encoder_weights: str | None = None,
    pretrained: Sequence[Path] = (),
    image_size: int | None = None,
    **options: Any,
) -> nn.Module:
    """Build a model.

    Args:
        name: one of :func:`available`.
        in_channels: channels of the images, 1 or 3.
        classes: channels of the logits: 1 for binary tasks, otherwise foreground classes + 1.
        encoder: encoder of segmentation-models-pytorch; for ``monai:FlexibleUNet``, of MONAI. Other networks of MONAI
            have none to choose.
        encoder_weights: pretrained weights, or None for random weights. A name in the encoder's library is loaded from
            its cache or the network. A file holds a ``state_dict`` (``.pt``, ``.pth``, ``.bin``, ``.safetensors``), for
            encoders of timm with the array names of timm or of segmentation-models-pytorch; for ``transunet_original``
            and vision transformers of timm, it may be a file published by Google (``.npz``).
        pretrained: files of ``spectralseg pretrain``, for models such as ``grcsf``.
        image_size: side of the images in pixels. ``monai:UNETR`` needs it; for other networks of MONAI, it is checked.
        options: options of the model. With an encoder of timm (``tu-``), models of the library pass unknown options to
            the encoder.

    Raises:
        InputError: the name, the encoder or an option is unknown, ``in_channels`` or ``classes`` is not valid, the
            network cannot take images of this size, a package is missing, or the weights cannot be loaded or are not
            finite.

    Examples:
        >>> import torch
        >>> from spectralseg.models import build_model
        >>> model = build_model("unet", in_channels=1, classes=4, encoder="resnet18").eval()
        >>> with torch.inference_mode():
        ...     logits = model(torch.zeros(2, 1, 64, 64))
        >>> logits.shape
        torch.Size([2, 4, 64, 64])
        >>> build_model("unet", in_channels=2, classes=4)
        Traceback (most recent call last):
            ...
        spectralseg.errors.InputError: in_channels cannot be 2; give 1 for grey or 3 for colour images
        >>> build_model("unnet", 1, 4)
        Traceback (most recent call last):
            ...
        spectralseg.errors.InputError: model 'unnet' is unknown; did you mean 'unet'? valid: ...
    """
    if name not in available():
        raise InputError(f"model '{name}' is unknown; {registry.suggest(name, available())}")
    if not _is_count(in_channels) or in_channels not in (1, 3):
        raise InputError(f"in_channels cannot be {in_channels!r}; give 1 for grey or 3 for colour images")
    if not _is_count(classes):
        raise InputError(f"classes cannot be {classes!r}; give 1 for binary tasks, else foreground classes + 1")
    registry.check_options(name, encoder, options)
    if pretrained and not registry.takes_pretrained(name):
        raise InputError(f"model '{name}' uses no masked autoencoder; leave 'pretrained' out")
    if image_size is not None:
        registry.check_image_size(name, options, image_size)
    build: Any
    if name in registry.LIBRARY_MODELS:
        build = partial(_from_library, name)
    elif registry.monai_network(name) is not None:
        build = partial(_monai.build, name, image_size)
    else:
        build = registry.load(__name__, name, "model").build
    try:
        model: nn.Module = build(
            in_channels, classes, encoder, encoder_weights, **options, **({"mae": pretrained} if pretrained else {})
        )
    except InputError:
        raise
    except Exception as error:  # libraries raise exceptions of any type, even AssertionError and ZeroDivisionError
        reason = " ".join(str(error).split()) or type(error).__name__
        if encoder_weights is not None and isinstance(error, OSError):  # raised for a failed download
            raise InputError(
                f"weights '{encoder_weights}' of encoder '{encoder}' are not in the cache and cannot be downloaded; "
                f"run 'spectralseg weights {encoder} {encoder_weights} --model {name}' where there is a network, or "
                f"set 'encoder_weights' to a file or to null ({redact(reason)})"
            ) from error
        part = f" with encoder '{encoder}'" if registry.has_encoder(name) else ""
        raise InputError(f"model '{name}'{part} cannot be built: {reason}") from error
    return model


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _from_library(
    name: str, in_channels: int, classes: int, encoder: str, encoder_weights: str | None, **options: Any
) -> nn.Module:
    import segmentation_models_pytorch as smp

    from spectralseg.models._weights import with_weights

    def build(weights: str | None, channels: int, **further: Any) -> Any:
        return smp.create_model(name, encoder, weights, channels, classes, **options, **further)

    model: nn.Module = with_weights(build, encoder, encoder_weights, in_channels, part=lambda model: model.encoder)
    return model
