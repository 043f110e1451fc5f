"""The contract of every registered model."""

import importlib.util
import io

import pytest
import torch

from spectralseg import registry
from spectralseg.errors import InputError
from spectralseg.interpretation.cam import coarse_maps, source_of
from spectralseg.models import available, build_model
from spectralseg.objectives import build_objective

pytestmark = pytest.mark.slow

OWN = registry.names("spectralseg.models")
NAMES = ("unet", *OWN, *registry.monai_names())  # one model represents those of segmentation-models-pytorch

SHIPPED = {"unet", "grcsf", "transunet", "transunet_original", *registry.monai_names()}


def lacking(name):
    """Marks that skip a model whose optional packages are not installed."""
    network = registry.monai_network(name)
    return [
        pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"needs {package}")
        for package in (network.packages if network else ())
    ]


MODELS = [pytest.param(name, marks=lacking(name)) for name in NAMES]


def test_every_model_is_available():
    assert {*NAMES, *registry.LIBRARY_MODELS} == set(available())


@pytest.mark.parametrize("name", [name for name in registry.LIBRARY_MODELS if name != "dpt"])
def test_every_model_of_the_library_can_be_built_and_trained(name):
    model = build_model(name, 3, 2, encoder="tu-test_resnet.r160_in1k")
    images = torch.randn(2, 3, 160, 160)
    logits = model(images)
    assert logits.shape == (2, 2, 160, 160)
    logits.square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_the_vision_transformer_of_the_library_needs_an_encoder_of_one_stride():
    assert build_model("dpt", 3, 2, encoder="tu-test_vit.r160_in1k")(torch.randn(1, 3, 160, 160)).shape[-1] == 160
    with pytest.raises(InputError, match="model 'dpt' with encoder 'resnet18' cannot be built"):
        build_model("dpt", 3, 2, encoder="resnet18")


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("outputs", [1, 9])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_logits_have_the_size_of_the_images(small_model, name, channels, outputs, size):
    model = small_model(name, channels, outputs, image_size=size).eval()
    images = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = model(images)
    assert logits.shape == (2, outputs, size, size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_not_probabilities(small_model, name, outputs, sign):
    size = 64 if name == "monai:SwinUNETR" else 32  # the smallest that all models take
    model = small_model(name, outputs=outputs, image_size=size).train()
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(30):
        mean = (sign * model(images)).mean()
        if mean < -2:
            break
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
    assert mean < -2, "training can push them anywhere"


@pytest.mark.parametrize("size", [224, 256, 320])
@pytest.mark.parametrize("name", MODELS)
def test_common_sizes_work(small_model, name, size):
    with torch.inference_mode():
        assert small_model(name, 3, 1, image_size=size).eval()(torch.zeros(1, 3, size, size)).shape == (
            1,
            1,
            size,
            size,
        )


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("name", MODELS)
def test_training_changes_every_trainable_tensor(small_model, name, outputs):
    """Two steps, because timm initialises the last norm of a block with zero, which blocks the first gradient."""
    model = small_model(name, outputs=outputs).train()
    check_that_all_change(model, outputs, steps=2)


@pytest.mark.parametrize("name", ["unet", "transunet", "transunet_original"])
def test_one_step_changes_every_trainable_tensor_of_the_large_networks(name):
    check_that_all_change(build_model(name, 3, 1).train(), 1, steps=1)


def check_that_all_change(model, outputs, steps):
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, max(2, outputs), (4, 64, 64), generator=generator)
    images = torch.randn(4, 3, 64, 64, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), 0.01, eps=1e-20)  # small gradients count, too
    for _ in range(steps):
        loss = build_objective("bce_dice")(model(images), masks)
        loss.backward()
        optimizer.step()
    assert [key for key, parameter in model.named_parameters() if torch.equal(parameter, before[key])] == []


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(small_model, name, outputs):
    model = small_model(name, outputs=outputs).train()
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(4, outputs, 64, 64, generator=torch.Generator().manual_seed(1))
    (model(images) * weights).sum().backward()
    trainable = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert trainable
    assert [key for key, p in trainable.items() if p.grad is None] == []
    assert [key for key, p in trainable.items() if not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("name", MODELS)
def test_saved_weights_give_the_same_logits(small_model, name):
    first = small_model(name).eval()
    stream = io.BytesIO()
    torch.save(first.state_dict(), stream)
    stream.seek(0)
    second = small_model(name).eval()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(1)
    images = torch.randn(1, 3, 64, 64)
    assert not torch.equal(first(images), second(images))
    second.load_state_dict(torch.load(stream, weights_only=True))
    assert torch.equal(first(images), second(images))


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_is_deterministic_and_independent_per_image(small_model, name):
    model = small_model(name).eval()
    images = torch.randn(3, 3, 64, 64)
    together = model(images)
    assert torch.equal(together, model(images))
    assert torch.allclose(torch.cat([model(image[None]) for image in images]), together, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_random_state_gives_the_same_weights(small_model, name):
    first, second = small_model(name).state_dict(), small_model(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_images_stay_unchanged(small_model, name):
    images = torch.randn(1, 3, 64, 64)
    copy = images.clone()
    small_model(name).eval()(images)
    assert torch.equal(images, copy)


@pytest.mark.parametrize("name", MODELS)
def test_mixed_precision_is_accepted(small_model, name):
    model = small_model(name).eval()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize("name", ["unet", *OWN])
def test_a_model_has_an_encoder_and_a_decoder_for_activation_maps(small_model, name):
    model, captured = small_model(name).eval(), []
    model.get_submodule("encoder")
    handle = model.get_submodule("decoder").register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    model(torch.zeros(1, 3, 64, 64))
    handle.remove()
    ((*_, deepest),) = captured
    assert deepest.ndim == 4
    assert 2 <= deepest.shape[-1] < 64


@pytest.mark.parametrize("name", MODELS)
def test_activation_maps_have_the_resolutions_of_the_deepest_and_of_the_last_feature_map(small_model, name):
    model, sides = small_model(name).eval(), []
    for module in model.modules():
        module.register_forward_hook(lambda *given: sides.append(given[-1].shape[-1]) if is_map(given[-1]) else None)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    deepest, decoder = (coarse_maps(model, images, layer=layer)[0] for layer in ("deepest", "decoder"))
    assert deepest.isfinite().all()
    assert decoder.isfinite().all()
    assert deepest.shape[-1] == min(sides)
    # A model of the user may decode at the resolution of the deepest map, as in docs/add-an-architecture.md.
    assert decoder.shape[-1] in ((32, 64) if name in SHIPPED else (*sides, 64))


def is_map(output):
    """Whether the output of a module is a feature map of more than one pixel."""
    return isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[-1] == output.shape[-2] > 1


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_computed_from_the_last_feature_map_only(small_model, name):
    model = small_model(name).eval()
    module, _ = source_of(model, "decoder")
    of_input = getattr(model, "feature_maps", {"decoder": ("", "output")})["decoder"][1] == "input"
    replaced = torch.zeros_like
    if of_input:
        module.register_forward_pre_hook(lambda _, inputs: tuple(map(replaced, inputs)))
    else:
        module.register_forward_hook(lambda _, inputs, output: replaced(output))
    first, second = model(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", OWN)
def test_a_model_is_documented(name):
    module = registry.load("spectralseg.models", name, "model")
    assert module.__doc__
    assert module.build.__doc__
