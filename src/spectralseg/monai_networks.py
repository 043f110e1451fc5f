"""Networks of MONAI that segment images, one row each.

Listed are those that take 2-D images with one or three channels and return raw logits of the size of the images.
Importing this module imports neither MONAI nor torch; a test compares the table with the library.

Where MONAI has no default, or one for volumes, the defaults are those of a 2-D network of moderate size: 32 channels in
the first level, doubled in each further level up to 512, as in nnU-Net. Sizes that a publication names are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_Options = Mapping[str, Any]
_Divisor = Callable[[_Options], int]


def _always(divisor: int) -> _Divisor:
    return lambda options: divisor


def _product(option: str) -> _Divisor:
    """The product of the strides that an option lists, each a number or one number per axis."""

    def divisor(options: _Options) -> int:
        sides = [(stride, stride) if isinstance(stride, int) else (stride[0], stride[1]) for stride in options[option]]
        return math.lcm(*(math.prod(strides) for strides in zip(*sides, strict=True)))

    return divisor


def _halvings(option: str, levels: int = 0) -> _Divisor:
    """Two to the power of the length of an option plus ``levels``."""
    return lambda options: 2 ** (len(options[option]) + levels)


def _power(option: str, exponent: int) -> _Divisor:
    return lambda options: options[option] ** exponent


@dataclass(frozen=True)
class FeatureMap:
    """Where a network has a feature map, for class activation maps.

    Attributes:
        module: regular expression of the name of a submodule; the last one that matches counts, which is the innermost
            of nested ones.
        side: ``output`` or ``input`` of the submodule; of several tensors, the last output or the first input.
    """

    module: str
    side: str = "output"


@dataclass(frozen=True)
class MonaiNetwork:
    """How a network of MONAI is built, and which images it takes.

    Attributes:
        file: its module in ``monai.networks.nets``, from which the names of its options are read.
        deepest: the last feature map that enters its decoder.
        decoder: the feature map from which its last layers compute the logits.
        divisor: function of the options that returns the number of pixels by which sides must be divisible.
        defaults: options that differ from the defaults of MONAI.
        unused: regular expression of the names of submodules whose output the logits do not depend on.
        size: argument that takes the side of the images.
        encoders: names of the encoders that the argument ``backbone`` takes, each with the names of its weights.
        packages: optional dependencies of MONAI that the network needs.
    """

    file: str
    deepest: FeatureMap
    decoder: FeatureMap
    divisor: _Divisor
    defaults: _Options = field(default_factory=dict)
    unused: str | None = None
    size: str | None = None
    encoders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    packages: tuple[str, ...] = ()


_LEVELS = {"channels": (32, 64, 128, 256, 512), "strides": (2, 2, 2, 2)}
_ENCODERS: dict[str, tuple[str, ...]] = {
    **{f"efficientnet-b{number}": ("imagenet",) for number in range(8)},
    **dict.fromkeys(("efficientnet-b8", "efficientnet-l2"), ()),
    **{f"resnet{layers}": () for layers in (10, 18, 34, 50, 101, 152, 200)},  # MONAI has weights for volumes only
}

NETWORKS: dict[str, MonaiNetwork] = {
    "AttentionUnet": MonaiNetwork(
        "attentionunet", FeatureMap(r".*\.submodule"), FeatureMap(r"model\.1"), _product("strides"), _LEVELS
    ),
    "BasicUNet": MonaiNetwork(
        "basic_unet",
        FeatureMap("down_4"),
        FeatureMap("upcat_1"),
        _always(16),
        {"features": (32, 64, 128, 256, 512, 32)},
    ),
    "BasicUNetPlusPlus": MonaiNetwork(
        "basic_unetplusplus",
        FeatureMap("conv_4_0"),
        FeatureMap("upcat_0_4"),
        _always(16),
        {"features": (32, 64, 128, 256, 512, 32)},
        unused="final_conv_0_[123]",  # heads of deep supervision
    ),
    "DynUNet": MonaiNetwork(
        "dynunet",
        FeatureMap("bottleneck"),
        FeatureMap("skip_layers"),
        _product("strides"),
        {
            "kernel_size": (3, 3, 3, 3, 3, 3),
            "strides": (1, 2, 2, 2, 2, 2),
            "upsample_kernel_size": (2, 2, 2, 2, 2),
        },
    ),
    "FlexibleUNet": MonaiNetwork(
        "flexible_unet",
        FeatureMap("encoder"),
        FeatureMap("decoder"),
        _always(1),  # it pads
        unused=r"encoder\.(_conv_head|_bn1|_fc|fc)",  # of the classifier
        encoders=_ENCODERS,
    ),
    "MedNeXt": MonaiNetwork(
        "mednext",
        FeatureMap("bottleneck"),
        FeatureMap(r"dec_stages\.\d+"),
        _halvings("blocks_down"),
        {"kernel_size": 3, "use_residual_connection": True, "blocks_down": (2, 2, 2, 2)},  # MedNeXt-S
    ),
    "SegResNet": MonaiNetwork(
        "segresnet",
        FeatureMap(r"down_layers\.\d+"),
        FeatureMap(r"up_layers\.\d+"),
        _halvings("blocks_down", -1),
        {"init_filters": 32, "blocks_down": (1, 2, 2, 4)},
    ),
    "SegResNetDS": MonaiNetwork(
        "segresnet_ds",
        FeatureMap(r"encoder\.layers\.\d+\.blocks"),
        FeatureMap(r"up_layers\.\d+\.blocks"),
        _halvings("blocks_down", -1),
        {"blocks_down": (1, 2, 2, 4)},
    ),
    "SwinUNETR": MonaiNetwork(
        "swin_unetr",
        FeatureMap("encoder10"),
        FeatureMap("decoder1"),
        _power("patch_size", 5),
        {"feature_size": 48, "patch_size": 2},
        packages=("einops",),
    ),
    "UNETR": MonaiNetwork(
        "unetr",
        FeatureMap("decoder5", "input"),
        FeatureMap("decoder2"),
        _always(16),
        unused=r"vit\.blocks\.\d+\.norm_cross_attn",
        size="img_size",
        packages=("einops",),
    ),
    "UNet": MonaiNetwork(
        "unet",
        FeatureMap(r".*\.submodule"),
        FeatureMap(r"model\.2", "input"),  # its last block upsamples and computes the logits
        _product("strides"),
        {**_LEVELS, "num_res_units": 2},
    ),
}

# Arguments that follow from the contract of models, where a network has them.
CONTRACT = {"spatial_dims": 2, "deep_supervision": False, "dsdepth": 1, "use_conv_final": True}

# Arguments that are not options, each with a remedy.
NO_OPTIONS = {
    **dict.fromkeys(("in_channels", "out_channels"), "it follows from the dataset; leave it out"),
    "spatial_dims": "images have two dimensions; leave it out",
    **dict.fromkeys(("deep_supervision", "deep_supr_num", "dsdepth"), "models return one map of logits; leave it out"),
    "use_conv_final": "models return logits; leave it out",
    "img_size": "it follows from 'image_size'; leave it out",
    "backbone": "give it as the key 'encoder'",
    "pretrained": "give weights as the key 'encoder_weights'",
    "resolution": "pixels are taken as square; leave it out",
    **dict.fromkeys(("norm_layer", "preprocess"), "it is Python code, which cannot be configured; leave it out"),
}


def divisor_of(network: MonaiNetwork, options: _Options) -> int | None:
    """Number of pixels by which the sides of images must be divisible; None if an option has a value of another type.

    Args:
        network: a row of :data:`NETWORKS`.
        options: options of the user.
    """
    try:
        divisor = network.divisor({**network.defaults, **options})
    except (IndexError, OverflowError, TypeError, ValueError):
        return None
    return divisor if isinstance(divisor, int) and divisor > 0 else None


def options_of(parameters: Iterable[str]) -> tuple[str, ...]:
    """The parameters of a constructor that are options."""
    return tuple(name for name in parameters if name != "self" and name not in NO_OPTIONS)
