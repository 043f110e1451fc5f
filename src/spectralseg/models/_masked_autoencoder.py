"""Masked autoencoder (He et al. 2022, arXiv 2111.06377) and its residual map.

Images are split into patches, an encoder sees some of them, and a decoder reconstructs the hidden ones. The residual
map is the difference of image and reconstruction on hidden patches: it is large where the image is not what its context
suggests, such as at lesions.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from spectralseg.errors import InputError
from spectralseg.loading import read_tensors, reading
from spectralseg.patches import Sizes

BANK = 64  # residual maps of training images that a checkpoint holds


class MaskedAutoencoder(nn.Module):
    """Vision transformer that reconstructs hidden patches; it has no class token.

    Positions are fixed sines and cosines, added before patches are hidden, so that images may have any size.

    Args:
        in_channels: channels of the images.
        sizes: of the networks.

    Raises:
        InputError: the sizes do not fit each other.
    """

    def __init__(self, in_channels: int, sizes: Sizes) -> None:
        super().__init__()
        sizes.check()
        self.patch, self.sizes = sizes.patch, sizes
        pixels = in_channels * sizes.patch**2
        self.embed = nn.Linear(pixels, sizes.width)
        self.blocks = _blocks(sizes.width, sizes.layers, sizes.heads)
        self.norm = nn.LayerNorm(sizes.width, eps=1e-6)
        self.decoder_embed = nn.Linear(sizes.width, sizes.decoder_width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, sizes.decoder_width))
        self.decoder_blocks = _blocks(sizes.decoder_width, sizes.decoder_layers, sizes.decoder_heads)
        self.decoder_norm = nn.LayerNorm(sizes.decoder_width, eps=1e-6)
        self.predict = nn.Linear(sizes.decoder_width, pixels)
        self.apply(_initialise)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, images: Tensor, visible: Tensor) -> Tensor:
        """Reconstruct all patches from the visible ones.

        Args:
            images: (B, C, S, S).
            visible: indices (B, V) of the visible patches of each image.

        Returns:
            Patches (B, L, C · patch²), as :func:`patchify` arranges them; those of visible patches are not trained.
        """
        patches = patchify(images, self.patch)
        tokens = self.embed(patches) + _positions(images, self.patch, self.sizes.width)
        rows = torch.arange(len(images), device=images.device)[:, None]
        encoded = self.decoder_embed(self.norm(self.blocks(tokens[rows, visible])))
        full = self.mask_token.to(encoded.dtype).repeat(len(images), tokens.shape[1], 1)
        full[rows, visible] = encoded
        full = full + _positions(images, self.patch, self.sizes.decoder_width)
        prediction: Tensor = self.predict(self.decoder_norm(self.decoder_blocks(full)))
        return prediction

    def loss(self, images: Tensor, visible: Tensor) -> Tensor:
        """Mean squared error of the hidden pixels, a scalar; images and patches as in :meth:`forward`."""
        error = (self(images, visible).float() - patchify(images, self.patch).float()).square().mean(2)
        hidden = hidden_patches(visible, error.shape[1])
        mean: Tensor = (error * hidden).sum() / hidden.sum()
        return mean


def patchify(images: Tensor, patch: int) -> Tensor:
    """Images (B, C, H, W) to patches (B, L, patch² · C), row by row; within a patch: row, column, channel."""
    batch, channels, height, width = images.shape
    patches = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def unpatchify(patches: Tensor, patch: int, side: int) -> Tensor:
    """The inverse of :func:`patchify` for square images: (B, L, patch² · C) to (B, C, side, side)."""
    grid = side // patch
    tiles = patches.reshape(len(patches), grid, grid, patch, patch, -1)
    return tiles.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), -1, side, side)


def hidden_patches(visible: Tensor, patches: int) -> Tensor:
    """1 for hidden and 0 for visible patches (B, L), of the indices (B, V) of visible patches."""
    ones = torch.ones(len(visible), patches, device=visible.device)
    return ones.scatter(1, visible, 0.0)


def random_visible(count: int, patches: int, groups: int, device: torch.device) -> Tensor:
    """Indices (count, patches / groups) of visible patches, drawn for each image without replacement."""
    return torch.rand(count, patches, device=device).argsort(1)[:, : patches // groups]


@functools.cache
def partition(patches: int, groups: int) -> Tensor:
    """A random but fixed partition of the patches into equal groups: indices (groups, patches / groups)."""
    generator = torch.Generator("cpu").manual_seed(0)
    order = torch.randperm(patches, generator=generator, device="cpu")  # cached, so whatever the default device
    return order.reshape(groups, -1).sort(1).values


def _positions(images: Tensor, patch: int, width: int) -> Tensor:
    """Position embedding (1, L, width) of the patches of images (B, C, H, W)."""
    return _embedding(images.shape[-2] // patch, images.shape[-1] // patch, width, images.device)


@functools.lru_cache(maxsize=8)
def _embedding(rows: int, columns: int, width: int, device: torch.device) -> Tensor:
    return build_sincos2d_pos_embed([rows, columns], width, device=device)[None]


class ResidualMap(nn.Module):
    r"""Residual map :math:`E(u) = \sum_g h_g(u) \cdot |x(u) - \hat x_g(u)| / \sum_g h_g(u)` of a masked autoencoder.

    The patches are partitioned into G groups. In pass g only group g is visible, :math:`h_g` is 1 on hidden patches,
    and the absolute difference is averaged over channels. Every patch is hidden G - 1 times. Images are processed one
    at a time in single precision, so that a map depends on its image only, not on the other images of a batch.

    The map is divided by ``scale``, a percentile of the maps of the training images, and clipped to [0, 1].

    Args:
        autoencoder: the masked autoencoder.
        side: height and width of the images on which it was trained, in pixels; None if it is untrained.
    """

    scale: Tensor
    bank: Tensor

    def __init__(self, autoencoder: MaskedAutoencoder, side: int | None = None) -> None:
        super().__init__()
        self.autoencoder, self.side = autoencoder, side
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("bank", torch.zeros(BANK, side or 0, side or 0, dtype=torch.uint8))

    @torch.no_grad()
    def raw(self, images: Tensor) -> Tensor:
        """E without scale (B, 1, S, S), float32, of standardised images (B, C, S, S).

        Raises:
            InputError: the images have another size than those of the training, or patches do not tile them.
        """
        if self.side is not None and images.shape[-2:] != (self.side, self.side):
            raise InputError(
                f"the masked autoencoder was trained on images of {self.side} x {self.side} pixels, but these have "
                f"{images.shape[-2]} x {images.shape[-1]}; pretrain at this size"
            )
        sizes = self.autoencoder.sizes
        groups = partition(sizes.patches(images.shape[-1]), sizes.groups).to(images.device)
        with torch.autocast(images.device.type, enabled=False):
            return torch.stack([self._raw(image, groups) for image in images.float()])

    def _raw(self, image: Tensor, groups: Tensor) -> Tensor:
        passes = image.expand(len(groups), *image.shape).contiguous()
        patch = self.autoencoder.patch
        error = (self.autoencoder(passes, groups) - patchify(passes, patch)).abs()
        error = error.unflatten(2, (patch * patch, -1)).mean(3)  # over channels
        hidden = hidden_patches(groups, error.shape[1])[..., None]
        mean = (error * hidden).sum(0) / hidden.sum(0)
        return unpatchify(mean[None], patch, image.shape[-1])[0]

    @torch.no_grad()
    def reconstruction(self, images: Tensor) -> Tensor:
        """Mean reconstruction (B, C, S, S) of the passes in which a patch is hidden, of standardised images."""
        sizes, side = self.autoencoder.sizes, images.shape[-1]
        groups = partition(sizes.patches(side), sizes.groups).to(images.device)
        total = torch.zeros_like(patchify(images.float(), sizes.patch))
        for group in groups:
            visible = group.expand(len(images), -1)
            hidden = hidden_patches(visible, total.shape[1])[..., None]
            total += self.autoencoder(images.float(), visible) * hidden
        return unpatchify(total / (len(groups) - 1), sizes.patch, side)

    def forward(self, images: Tensor) -> Tensor:
        """Scaled maps (B, 1, S, S) in [0, 1], of standardised images (B, C, S, S)."""
        return (self.raw(images) / self.scale).clamp(0, 1)

    def of_other_cases(self, images: Tensor) -> Tensor:
        """Maps of training images (B, 1, S, S) in [0, 1], each chosen by the content of an image alone."""
        brightness = images.float().abs().mean((1, 2, 3))
        index = (brightness * 2.0**16).long() % len(self.bank)
        return self.bank[index][:, None].float() / 255


def as_buffers(module: nn.Module) -> nn.Module:
    """Freeze a module: its parameters become buffers that move with the module but are neither trained nor saved."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach(), persistent=False)
        part._non_persistent_buffers_set.update(part._buffers)
    return module.eval()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw weights of a fixed seed inside the block, and leave torch's random numbers as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _blocks(width: int, layers: int, heads: int) -> nn.Sequential:
    norm: Any = functools.partial(nn.LayerNorm, eps=1e-6)
    return nn.Sequential(*(Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in range(layers)))


