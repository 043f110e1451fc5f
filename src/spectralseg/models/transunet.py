"""TransUNet as the paper describes it (Chen et al. 2021, arXiv 2102.04306).

A ResNet encoder to stride 16, a transformer over its last map, and a cascaded decoder with three skip connections. The
paper uses eight attention heads, so ViT weights, which have twelve, do not fit: the transformer starts from random
weights, the convolutional encoder from ImageNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import segmentation_models_pytorch as smp
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from spectralseg.errors import InputError
from spectralseg.models._weights import with_weights

_DEPTH = 4  # encoder stages: strides 2, 4, 8, 16
_GRID = 14  # rows and columns of positions: images of 224 pixels


def build(
    in_channels: int,
    classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    width: int = 768,
    layers: int = 12,
    heads: int = 8,
    dropout: float = 0.1,
    decoder_channels: Sequence[int] = (256, 128, 64, 16),
) -> nn.Module:
    """TransUNet; with ``resnet50`` and 3 channels 101.92 M parameters at one class."""

    def maps_of(weights: str | None, channels: int, **options: Any) -> Any:
        maps = smp.encoders.get_encoder(encoder, channels, _DEPTH, weights, **options)
        if hasattr(maps, "layer4"):  # remove the unused last stage of ResNets: 15 M parameters in ResNet-50
            maps.layer4 = nn.Identity()
        return maps

    maps = with_weights(maps_of, encoder, encoder_weights, in_channels)
    *skips, deepest = maps.out_channels[-_DEPTH:]
    return TransUNet(maps, transformer(deepest, width, layers, heads, dropout, _GRID), skips, classes, decoder_channels)


def transformer(channels: int, width: int, layers: int, heads: int, dropout: float, grid: int) -> Transformer:
    """A transformer with random weights over maps of ``channels`` channels."""
    check_sizes(width, layers, heads)
    # A partial, because timm passes further arguments to the norm layer.
    norm = partial(nn.LayerNorm, eps=1e-6)
    embed = nn.Conv2d(channels, width, 1)
    blocks = nn.Sequential(
        *(
            Block(width, heads, mlp_ratio=4.0, qkv_bias=True, proj_drop=dropout, norm_layer=norm)  # type: ignore[arg-type]
            for _ in range(layers)
        )
    )
    position = nn.init.trunc_normal_(torch.empty(1, width, grid, grid), std=0.02)
    return Transformer(embed, position, nn.Dropout(dropout), blocks, norm(width))


def check_sizes(width: int, layers: int, heads: int) -> None:
    """Check the sizes of a transformer.

    Raises:
        InputError: width or heads are not an integer of at least 1, or layers not one of at least 0.
    """
    for option, value, least in (("width", width, 1), ("layers", layers, 0), ("heads", heads, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"option '{option}' cannot be {value!r}; give a whole number of {least} or more")


class TransUNet(nn.Module):
    """Convolutional encoder, transformer bottleneck, cascaded upsampler.

    Args:
        encoder: returns feature maps, the last four of which have strides 2, 4, 8 and 16.
        bottleneck: transformer over the deepest map.
        skips: channels of the other three maps, from shallow to deep.
        classes: channels of the logits.
        decoder_channels: channels of the four stages of the decoder.
    """

    def __init__(
        self,
        encoder: nn.Module,
        bottleneck: Transformer,
        skips: Sequence[int],
        classes: int,
        decoder_channels: Sequence[int],
    ) -> None:
        super().__init__()
        self.encoder, self.bottleneck = encoder, bottleneck
        self.decoder = CascadedUpsampler(bottleneck.embed.out_channels, [*reversed(skips), 0], decoder_channels)
        self.segmentation_head = nn.Conv2d(decoder_channels[-1], classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C, H, W) of images (B, 1 or 3, H, W); H and W are multiples of 16."""
        *skips, deepest = self.encoder(images)[-_DEPTH:]
        logits: Tensor = self.segmentation_head(self.decoder([*skips, self.bottleneck(deepest)]))
        return logits


class Transformer(nn.Module):
    """Pre-norm transformer over the pixels of a feature map: (B, C, h, w) to (B, width, h, w).

    As in the code of TransUNet, dropout follows the positions and is in the MLPs, but not in attention.

    Args:
        embed: 1 × 1 convolution to the width.
        position: learned embedding (1, width, h', w'), interpolated to maps of other sizes.
        dropout: dropout after the positions are added.
        blocks: transformer blocks of timm.
        norm: final norm of the tokens.
    """

    def __init__(
        self, embed: nn.Conv2d, position: Tensor, dropout: nn.Module, blocks: nn.Sequential, norm: nn.Module
    ) -> None:
        super().__init__()
        self.embed, self.position, self.dropout = embed, nn.Parameter(position), dropout
        self.blocks, self.norm = blocks, norm
        block: Any
        for block in blocks:
            block.attn.proj_drop.p = 0.0

    def forward(self, features: Tensor) -> Tensor:
        """Apply the transformer to ``features`` (B, C, h, w)."""
        maps = self.embed(features)
        position: Tensor = self.position
        if position.shape[-2:] != maps.shape[-2:]:
            position = functional.interpolate(position, maps.shape[-2:], mode="bicubic", align_corners=False)
        tokens: Tensor = self.dropout(maps + position).flatten(2).transpose(1, 2)
        tokens = self.norm(self.blocks(tokens))
        return tokens.transpose(1, 2).reshape(maps.shape)


class CascadedUpsampler(nn.Module):
    """Four stages that double the size, concatenate a skip and apply two 3 × 3 convolutions."""

    def __init__(self, channels: int, skips: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        first = min(512, channels)
        self.reduce = convolution(channels, first)
        self.blocks = nn.ModuleList(
            nn.Sequential(convolution(before + skip, after), convolution(after, after))
            for (before, after), skip in zip(pairwise([first, *widths]), skips, strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode ``features``, from shallow (stride 2) to deep (stride 16), to full resolution."""
        *skips, deepest = features
        maps: Tensor = self.reduce(deepest)
        for block, skip in zip(self.blocks, [*reversed(skips), None], strict=True):
            maps = functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=True)
            maps = block(maps if skip is None else torch.cat([maps, skip], 1))
        return maps


def convolution(before: int, after: int) -> nn.Sequential:
    """3 × 3 convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )
