"""Class activation maps for segmentation: Seg-Grad-CAM (Vinogradova et al. 2020, arXiv 2002.11434).

A test compares the maps with MONAI's ``GradCAM``. That class does not suit here: it takes the output of a named module,
but encoders return lists; and it leaves hooks in the model, disables in-place activations for good and clears the
gradients of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spectralseg.errors import InputError


def _deepest(inputs: tuple[Any, ...], output: Tensor) -> Any:
    return (inputs[0] if isinstance(inputs[0], list | tuple) else inputs)[-1]


def _decoder(inputs: tuple[Any, ...], output: Tensor) -> Any:
    return output


# Layers that every encoder-decoder has, as functions of input and output of the decoder. A model without such a module
# has ``feature_maps`` instead, which name a submodule and its side for each layer.
LAYERS: dict[str, Callable[[tuple[Any, ...], Tensor], Any]] = {"deepest": _deepest, "decoder": _decoder}

# Sides of a submodule, as functions of its input and output: of several maps, the first input or the last output.
_SIDES: dict[str, Callable[[tuple[Any, ...], Any], Any]] = {
    "input": lambda inputs, output: inputs[0],
    "output": lambda inputs, output: output[-1] if isinstance(output, list | tuple) else output,
}

# Weights of the features, as functions of the gradient of the score.
METHODS: dict[str, Callable[[Tensor], Tensor]] = {
    "grad_cam": lambda gradient: gradient.mean((2, 3), keepdim=True),  # Selvaraju et al. 2017
    "hires_cam": lambda gradient: gradient,  # Draelos and Carin 2020, arXiv 2011.08891
}


def seg_grad_cam(model: nn.Module, images: Tensor, *, layer: str = "deepest", method: str = "grad_cam") -> Tensor:
    """Class activation map of the predicted foreground.

    The score of an image is the mean of foreground logits over the pixels predicted as foreground, or over all pixels
    if there are none. The publication takes the sum; the mean makes objects of different size comparable. With several
    classes, each pixel counts with its largest foreground logit, so that one map explains all foreground.

    Args:
        model: a model in evaluation mode with a ``decoder`` or ``feature_maps``.
        images: standardised images (B, channels, H, W).
        layer: the features: ``deepest``, the last input of the decoder, or ``decoder``, its output.
        method: ``grad_cam`` weights channels by their mean gradient, ``hires_cam`` every position by its gradient.

    Returns:
        Maps (B, H, W) >= 0, not normalised, so that images can be compared.

    Raises:
        InputError: the layer or the method is unknown, or the model has no decoder.
    """
    return enlarge(coarse_maps(model, images, layer=layer, method=method)[0], images.shape[-2:])


def coarse_maps(
    model: nn.Module, images: Tensor, *, layer: str = "deepest", method: str = "grad_cam"
) -> tuple[Tensor, Tensor]:
    """Maps of :func:`seg_grad_cam` at the resolution of the layer, (B, h, w), and predicted labels (B, H, W)."""
    for name, valid_names in ((layer, LAYERS), (method, METHODS)):
        if name not in valid_names:
            raise InputError(f"'{name}' is unknown to class activation maps; choose one of {', '.join(valid_names)}")
    with torch.enable_grad(), _captured(model, layer) as captured:
        logits = model(images.detach().requires_grad_())
        foreground = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1:].max(1)[0]
        labels = labels_of(logits)
        mask = labels > 0
        mask = mask | ~mask.flatten(1).any(1)[:, None, None]
        (features,) = captured
        scores = (foreground * mask).sum((1, 2)) / mask.sum((1, 2))
        gradient = torch.autograd.grad(scores.sum(), features)[0]
    return functional.relu((METHODS[method](gradient) * features).sum(1)).detach(), labels


def random_map(resolution: tuple[int, ...], size: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """A random map (H, W) as baseline: uniform noise at the resolution of a layer, enlarged like its maps."""
    return enlarge(torch.from_numpy(rng.random((1, *resolution))), size)[0]


def enlarge(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps (B, h, w) to (B, H, W), bilinear."""
    return functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def labels_of(logits: Tensor) -> Tensor:
    """Labels (B, H, W), int64, of logits (B, C, H, W): the sign for C = 1, else the largest; 0 is background."""
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)


def source_of(model: nn.Module, layer: str) -> tuple[nn.Module, Callable[[tuple[Any, ...], Any], Any]]:
    """The module that has a layer, and the function of its input and output that returns the features (B, K, h, w).

    Raises:
        InputError: the model has no decoder.
    """
    if places := getattr(model, "feature_maps", None):
        name, side = places[layer]
        return model.get_submodule(name), _SIDES[side]
    if not isinstance(decoder := getattr(model, "decoder", None), nn.Module):
        raise InputError(f"{type(model).__name__}: has no module 'decoder' to take maps from; add it to the model")
    return decoder, LAYERS[layer]


@contextmanager
def _captured(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Collect the features of a layer while the model runs."""
    captured: list[Tensor] = []
    module, features = source_of(model, layer)

    def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        captured.append(features(inputs, output))

    handle = module.register_forward_hook(hook)
    try:
        yield captured
    finally:
        handle.remove()