def _initialise(module: nn.Module) -> None:
    """Xavier weights and zero biases of linear layers, as He et al. use."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def untrained_map(in_channels: int, sizes: Sizes, side: int | None = None) -> ResidualMap:
    """Residual map of a masked autoencoder with random weights of a fixed seed; its scale is 1.

    Examples:
        >>> import torch
        >>> from spectralseg.models import Sizes, untrained_map
        >>> sizes = Sizes(patch=8, width=16, layers=1, heads=2, decoder_width=16, decoder_layers=1, decoder_heads=2)
        >>> residual_map = untrained_map(in_channels=1, sizes=sizes)
        >>> images = torch.zeros(2, 1, 32, 32)  # standardised
        >>> residual_map(images).shape
        torch.Size([2, 1, 32, 32])
    """
    with seeded(0):
        return ResidualMap(MaskedAutoencoder(in_channels, sizes), side)


def load_residual_map(file: Path, in_channels: int) -> ResidualMap:
    """Read the residual map of a file of ``spectralseg pretrain``.

    Raises:
        InputError: the file is missing, damaged, or of images with another number of channels.

    Examples:
        >>> from pathlib import Path
        >>> from spectralseg.models import load_residual_map
        >>> file = Path("pretraining/kvasir_seg/mae/model.pt")  # of 'spectralseg pretrain'
        >>> residual_map = load_residual_map(file, in_channels=3)
        >>> residual_map.side  # of the images in pixels
        32
        >>> load_residual_map(file, in_channels=1)
        Traceback (most recent call last):
            ...
        spectralseg.errors.InputError: ...: was pretrained on images of 3 channels, but these have 1; ...
    """
    what, remedy = "a pretrained masked autoencoder", "run 'spectralseg pretrain' again"
    if not file.is_file():
        raise InputError(f"{file}: the pretrained masked autoencoder is missing; run 'spectralseg pretrain'")
    content = read_tensors(file, what, remedy, {"best": dict, "sizes": dict, "channels": int, "side": int})
    if content["channels"] != in_channels:
        raise InputError(
            f"{file}: was pretrained on images of {content['channels']} channels, but these have {in_channels}; "
            "pretrain on this dataset"
        )
    with reading(file, what, remedy):
        residual_map = untrained_map(in_channels, Sizes(**content["sizes"]), content["side"])
        residual_map.load_state_dict(content["best"])
    return residual_map
