"""Networks of MONAI for 2-D images, as listed in :mod:`spectralseg.monai_networks`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectralseg import registry
from spectralseg.errors import InputError
from spectralseg.models._weights import adapted, file_of, load, read
from spectralseg.monai_networks import CONTRACT, FeatureMap, MonaiNetwork


class Network(nn.Module):
    """A network of MONAI that returns its logits and nothing else.

    Attributes:
        feature_maps: the features of class activation maps: for each layer of
            :data:`spectralseg.interpretation.cam.LAYERS`, the name of a submodule and ``input`` or ``output``.
    """

    def __init__(self, network: nn.Module, feature_maps: Mapping[str, tuple[str, str]]) -> None:
        super().__init__()
        self.network = network
        self.feature_maps = {layer: (f"network.{module}", side) for layer, (module, side) in feature_maps.items()}

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes, H, W) of images (B, in_channels, H, W)."""
        logits = self.network(images)
        return logits if isinstance(logits, Tensor) else logits[-1]  # networks with deep supervision return a list


def build(
    name: str,
    image_size: int | None,
    in_channels: int,
    classes: int,
    encoder: str,
    encoder_weights: str | None,
    **options: Any,
) -> Network:
    """Build a network with the defaults of the table; see :func:`spectralseg.models.build_model`.

    Raises:
        InputError: a package is missing, the network needs ``image_size``, or encoder or weights are not valid.
    """
    row = registry.monai_network(name)
    assert row is not None  # build_model has checked the name
    _refuse_missing_packages(name, row)
    _refuse_encoder(name, row, encoder, encoder_weights)
    if row.size and image_size is None:
        raise InputError(f"model '{name}' is built for images of one size; give 'image_size'")
    constructor = getattr(importlib.import_module("monai.networks.nets"), name.rpartition(":")[2])
    parameters = inspect.signature(constructor).parameters
    arguments: dict[str, Any] = {**row.defaults, **options, "out_channels": classes}
    arguments |= {key: value for key, value in CONTRACT.items() if key in parameters}
    if row.size:
        arguments[row.size] = image_size
    if row.encoders:
        arguments["backbone"] = encoder

    def create(channels: int, **further: Any) -> nn.Module:
        return _without(row.unused, constructor(in_channels=channels, **arguments, **further))

    network = _with_weights(create, encoder, encoder_weights, in_channels) if row.encoders else create(in_channels)
    return Network(network, {"deepest": _place(network, row.deepest), "decoder": _place(network, row.decoder)})


def _without(pattern: str | None, network: nn.Module) -> nn.Module:
    """The network without the submodules whose names match a regular expression."""
    names = [name for name, _ in network.named_modules() if pattern and re.fullmatch(pattern, name)]
    for name in names:
        network.set_submodule(name, nn.Identity())
    return network


def _place(network: nn.Module, feature_map: FeatureMap) -> tuple[str, str]:
    """The submodule that a row of the table describes, and its side."""
    names = [name for name, _ in network.named_modules() if re.fullmatch(feature_map.module, name)]
    return names[-1], feature_map.side


def _refuse_missing_packages(name: str, row: MonaiNetwork) -> None:
    for package in row.packages:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"model '{name}' needs the package '{package}'; run 'pip install {package}'")


def _refuse_encoder(name: str, row: MonaiNetwork, encoder: str, weights: str | None) -> None:
    if not row.encoders:
        if weights is not None or encoder != "resnet50":  # the default of build_model
            raise InputError(f"model '{name}' has no encoder to choose; leave out 'encoder' and 'encoder_weights'")
    elif encoder not in row.encoders:
        raise InputError(f"encoder '{encoder}' is unknown; {registry.suggest(encoder, row.encoders)}")
    elif weights is not None and weights not in row.encoders[encoder] and registry.weights_file(weights) is None:
        valid = ", ".join((*row.encoders[encoder], "a file", "null"))
        raise InputError(f"weights '{weights}' of encoder '{encoder}' are unknown; valid: {valid}")


def _with_weights(create: Callable[..., nn.Module], encoder: str, weights: str | None, in_channels: int) -> nn.Module:
    """Build a network with pretrained weights of its encoder, adapted to its channels as those of other models.

    MONAI itself would leave the first convolution random if it does not have three channels.
    """
    network = create(in_channels, pretrained=False)
    if weights is None:
        return network
    part = network.get_submodule("encoder")
    if (file := file_of(weights)) is not None:
        arrays = read(file)
    else:
        _refuse_download_offline(encoder)
        with torch.random.fork_rng(devices=[]):
            arrays = create(3, pretrained=True).get_submodule("encoder").state_dict()
    own = part.state_dict()
    arrays = {name: adapted(array, own.get(name), in_channels) for name, array in arrays.items()}
    load(part, file or Path(weights), arrays)
    return network


def _refuse_download_offline(encoder: str) -> None:
    """Raise an :class:`OSError` if the weights are not in the cache of torch and downloads are switched off."""
    library = importlib.import_module("monai.networks.nets.efficientnet")
    file = Path(torch.hub.get_dir(), "checkpoints", library.url_map[encoder].rpartition("/")[2])
    if os.environ.get("HF_HUB_OFFLINE") == "1" and not file.is_file():
        raise OSError(f"{file} does not exist")
