"""GRCSF-style network: a U-Net with global and regional feature compensation (arXiv 2502.08675).

The authors of the paper published no code, and only its abstract could be read. This is one reading of it, with its
parts as options; docs/grcsf.md gives the formulas and the assumptions.

- Global compensation units amplify in the skip connections what down-sampling lost.
- Region compensation units add to maps of the decoder what residual maps of masked autoencoders show, by
  cross-attention inside windows, weighted by the importance of each window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from torch import Tensor, nn
from torch.nn import functional

from spectralseg.errors import InputError
from spectralseg.models._compensation import CompensatingDecoder, GlobalUnit, RegionUnit
from spectralseg.models._masked_autoencoder import ResidualMap, as_buffers, load_residual_map, untrained_map
from spectralseg.models._weights import with_weights
from spectralseg.patches import STRIDES, WINDOW, Sizes

_CHOICES = {
    "gcu_map": ("one_minus_cos", "cos", "off"),
    "gcu_source": ("encoder", "decoder"),
    "map_role": ("attention", "channels"),
    "map_source": ("own", "other"),
}


def build(
    in_channels: int,
    classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    gcu: bool = True,
    gcu_map: str = "one_minus_cos",
    gcu_source: str = "encoder",
    gcu_se: bool = True,
    gcu_reduction: int = 16,
    rcu: bool = True,
    rcu_strides: Sequence[int] = STRIDES,
    rcu_window: int = WINDOW,
    rcu_width: int = 64,
    rcu_heads: int = 8,
    rcu_importance: bool = True,
    rcu_mix: bool = False,
    map_role: str = "attention",
    map_source: str = "own",
    decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
    mae: Sequence[Path] = (),
    mae_ratios: Sequence[float] = (0.5, 0.75),
    mae_patch: int = 16,
    mae_width: int = 384,
    mae_layers: int = 12,
    mae_heads: int = 6,
    mae_decoder_width: int = 256,
    mae_decoder_layers: int = 4,
    mae_decoder_heads: int = 8,
) -> nn.Module:
    """GRCSF-style network; with ``resnet50``, 1 channel and 1 class it has 36.2 M trained parameters.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        encoder: encoder of segmentation-models-pytorch.
        encoder_weights: its pretrained weights.
        gcu: use global compensation units.
        gcu_map: what a unit multiplies a skip connection with: one minus the cosine similarity of the map and the
            restored one, the similarity, or zero.
        gcu_source: whether the deeper map, from which the map is restored, is of the encoder or of the decoder.
        gcu_se: apply squeeze and excitation to both maps before they are compared.
        gcu_reduction: reduction of squeeze and excitation.
        rcu: use region compensation units.
        rcu_strides: strides of the decoder maps that have a unit, among 16, 8, 4, 2 and 1 with five stages.
        rcu_window: side of the attention windows in pixels of the decoder map; windows must tile each map.
        rcu_width: width of queries, keys and values.
        rcu_heads: attention heads, a divisor of the width.
        rcu_importance: weight each window by an importance score.
        rcu_mix: apply a 3 × 3 convolution with batch norm and ReLU after each unit.
        map_role: residual maps are the keys and values of region units, or further input channels of the encoder,
            which excludes region units.
        map_source: residual maps of the image itself, or, as a control, of training images.
        decoder_channels: channels of the decoder maps, from deep to shallow; one per stage of the encoder.
        mae: files of ``spectralseg pretrain``, one per residual map; empty for untrained masked autoencoders with a
            fixed seed, the sizes below and maps without scale.
        mae_ratios: mask ratio of each residual map.
        mae_patch: side of the patches in pixels.
        mae_width: width of the encoder of the masked autoencoder.
        mae_layers: its layers.
        mae_heads: its attention heads.
        mae_decoder_width: width of the decoder of the masked autoencoder.
        mae_decoder_layers: its layers.
        mae_decoder_heads: its attention heads.

    Raises:
        InputError: an option is not valid, options exclude each other, or a masked autoencoder cannot be loaded.
    """
    for option, value in {
        "gcu_map": gcu_map,
        "gcu_source": gcu_source,
        "map_role": map_role,
        "map_source": map_source,
    }.items():
        if value not in _CHOICES[option]:
            raise InputError(f"option '{option}' cannot be {value!r}; give one of {', '.join(_CHOICES[option])}")
    if rcu and map_role == "channels":
        raise InputError("option 'map_role': input channels replace region units; set 'rcu' to false")
    if map_source == "other" and not mae:
        raise InputError("option 'map_source': pretraining stores the maps of other cases; name it under 'pretrained'")
    if rcu_width % rcu_heads:
        raise InputError(f"option 'rcu_width' is {rcu_width}; it must be a multiple of 'rcu_heads', {rcu_heads}")
    depth = len(decoder_channels)

    def encoder_of(weights: str | None, channels: int, **options: Any) -> Any:
        return smp.encoders.get_encoder(encoder, channels, depth, weights, **options)

    features = with_weights(encoder_of, encoder, encoder_weights, in_channels)
    channels = list(features.out_channels)
    maps: list[ResidualMap] = []
    if rcu or map_role == "channels":
        sizes = (mae_patch, mae_width, mae_layers, mae_heads, mae_decoder_width, mae_decoder_layers, mae_decoder_heads)
        maps = [load_residual_map(file, in_channels) for file in mae] or [
            untrained_map(in_channels, Sizes(ratio, *sizes)) for ratio in mae_ratios
        ]
    decoder = CompensatingDecoder(channels, decoder_channels)
    initialize_decoder(decoder)
    if gcu:
        reduction = gcu_reduction if gcu_se else None
        decoder.global_units.update(_global_units(channels, decoder_channels, gcu_map, gcu_source, reduction))
        decoder.from_decoder = gcu_source == "decoder"
    if rcu:
        numbers = _blocks_of(rcu_strides, depth)
        sizes_of_units = {"maps": len(maps), "window": rcu_window, "width": rcu_width, "heads": rcu_heads}
        decoder.region_units.update(
            {
                str(number): RegionUnit(
                    decoder_channels[number],
                    channels[-1],
                    stride,
                    **sizes_of_units,
                    importance=rcu_importance,
                    mix=rcu_mix,
                )
                for stride, number in numbers.items()
            }
        )
    if map_role == "channels":
        accept_channels(features, in_channels, len(maps))
    head = smp.base.SegmentationHead(decoder_channels[-1], classes)
    initialize_head(head)
    return Grcsf(features, decoder, head, maps, map_role=map_role, map_source=map_source)


def _global_units(
    channels: Sequence[int], decoder_channels: Sequence[int], map_of_loss: str, source: str, reduction: int | None
) -> dict[str, GlobalUnit]:
    """Units of the skip connections, by number of the decoder block; some encoders have no map at stride 2."""
    depth = len(decoder_channels)
    skips = {number: channels[depth - 1 - number] for number in range(depth - 1)}
    deeper = channels[:0:-1] if source == "encoder" else [channels[-1], *decoder_channels]
    return {
        str(number): GlobalUnit(skip, deeper[number], map_of_loss, reduction) for number, skip in skips.items() if skip
    }


def _blocks_of(strides: Sequence[int], depth: int) -> dict[int, int]:
    """Number of the decoder block whose output has a stride, by stride.

    Raises:
        InputError: no block has the stride.
    """
    blocks = {2 ** (depth - 1 - number): number for number in range(depth)}
    for stride in strides:
        if stride not in blocks:
            raise InputError(f"option 'rcu_strides': {stride} is not a stride of the decoder, {list(blocks)}")
    return {stride: blocks[stride] for stride in strides}


class Grcsf(nn.Module):
    """Encoder, decoder with compensation units, and frozen residual maps.

    The masked autoencoders are part of the model, so that each image gets maps of its own, corrupted images included.
    They are not trained and not among its saved weights.

    Args:
        encoder: encoder of segmentation-models-pytorch.
        decoder: gets the encoder's maps and the residual maps.
        segmentation_head: convolution to logits.
        maps: residual maps.
        map_role: ``attention`` or ``channels``.
        map_source: ``own`` or ``other``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: CompensatingDecoder,
        segmentation_head: nn.Module,
        maps: Sequence[ResidualMap],
        *,
        map_role: str,
        map_source: str,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.segmentation_head = encoder, decoder, segmentation_head
        self.maps = as_buffers(nn.ModuleList(maps))
        self.map_role, self.map_source = map_role, map_source

    def train(self, mode: bool = True) -> Grcsf:
        """Set the training mode; the masked autoencoders stay in evaluation mode."""
        super().train(mode)
        self.maps.eval()
        return self

    def residual_maps(self, images: Tensor) -> Tensor | None:
        """Residual maps (B, number, H, W) in [0, 1] of standardised images (B, C, H, W); None if there are none."""
        own = self.map_source == "own"
        maps = [m(images) if own else m.of_other_cases(images) for m in self._residual_maps()]
        return torch.cat(maps, 1) if maps else None

    def _residual_maps(self) -> list[ResidualMap]:
        return list(cast("Sequence[ResidualMap]", self.maps))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes, H, W) of standardised images (B, C, H, W)."""
        maps = self.residual_maps(images)
        inputs = images
        if self.map_role == "channels" and maps is not None:
            inputs = torch.cat([images, maps.to(images.dtype)], 1)
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(inputs), maps))
        return logits

    def inner_maps(self, images: Tensor) -> dict[str, Tensor]:
        """What the network uses on its way from standardised images (B, C, H, W) to logits, by name, for figures.

        Returns:
            Reconstructions (B, C, H, W), standardised; residual maps (B, H, W) in [0, 1]; importance scores of windows
            (B, H, W) in (0, 1). In this order, those that the network has.
        """
        scores: dict[str, Tensor] = {}
        with ExitStack() as stack:
            for unit in cast("Iterable[RegionUnit]", self.decoder.region_units.values()):
                if unit.importance is not None:
                    name = f"importance, stride {unit.stride}"

                    def keep(_: nn.Module, __: Any, output: Tensor, name: str = name) -> None:
                        scores[name] = output

                    stack.callback(unit.importance.register_forward_hook(keep).remove)
            self(images)
        maps: dict[str, ResidualMap] = {}
        for residual_map in self._residual_maps():
            ratio = f"{100 * residual_map.autoencoder.sizes.mask_ratio:g} %"
            maps[f"{ratio}, map {len(maps) + 1}" if ratio in maps else ratio] = residual_map
        inner: dict[str, Tensor] = {}
        if self.map_source == "own":
            inner |= {f"reconstruction, {ratio}": m.reconstruction(images) for ratio, m in maps.items()}
        residuals = self.residual_maps(images)
        if residuals is not None:
            inner |= {f"residual, {ratio}": residuals[:, k] for k, ratio in enumerate(maps)}
        for name, values in scores.items():
            grid = values.reshape(len(images), 1, *[round(values.shape[1] ** 0.5)] * 2)
            inner[name] = functional.interpolate(grid.float(), images.shape[-2:])[:, 0]
        return inner


def accept_channels(encoder: nn.Module, channels: int, further: int) -> None:
    """Let the first convolution of an encoder take ``further`` input channels, with weights that start at zero."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == channels:
            zeros = torch.zeros(module.out_channels, further, *module.kernel_size)
            module.weight = nn.Parameter(torch.cat([module.weight.detach(), zeros], 1))
            module.in_channels = channels + further
            return
    raise InputError(f"the encoder has no convolution of {channels} channels to which residual maps can be added")
