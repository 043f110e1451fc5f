"""TransUNet as first published (Chen et al. 2021, arXiv 2102.04306): timm's R50 + ViT-B/16 hybrid with twelve heads.

Unlike :mod:`spectralseg.models.transunet`, which follows the description of the paper under study, its transformer can
start from the ImageNet-21k weights that TransUNet was published with (``orig_in21k``).

Its sizes are those of the first code, layer by layer; details of timm's hybrid, for which those weights were converted,
are not. Strided convolutions and the pooling are padded on the right, where the first code pads convolutions on both
sides and the pooled map afterwards; norms of the shortcuts have 32 groups instead of one per channel; small constants
in norms and weight standardisation differ, and so does the random initialisation. Images of other sizes than 224 pixels
interpolate the position embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import timm
from torch import Tensor, nn

from spectralseg.models._weights import file_of, load
from spectralseg.models.transunet import CascadedUpsampler, with_positions

_HYBRID = "vit_base_r50_s16_224"
_SKIPS = (512, 256, 64)  # channels at strides 8, 4, 2


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
    """TransUNet; with 3 channels 105,277,081 parameters at 9 classes, as its authors' code.

    ``encoder`` is ``resnet50``, of which this network has a kind of its own, or timm's name of the hybrid. Published
    weights need the default width, layers and heads.
    """
    if encoder not in ("resnet50", _HYBRID):
        raise ValueError(f"there is one encoder for it, '{_HYBRID}' (or 'resnet50' for short)")
    transformer = {"embed_dim": width, "depth": layers, "num_heads": heads}
    return OriginalTransUNet(in_channels, classes, encoder_weights, transformer, dropout, decoder_channels)


class OriginalTransUNet(nn.Module):
    """ResNetV2-50 without its last stage, a vision transformer over its map, the cascaded upsampler."""

    def __init__(
        self,
        in_channels: int,
        classes: int,
        weights: str | None,
        transformer: Mapping[str, Any],
        dropout: float,
        decoder_channels: Sequence[int],
    ) -> None:
        super().__init__()
        file = file_of(weights)
        name = _HYBRID if weights is None or file else f"{_HYBRID}.{weights}"
        vit: Any = timm.create_model(
            name,
            pretrained=weights is not None and file is None,
            num_classes=0,
            in_chans=3 if file else in_channels,
            pos_drop_rate=dropout,
            proj_drop_rate=dropout,
            **transformer,
        )
        if file is not None:
            load(vit, file)
            first = vit.patch_embed.backbone.stem.conv
            if in_channels != first.in_channels:
                first.weight = nn.Parameter(first.weight.sum(1, keepdim=True))
                first.in_channels = in_channels
        for block in vit.blocks:  # the first code has dropout behind the position and in the MLPs, none in attention
            block.attn.proj_drop.p = 0.0
        self.encoder = vit.patch_embed.backbone
        if weights is None:  # timm starts these at zero, the first code at one
            for stage in self.encoder.stages:
                for block in stage.blocks:
                    nn.init.ones_(block.norm3.weight)
        self.embed = vit.patch_embed.proj
        # There is no class token here, so its position goes, too; the others become a map.
        grid = vit.patch_embed.grid_size
        self.position = nn.Parameter(vit.pos_embed[:, 1:].detach().transpose(1, 2).unflatten(2, grid).clone())
        self.dropout, self.blocks, self.norm = vit.pos_drop, vit.blocks, vit.norm
        self.decoder = CascadedUpsampler(vit.embed_dim, [*_SKIPS, 0], decoder_channels)
        self.segmentation_head = nn.Conv2d(decoder_channels[-1], classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C, H, W) of images (B, 1 or 3, H, W); H and W are multiples of 16."""
        encoder: Any = self.encoder
        stem, stages = encoder.stem, encoder.stages
        features = [stem.norm(stem.conv(images))]
        maps = stem.pool(features[0])
        for stage in stages:
            maps = stage(maps)
            features.append(maps)
        maps = with_positions(self.embed(features.pop()), self.position)
        tokens = self.norm(self.blocks(self.dropout(maps.flatten(2).transpose(1, 2))))
        deepest = tokens.transpose(1, 2).reshape(maps.shape)
        logits: Tensor = self.segmentation_head(self.decoder([*features, deepest]))
        return logits
