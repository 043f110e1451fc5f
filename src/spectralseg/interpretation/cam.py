"""Class activation maps for segmentation: Seg-Grad-CAM (Vinogradova et al. 2020, arXiv 2002.11434)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional


@contextmanager
def _deepest_features(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the deepest map that enters the decoder, the same place in every architecture."""
    found: list[Tensor] = []

    def hook(_: nn.Module, inputs: tuple[object, ...]) -> None:
        features = inputs[0] if isinstance(inputs[0], list | tuple) else inputs
        deepest = features[-1]
        assert isinstance(deepest, Tensor)
        found.append(deepest)

    decoder = model.get_submodule("decoder")
    handle = decoder.register_forward_pre_hook(hook)
    try:
        yield found
    finally:
        handle.remove()


def seg_grad_cam(model: nn.Module, images: Tensor) -> Tensor:
    """Where the model looks for what it marks as foreground.

    The score of an image is the mean of foreground logits over the pixels predicted as foreground, or over all pixels
    if there is none; the mean, where the publication takes the sum, makes objects of any size comparable. Channels of
    the deepest feature map are weighted by the mean gradient of that score.

    Args:
        model: a model in evaluation mode with a ``decoder``.
        images: standardised images (B, channels, H, W).

    Returns:
        Maps (B, H, W) >= 0, not rescaled, so that they can be compared between models.
    """
    with torch.enable_grad(), _deepest_features(model) as found:
        logits = model(images.detach().requires_grad_())
        if logits.shape[1] == 1:
            foreground, marked = logits[:, 0], logits[:, 0] > 0
        else:
            foreground, label = logits[:, 1:].max(1)[0], logits.argmax(1)
            marked = label > 0
        empty = ~marked.flatten(1).any(1)
        marked = marked | empty[:, None, None]
        (features,) = found
        scores = (foreground * marked).sum((1, 2)) / marked.sum((1, 2))
        gradient = torch.autograd.grad(scores.sum(), features)[0]
    weights = gradient.mean((2, 3), keepdim=True)
    maps = functional.relu((weights * features).sum(1, keepdim=True)).detach()
    return functional.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
