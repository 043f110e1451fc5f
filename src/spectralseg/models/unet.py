"""U-Net with a pretrained encoder (Ronneberger et al. 2015), from segmentation-models-pytorch."""

from __future__ import annotations

from typing import Any

import segmentation_models_pytorch as smp
from torch import nn


def build(in_channels: int, classes: int, encoder: str, encoder_weights: str | None, **options: Any) -> nn.Module:
    """U-Net; with ``resnet50`` and 3 channels 32.52 M parameters at one class. Options go to ``smp.Unet``."""
    return smp.Unet(encoder, encoder_weights=encoder_weights, in_channels=in_channels, classes=classes, **options)  # type: ignore[no-any-return]
