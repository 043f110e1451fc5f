import pytest
import torch
from torch import nn
from torch.nn import functional

from spectralseg import registry
from spectralseg.errors import InputError
from spectralseg.evaluation.label_maps import to_labels
from spectralseg.interpretation.cam import LAYERS, METHODS, coarse_maps, labels_of, seg_grad_cam

smp = pytest.importorskip("segmentation_models_pytorch")

MODELS = ("unet", *registry.names("spectralseg.models"))


class Average(nn.Module):
    """Computes logits from the deepest map with fixed weights, one row per output."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.tensor(weights)

    def forward(self, features):
        logits = torch.einsum("kc,bchw->bkhw", self.weights, features[-1])
        return functional.interpolate(logits, scale_factor=4, mode="nearest")


class Synthetic(nn.Module):
    """Predicts foreground where the first channel is bright; the second channel has no effect unless weighted."""

    def __init__(self, weights=((1.0, 0.0),)):
        super().__init__()
        self.decoder = Average(weights)

    def forward(self, images):
        return self.decoder([images, functional.avg_pool2d(images, 4)]) - 0.1


def scene():
    """Evidence in the upper left of channel 0, a distraction in the lower right of channel 1."""
    images = torch.zeros(2, 2, 32, 32)
    images[0, 0, 4:12, 4:12] = 1
    images[0, 1, 20:28, 20:28] = 5
    images[1, 0, 16:28, 8:16] = 1
    return images


def test_the_map_lies_on_the_evidence_only():
    maps = seg_grad_cam(Synthetic(), scene())
    assert maps.shape == (2, 32, 32)
    for number, evidence in enumerate(scene()[:, 0] > 0):
        assert maps[number].min() >= 0
        assert evidence.flatten()[maps[number].argmax()]
        near = functional.max_pool2d(evidence[None, None].float(), 9, 1, 4)[0, 0] > 0
        assert maps[number][near].sum() / maps[number].sum() > 0.99


def test_evidence_against_foreground_is_zero():
    maps = seg_grad_cam(Synthetic(((1.0, -1.0),)), scene())
    assert maps[0, 20:28, 20:28].max() == 0
    assert maps[0, 4:12, 4:12].max() > 0


def test_all_foreground_classes_count_and_background_does_not():
    model = Synthetic(((-9.0, -9.0), (1.0, 0.0), (0.0, 1.0)))
    maps = seg_grad_cam(model, scene())
    assert maps[0, 6:10, 6:10].min() > 0
    assert maps[0, 22:26, 22:26].min() > 0
    assert maps[0, 0:2].max() == 0


def test_an_image_without_foreground_is_explained_over_all_pixels():
    assert torch.isfinite(seg_grad_cam(Synthetic(), -scene())).all()


def test_images_of_a_batch_are_independent():
    together = seg_grad_cam(Synthetic(), scene())
    alone = [seg_grad_cam(Synthetic(), image[None])[0] for image in scene()]
    assert torch.allclose(together, torch.stack(alone), atol=1e-7)


def test_the_size_of_an_object_does_not_scale_the_map():
    images = torch.zeros(2, 2, 32, 32)
    images[0, 0, 8:12, 8:12] = 1
    images[1, 0, 8:24, 8:24] = 1
    maps = seg_grad_cam(Synthetic(), images)
    assert maps[0].max().item() == pytest.approx(maps[1].max().item(), rel=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_maps(small_model, name, outputs, layer, method):
    model = small_model(name, outputs=outputs).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = seg_grad_cam(model, images, layer=layer, method=method)
    assert maps.shape == (2, 64, 64)
    assert maps.isfinite().all()
    assert maps.min() >= 0
    assert not maps.requires_grad
    if not maps.max() > 0:  # all weighted features of a random network may be negative: not so for opposite logits
        with torch.no_grad():
            for parameter in model.segmentation_head.parameters():
                parameter.neg_()
        maps = seg_grad_cam(model, images, layer=layer, method=method)
    assert maps.max() > 0


@pytest.mark.parametrize("name", MODELS)
def test_the_model_stays_unchanged(small_model, name):
    model = small_model(name).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()]
    images = torch.randn(1, 3, 32, 32)
    seg_grad_cam(model, images)
    assert [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()] == hooks
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
    assert not images.requires_grad
    assert images.grad is None


def test_the_hook_is_removed_when_the_model_fails():
    class Failing(Synthetic):
        def forward(self, images):
            super().forward(images)
            raise RuntimeError("broken")

    model = Failing()
    with pytest.raises(RuntimeError, match="broken"):
        seg_grad_cam(model, scene())
    assert not model.decoder._forward_pre_hooks


def test_maps_can_be_computed_without_grad_mode(small_model):
    model, images = small_model("unet").eval(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        off = seg_grad_cam(model, images.clone())
    assert torch.equal(off, seg_grad_cam(model, images.clone()))


@pytest.mark.parametrize(("name", "deepest"), [("unet", 2), ("transunet", 4)])
def test_layers_are_input_and_output_of_the_decoder(small_model, name, deepest):
    model, images = small_model(name).eval(), torch.randn(1, 3, 64, 64)
    assert coarse_maps(model, images, layer="deepest")[0].shape == (1, deepest, deepest)
    assert coarse_maps(model, images, layer="decoder")[0].shape == (1, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["UnetPlusPlus", "MAnet", "Linknet", "FPN", "DeepLabV3Plus", "UPerNet", "Segformer"]
)
def test_models_of_segmentation_models_pytorch_have_both_layers(architecture):
    model = getattr(smp, architecture)("resnet18", encoder_weights=None, in_channels=3, classes=2).eval()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sizes = [coarse_maps(model, images, layer=layer)[0].shape[1] for layer in ("deepest", "decoder")]
    assert sizes[0] < sizes[1]


def test_both_methods_agree_for_a_constant_gradient():
    model, images = Synthetic(), torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(0)) + 0.2
    maps = [seg_grad_cam(model, images, method=method) for method in ("grad_cam", "hires_cam")]
    assert torch.allclose(16 * 4 * maps[0] / 64, maps[1], atol=1e-7)


def test_pointwise_weights_ignore_features_that_the_prediction_does_not_use():
    """Features outside the predicted object do not contribute to the score."""
    images = scene()
    images[0, 0, 20:28, 20:28] = 0.05  # below the threshold
    pooled, pointwise = (seg_grad_cam(Synthetic(), images, method=method)[0] for method in ("grad_cam", "hires_cam"))
    assert pooled[22:26, 22:26].min() > 0
    assert pointwise[22:26, 22:26].max() == 0
    assert pointwise[6:10, 6:10].min() > 0


def test_pointwise_maps_of_a_linear_head_add_up_to_the_score():
    """Completeness (Draelos and Carin 2020), here with positive evidence only."""
    images = torch.rand(2, 2, 32, 32, generator=torch.Generator().manual_seed(0)) + 0.2
    maps = coarse_maps(Synthetic(), images, method="hires_cam")[0]
    assert torch.allclose(maps.sum((1, 2)), Synthetic()(images).mean((1, 2, 3)) + 0.1, atol=1e-6)


@pytest.mark.parametrize("options", [{"layer": "layer4"}, {"method": "score_cam"}])
def test_unknown_layers_and_methods_are_an_error(options):
    with pytest.raises(InputError, match=f"'{next(iter(options.values()))}' is unknown .* choose one of "):
        seg_grad_cam(Synthetic(), scene(), **options)


def test_a_model_without_decoder_is_an_error():
    with pytest.raises(InputError, match="Conv2d: has no module 'decoder'"):
        seg_grad_cam(nn.Conv2d(2, 1, 1), scene())


def test_labels_are_those_of_the_probabilities():
    logits = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert (labels_of(logits).numpy() == to_labels(logits.softmax(1).numpy())).all()
    assert (labels_of(logits[:, :1]).numpy() == to_labels(logits[:, :1].sigmoid().numpy())).all()
