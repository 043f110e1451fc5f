"""TransUNet as first published (Chen et al. 2021, arXiv 2102.04306): timm's R50 + ViT-B/16 hybrid with twelve heads.

:mod:`spectralseg.models.transunet` follows the description of the paper under study. Here the transformer can start
from the ImageNet-21k weights that TransUNet was published with (``orig_in21k``).

All layer sizes equal those of the original code. Details follow timm's hybrid, for which the weights were converted:
strided convolutions and pooling are padded on the right, where the original code pads convolutions on both sides and
the map after pooling; norms of the shortcuts have 32 groups instead of one per channel; small constants in norms and
weight standardisation differ, as does the random initialisation. For images of other sizes than 224 pixels, the
position embedding is interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
from torch import Tensor, nn

from spectralseg.models._weights import JAX, file_of, load, load_jax
from spectralseg.models.transunet import Transformer, TransUNet, check_sizes

_HYBRID = "vit_base_r50_s16_224"
_SKIPS = (64, 256, 512)  # channels at strides 2, 4, 8


def build(
    in_channels: int,
    classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    width: int = 768,
    layers: int = 12,
    heads: int = 12,
    dropout: float = 0.1,
    decoder_channels: Sequence[int] = (256, 128, 64, 16),
) -> nn.Module:
    """TransUNet; with 3 channels and 9 classes 105,277,081 parameters, as in the code of its authors.

    ``encoder`` is timm's name of the hybrid, or ``resnet50`` for short. ``encoder_weights`` may be the published file
    ``R50+ViT-B_16.npz``, or a ``state_dict`` of timm's hybrid. Published weights require the default width, layers and
    heads.
    """
    if encoder not in ("resnet50", _HYBRID):
        raise ValueError(f"its only encoder is '{_HYBRID}' (or 'resnet50' for short)")
    check_sizes(width, layers, heads)
    file = file_of(encoder_weights)
    published = encoder_weights is not None and file is None
    vit: Any = timm.create_model(
        f"{_HYBRID}.{encoder_weights}" if published else _HYBRID,
        pretrained=published,
        num_classes=0,
        in_chans=3 if file and file.suffix != JAX else in_channels,
        pos_drop_rate=dropout,
        proj_drop_rate=dropout,
        embed_dim=width,
        depth=layers,
        num_heads=heads,
    )
    if file is not None and file.suffix == JAX:
        load_jax(vit, file)
    elif file is not None:
        load(vit, file)
        _accept_grey(vit.patch_embed.backbone.stem.conv, in_channels)
    if encoder_weights is None:  # timm initialises these with zero, the original code with one
        for stage in vit.patch_embed.backbone.stages:
            for block in stage.blocks:
                nn.init.ones_(block.norm3.weight)
    # Without a class token its position is dropped; the other positions become a map.
    position = vit.pos_embed[:, 1:].detach().transpose(1, 2).unflatten(2, vit.patch_embed.grid_size).clone()
    bottleneck = Transformer(vit.patch_embed.proj, position, vit.pos_drop, vit.blocks, vit.norm)
    return TransUNet(HybridEncoder(vit.patch_embed.backbone), bottleneck, _SKIPS, classes, decoder_channels)


def _accept_grey(convolution: nn.Conv2d, in_channels: int) -> None:
    """Adapt a convolution of colour images to one channel, as if the three colours were equal."""
    if in_channels == 1:
        convolution.weight = nn.Parameter(convolution.weight.sum(1, keepdim=True))
        convolution.in_channels = 1


class HybridEncoder(nn.Module):
    """The maps of timm's ResNetV2 at strides 2, 4, 8 and 16."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.stem, self.stages = backbone.stem, backbone.stages

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps, from shallow to deep."""
        stem: Any = self.stem
        features: list[Tensor] = [stem.norm(stem.conv(images))]
        maps = stem.pool(features[0])
        for stage in self.stages:
            maps = stage(maps)
            features.append(maps)
        return features
