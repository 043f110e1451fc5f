"""TransUNet as the paper describes it: a ResNet encoder to stride 16, a transformer over its last map, a cascaded
decoder with three skips (Chen et al. 2021, arXiv 2102.04306).

The paper asks for eight attention heads, so ViT weights (twelve heads) do not apply: the transformer starts from
scratch, the convolutional encoder from ImageNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import segmentation_models_pytorch as smp
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from spectralseg.models._weights import file_of, load_encoder

_DEPTH = 4  # encoder stages: strides 2, 4, 8, 16


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
    return TransUNet(in_channels, classes, encoder, encoder_weights, width, layers, heads, dropout, decoder_channels)


class TransUNet(nn.Module):
    """Convolutional encoder, transformer bottleneck, cascaded upsampler.

    The position embedding is learned on a 14 × 14 grid (224-pixel images) and interpolated to other sizes.
    """

    grid = 14

    def __init__(
        self,
        in_channels: int,
        classes: int,
        encoder: str,
        encoder_weights: str | None,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        decoder_channels: Sequence[int],
    ) -> None:
        super().__init__()
        file = file_of(encoder_weights)
        self.encoder = smp.encoders.get_encoder(
            encoder, 3 if file else in_channels, _DEPTH, None if file else encoder_weights
        )
        if hasattr(self.encoder, "layer4"):  # ResNets keep their unused last stage: 15 M idle parameters in ResNet-50
            self.encoder.layer4 = nn.Identity()
        if file is not None:
            load_encoder(self.encoder, file, in_channels)
        channels = self.encoder.out_channels
        self.bottleneck = Transformer(channels[-1], width, layers, heads, dropout, self.grid)
        self.decoder = CascadedUpsampler(width, [*channels[-2:0:-1], 0], decoder_channels)
        self.segmentation_head = nn.Conv2d(decoder_channels[-1], classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C, H, W) of images (B, 1 or 3, H, W); H and W are multiples of 16."""
        features = self.encoder(images)
        deepest = self.bottleneck(features[-1])
        logits: Tensor = self.segmentation_head(self.decoder([*features[1:-1], deepest]))
        return logits


class Transformer(nn.Module):
    """Pre-norm transformer over the pixels of a feature map: (B, C, h, w) to (B, width, h, w)."""

    def __init__(self, channels: int, width: int, layers: int, heads: int, dropout: float, grid: int) -> None:
        super().__init__()
        # timm hands further arguments to the norm layer, so a partial and no lambda
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.embed = nn.Conv2d(channels, width, 1)
        self.position = nn.Parameter(torch.zeros(1, width, grid, grid))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(
            *(
                Block(width, heads, mlp_ratio=4.0, qkv_bias=True, proj_drop=dropout, norm_layer=norm)  # type: ignore[arg-type]
                for _ in range(layers)
            )
        )
        self.norm = norm(width)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, features: Tensor) -> Tensor:
        """Mix all positions of ``features`` (B, C, h, w)."""
        maps = with_positions(self.embed(features), self.position)
        tokens: Tensor = self.dropout(maps).flatten(2).transpose(1, 2)
        tokens = self.norm(self.blocks(tokens))
        return tokens.transpose(1, 2).reshape(maps.shape)


def with_positions(maps: Tensor, positions: Tensor) -> Tensor:
    """Add a position embedding (1, C, h', w') to maps (B, C, h, w), interpolated where the sizes differ."""
    if positions.shape[-2:] != maps.shape[-2:]:
        positions = functional.interpolate(positions, maps.shape[-2:], mode="bicubic", align_corners=False)
    return maps + positions


class CascadedUpsampler(nn.Module):
    """Halve the channels once, then four times: double the size, join a skip, two 3 × 3 convolutions."""

    def __init__(self, channels: int, skips: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        first = min(512, channels)
        self.reduce = convolution(channels, first)
        self.blocks = nn.ModuleList(
            nn.Sequential(convolution(before + skip, after), convolution(after, after))
            for (before, after), skip in zip(pairwise([first, *widths]), skips, strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode ``features``, given from shallow (stride 2) to deep (stride 16), to full resolution."""
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
