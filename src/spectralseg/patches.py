"""Sizes of masked autoencoders and of attention windows, and how they split images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spectralseg.errors import InputError

STRIDES = (16, 8, 4)  # of the decoder maps that have a region compensation unit, unless configured
WINDOW = 7  # side of its windows in pixels of the map, unless configured


def check_windows(side: int, strides: Sequence[int] = STRIDES, window: int = WINDOW) -> None:
    """Check that attention windows tile the decoder maps of images of ``side`` x ``side`` pixels.

    Raises:
        InputError: names the map and what to change.
    """
    for stride in strides:
        size = side // stride
        if not size:
            raise InputError(f"images of {side} x {side} pixels have no map at stride {stride}; correct 'rcu_strides'")
        if side % (stride * window):
            raise InputError(
                f"windows of {window} pixels do not tile the {size} x {size} map at stride {stride} of images of "
                f"{side} x {side} pixels; use a multiple of {stride * window} for 'image_size', or change 'rcu_window' "
                "or 'rcu_strides'"
            )


@dataclass(frozen=True)
class Sizes:
    """Sizes of a masked autoencoder.

    Attributes:
        mask_ratio: share of hidden patches ρ. 1/(1 - ρ) must be a whole number G, as the patches are partitioned into G
            groups of which one is visible at a time.
        patch: side of a patch in pixels.
        width, layers, heads: of the encoder.
        decoder_width, decoder_layers, decoder_heads: of the decoder.

    Examples:
        >>> from spectralseg.models import Sizes
        >>> sizes = Sizes(mask_ratio=0.75, patch=16)
        >>> sizes.groups, sizes.patches(224)
        (4, 196)
        >>> sizes.patches(200)
        Traceback (most recent call last):
            ...
        spectralseg.errors.InputError: patches of 16 pixels do not tile images of 200 x 200 pixels; ...
    """

    mask_ratio: float = 0.75
    patch: int = 16
    width: int = 384
    layers: int = 12
    heads: int = 6
    decoder_width: int = 256
    decoder_layers: int = 4
    decoder_heads: int = 8

    @property
    def groups(self) -> int:
        """Number of groups G of the patches."""
        return round(1 / (1 - self.mask_ratio))

    def as_dict(self) -> dict[str, Any]:
        """The sizes as plain values."""
        return asdict(self)

    def check(self) -> None:
        """Check that the sizes fit each other.

        Raises:
            InputError: names the size and what to change.
        """
        groups = 1 / (1 - self.mask_ratio) if 0 < self.mask_ratio < 1 else 0.0
        if groups < 1.5 or abs(groups - round(groups)) > 1e-6:
            raise InputError(
                f"mask ratio {self.mask_ratio}: 1 / (1 - ratio) must be a whole number of 2 or more; give 0.5 or 0.75"
            )
        for key, heads in (("width", self.heads), ("decoder_width", self.decoder_heads)):
            width = getattr(self, key)
            if width % heads or width % 4:
                raise InputError(f"'{key}' is {width}; give a multiple of 4 and of its {heads} heads")

    def patches(self, side: int) -> int:
        """Number of patches of an image of ``side`` x ``side`` pixels.

        Raises:
            InputError: patches do not tile the image, or cannot be partitioned into equal groups.
        """
        if side % self.patch:
            raise InputError(
                f"patches of {self.patch} pixels do not tile images of {side} x {side} pixels; change 'patch' or "
                "'image_size'"
            )
        patches = (side // self.patch) ** 2
        if patches % self.groups:
            raise InputError(
                f"{patches} patches of {self.patch} pixels cannot be partitioned into {self.groups} equal groups (mask "
                f"ratio {self.mask_ratio}); change 'patch' or 'mask_ratio'"
            )
        return patches
