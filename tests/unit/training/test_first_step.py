"""The first step rejects a model that does not fit the data; the error names the key of the architecture."""

import pytest
import torch
from torch import nn

from spectralseg.config import validate_config
from spectralseg.errors import InputError
from spectralseg.grid import Run
from spectralseg.training import loop


class Returns(nn.Module):
    """A model that applies a function to the images."""

    def __init__(self, function, training_only=False):
        super().__init__()
        self.function, self.training_only, self.calls = function, training_only, 0
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images):
        self.calls += 1
        right = images[:, :1] * self.weight
        return right if self.training_only and self.training else self.function(right)


def train(config, data, folder, architecture="unet"):
    loop.train(config, Run("toy", architecture, "spatial", "0", 0), data, folder, device_name="cpu")


@pytest.mark.parametrize(
    ("function", "returned"),
    [
        (lambda right: right.expand(-1, 3, -1, -1), r"\(2, 3, 32, 32\)"),
        (lambda right: right[..., ::2, ::2], r"\(2, 1, 16, 16\)"),
        (lambda right: right[:, 0], r"\(2, 32, 32\)"),
        (lambda right: (right, right), "a tuple"),
    ],
    ids=["channels", "size", "dimensions", "tuple"],
)
def test_logits_of_another_shape_are_an_error(config, toy, tmp_path, monkeypatch, function, returned):
    model = Returns(function)
    monkeypatch.setattr(loop, "model_of", lambda *_: model)
    with pytest.raises(
        InputError,
        match=rf"architectures\.unet: for images of shape \(2, 3, 32, 32\) the model returns {returned}, but the "
        r"task needs logits of shape \(2, 1, 32, 32\)",
    ):
        train(config, toy, tmp_path / "run")
    assert model.calls == 1
    assert not list((tmp_path / "run").glob("model.pt"))


def test_logits_of_another_shape_in_evaluation_mode_are_an_error(config, toy, tmp_path, monkeypatch):
    model = Returns(lambda right: right.expand(-1, 2, -1, -1), training_only=True)
    monkeypatch.setattr(loop, "model_of", lambda *_: model)
    with pytest.raises(InputError, match=r"the model returns \(1, 2, 32, 32\)"):
        train(config, toy, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "batch_size", "reason"),
    [
        ({"model": "deeplabv3", "encoder": "resnet18", "options": {}}, 1, "Expected more than 1 value per channel"),
        ({"model": "unet", "encoder": "tu-test_vit", "options": {}}, 2, "cannot be built"),
        ({"model": "fpn", "encoder": "resnet18", "options": {"upsampling": 2}}, 2, r"returns \(2, 1, 16, 16\)"),
        (
            {"model": "unet", "encoder": "tu-swin_tiny_patch4_window7_224", "options": {}},
            2,
            r"Input height \(32\) doesn't match",
        ),
        ({"model": "transunet", "options": {"width": 30, "heads": 4, "layers": 1}}, 2, "should be divisible"),
        ({"model": "transunet", "options": {"heads": 0, "layers": 1}}, 2, "option 'heads' cannot be 0"),
        ({"model": "unet", "encoder": "resnet18", "options": {"decoder_channels": [8, 8]}}, 2, "depth is 5"),
    ],
    ids=lambda value: str(value.get("model")) if isinstance(value, dict) else None,
)
def test_combinations_that_cannot_work_are_an_error(study, toy, tmp_path, changes, batch_size, reason):
    study["architectures"]["odd"] = {**study["architectures"]["unet"], **changes}
    study["training"]["batch_size"] = batch_size
    config = validate_config(study, "toy.yaml")
    with pytest.raises(InputError, match=rf"^architectures\.odd: .*{reason}"):
        train(config, toy, tmp_path / "run", "odd")
    assert not list((tmp_path / "run").glob("*.pt"))


def test_out_of_memory_is_not_an_error_of_the_architecture(config, toy, tmp_path, monkeypatch):
    def full(_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(loop, "model_of", lambda *_: Returns(full))
    with pytest.raises(torch.OutOfMemoryError):
        train(config, toy, tmp_path / "run")


def test_an_invalid_option_of_an_objective_names_the_objective(study, toy, tmp_path):
    study["objectives"]["spatial"]["base_options"] = {"smooth": -1}
    complaint = r"^objectives\.spatial: objective 'bce_dice': option 'smooth' cannot be -1: "
    with pytest.raises(InputError, match=complaint):
        train(validate_config(study, "toy.yaml"), toy, tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.pt"))
