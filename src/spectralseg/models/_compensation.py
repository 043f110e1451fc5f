"""Global and regional compensation units, and a U-Net decoder that has them; see :mod:`spectralseg.models.grcsf`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from timm.layers.squeeze_excite import SEModule
from torch import Tensor, nn
from torch.nn import functional

from spectralseg.patches import check_windows

_EPS = 1e-6  # of the cosine similarity
_HIDDEN = 64  # units of the importance score


class GlobalUnit(nn.Module):
    r"""Global compensation unit: :math:`F + M \odot F`, with a map M of what down-sampling lost.

    M is 1 - cos(SE(F), SE(R)) over the channels, from 0 to 2, where R is the up-sampled deeper map after a 1 × 1
    convolution. M is zero where F can be restored from the deeper map.

    Args:
        channels: of the map F.
        deeper: channels of the deeper map.
        map_of_loss: ``one_minus_cos``, or ``cos`` for the similarity instead, or ``off`` for M = 0.
        reduction: of squeeze and excitation; None without it.
    """

    def __init__(self, channels: int, deeper: int, map_of_loss: str, reduction: int | None) -> None:
        super().__init__()
        self.map_of_loss = map_of_loss
        self.project = nn.Conv2d(deeper, channels, 1)
        self.excite, self.excite_restored = (_squeeze_and_excitation(channels, reduction) for _ in range(2))

    def loss_map(self, features: Tensor, deeper: Tensor) -> Tensor:
        """The map M (B, 1, h, w), float32, of F (B, C, h, w) and the deeper map (B, C', h', w')."""
        restored = functional.interpolate(
            self.project(deeper), features.shape[-2:], mode="bilinear", align_corners=False
        )
        pair = self.excite(features).float(), self.excite_restored(restored).float()
        similarity = functional.cosine_similarity(*pair, dim=1, eps=_EPS)[:, None]
        return similarity if self.map_of_loss == "cos" else 1 - similarity

    def forward(self, features: Tensor, deeper: Tensor) -> Tensor:
        """Compensate F (B, C, h, w)."""
        if self.map_of_loss == "off":
            return features
        return features + self.loss_map(features, deeper).to(features.dtype) * features


class RegionUnit(nn.Module):
    r"""Region compensation unit: :math:`X + \sum_ρ s \odot W_ρ A_ρ`, from cross-attention to residual maps.

    Queries are the pixels of X, keys and values the residual map, of which each pixel of X has all stride² values. The
    attention A is computed inside windows. s is one importance score per window, from the mean of X in the window and
    the mean of the deepest map of the encoder. W starts at zero, so that the unit starts as the identity.

    Args:
        channels: of X.
        deepest: channels of the deepest map of the encoder.
        stride: of X.
        maps: number of residual maps.
        window: side of the windows in pixels of X.
        width: of queries, keys and values.
        heads: attention heads.
        importance: whether windows have scores; without them s is 1.
        mix: whether a 3 × 3 convolution with batch norm and ReLU follows.
    """

    def __init__(
        self,
        channels: int,
        deepest: int,
        stride: int,
        maps: int,
        *,
        window: int,
        width: int,
        heads: int,
        importance: bool,
        mix: bool,
    ) -> None:
        super().__init__()
        self.stride, self.window, self.heads = stride, window, heads
        self.query = nn.Linear(channels, width, bias=False)
        self.embed = nn.ModuleList(nn.Conv2d(stride**2, width, 1) for _ in range(maps))
        self.key = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(maps))
        self.value = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(maps))
        self.out = nn.ModuleList(nn.Linear(width, channels, bias=False) for _ in range(maps))
        for weight in self.out.parameters():
            nn.init.zeros_(weight)
        score = (nn.Linear(channels + deepest, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 1), nn.Sigmoid())
        self.importance = nn.Sequential(*score) if importance else None
        convolution = (nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.mix = nn.Sequential(*convolution) if mix else nn.Identity()

    def forward(self, features: Tensor, maps: Tensor, deepest: Tensor) -> Tensor:
        """Compensate X.

        Args:
            features: X (B, C, h, w).
            maps: residual maps (B, number of maps, h · stride, w · stride).
            deepest: deepest map of the encoder (B, C', h', w').

        Raises:
            InputError: the windows do not tile X.
        """
        height, width = features.shape[-2:]
        for side in (height, width):
            check_windows(side * self.stride, [self.stride], self.window)
        pixels = self._windows(features)  # (B, windows, pixels, C)
        query = self._split(self.query(pixels))
        total = torch.zeros_like(pixels)
        for k, (embed, key, value, out) in enumerate(zip(self.embed, self.key, self.value, self.out, strict=True)):
            residuals = functional.pixel_unshuffle(maps[:, k : k + 1], self.stride)
            tokens = self._windows(embed(residuals))
            attended = functional.scaled_dot_product_attention(
                query, self._split(key(tokens)), self._split(value(tokens))
            )
            total = total + out(attended.transpose(2, 3).flatten(3))
        if self.importance is not None:
            total = self.scores(pixels, deepest)[..., None] * total
        compensated: Tensor = self.mix(features + self._to_map(total, height, width))
        return compensated

    def scores(self, pixels: Tensor, deepest: Tensor) -> Tensor:
        """Importance (B, windows, 1) of the windows of ``pixels`` (B, windows, pixels, C)."""
        context = deepest.mean((2, 3))[:, None].expand(-1, pixels.shape[1], -1)
        scores: Tensor = self.importance(torch.cat([pixels.mean(2), context], 2))  # type: ignore[misc]
        return scores

    def _windows(self, features: Tensor) -> Tensor:
        """Windows (B, windows, window², C) of a map (B, C, h, w), row by row."""
        batch, channels, height, width = features.shape
        side = self.window
        tiles = features.reshape(batch, channels, height // side, side, width // side, side)
        return tiles.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, side * side, channels)

    def _to_map(self, windows: Tensor, height: int, width: int) -> Tensor:
        """The inverse of :meth:`_windows`."""
        side = self.window
        tiles = windows.reshape(len(windows), height // side, width // side, side, side, -1)
        return tiles.permute(0, 5, 1, 3, 2, 4).reshape(len(windows), -1, height, width)

    def _split(self, tokens: Tensor) -> Tensor:
        """Heads (B, windows, heads, pixels, width / heads) of tokens (B, windows, pixels, width)."""
        heads: Tensor = tokens.unflatten(3, (self.heads, -1)).transpose(2, 3)
        return heads


class CompensatingDecoder(UnetDecoder):  # type: ignore[misc]
    """Decoder of the U-Net with compensation units.

    Args:
        encoder_channels: channels of the encoder's maps, from the image to the deepest map.
        decoder_channels: channels of the decoder's maps, from deep to shallow.

    Attributes:
        global_units: applied to the skip connection of a block, by the number of the block.
        region_units: applied to the output of a block, by the number of the block.
        from_decoder: whether global units compare with the input of the block instead of the encoder's next map.
    """

    def __init__(self, encoder_channels: Sequence[int], decoder_channels: Sequence[int]) -> None:
        super().__init__(list(encoder_channels), list(decoder_channels), len(decoder_channels))
        self.from_decoder = False
        self.global_units = nn.ModuleDict()
        self.region_units = nn.ModuleDict()

    def forward(self, features: list[Tensor], maps: Tensor | None = None) -> Tensor:
        """Decode the encoder's maps, from the image to the deepest, with residual maps (B, number, H, W)."""
        sizes = [feature.shape[2:] for feature in features[::-1]]
        deepest, *skips = features[:0:-1]
        decoded: Tensor = self.center(deepest)
        for number, block in enumerate(self.blocks):
            name = str(number)
            skip = skips[number] if number < len(skips) else None
            if skip is not None and name in self.global_units:
                deeper = decoded if self.from_decoder else features[len(features) - 1 - number]
                skip = self.global_units[name](skip, deeper)
            decoded = block(decoded, *sizes[number + 1], skip_connection=skip)
            if name in self.region_units:
                decoded = self.region_units[name](decoded, maps, deepest)
        return decoded


def _squeeze_and_excitation(channels: int, reduction: int | None) -> nn.Module:
    if reduction is None:
        return nn.Identity()
    return SEModule(channels, rd_channels=max(1, channels // reduction))
