"""Seg-Grad-CAM against MONAI's Grad-CAM for a model whose only output is the score of the image."""

import warnings

import pytest
import torch
from torch import nn

from spectralseg.interpretation.cam import coarse_maps, seg_grad_cam

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    visualize = pytest.importorskip("monai.visualize")
smp = pytest.importorskip("segmentation_models_pytorch")


class Score(nn.Module):
    """Mean logit of the predicted foreground class over the pixels predicted as foreground."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        scores = []
        for logits in self.model(images):
            marked = logits[0] > 0 if len(logits) == 1 else logits.argmax(0) > 0
            foreground = logits[0] if len(logits) == 1 else logits[1:].amax(0)
            scores.append(foreground[marked].mean())
        return torch.stack(scores)[:, None]


def unet(outputs):
    torch.manual_seed(0)
    return smp.Unet("resnet18", encoder_weights=None, decoder_channels=(32, 16, 16, 8, 8), classes=outputs)


@pytest.mark.filterwarnings("ignore:Full backward hook:UserWarning")
@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize(
    ("name", "layer", "module"),
    [
        ("unet", "deepest", "encoder.layer4"),
        ("unet", "decoder", "decoder"),
        ("transunet", "deepest", "bottleneck"),
        ("transunet", "decoder", "decoder"),
    ],
)
def test_maps_equal_those_of_monai(small_model, name, layer, module, outputs):
    model = (unet(outputs) if name == "unet" else small_model(name, outputs=outputs)).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = coarse_maps(model, images, layer=layer)[0], seg_grad_cam(model, images, layer=layer)
    reference = visualize.GradCAM(Score(model), f"model.{module}", postprocessing=lambda maps: maps)
    expected_maps = reference.compute_map(images, class_idx=0), reference(images, class_idx=0)
    for actual, expected in zip(maps, expected_maps, strict=True):
        assert actual.max() > 0
        assert torch.allclose(actual, expected[:, 0].detach(), rtol=1e-4, atol=1e-6 * actual.max().item())
