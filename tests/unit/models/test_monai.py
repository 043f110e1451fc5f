"""Networks of MONAI; what every model must do is in ``tests/contract/test_every_model.py``."""

import importlib
import importlib.util
import inspect
import re

import numpy as np
import pytest
import torch
from tests.conftest import SMALL_MONAI

from spectralseg import registry
from spectralseg.config import Architecture, validate_config
from spectralseg.errors import InputError
from spectralseg.evaluation.predict import Predictor, load_predictor
from spectralseg.exchange.models import FORMATS, Standalone, _quiet
from spectralseg.grid import Run
from spectralseg.models import build_model
from spectralseg.monai_networks import CONTRACT, NETWORKS, NO_OPTIONS, divisor_of
from spectralseg.operations import doctor
from spectralseg.operations.parts import study_parts
from spectralseg.operations.plan import plan
from spectralseg.operations.status import study_status
from spectralseg.preprocessing import to_float
from spectralseg.run_folder import read_settings
from spectralseg.training.loop import train

pytestmark = pytest.mark.slow

nets = importlib.import_module("monai.networks.nets")
efficientnet = importlib.import_module("monai.networks.nets.efficientnet")
PACKAGES = {package for network in NETWORKS.values() for package in network.packages}
with_packages = pytest.mark.skipif(not all(map(importlib.util.find_spec, PACKAGES)), reason=f"needs {PACKAGES}")
ALL = [pytest.param(name, marks=with_packages if NETWORKS[name].packages else ()) for name in NETWORKS]
MILLIONS = {  # of parameters, for colour images of 224 pixels and one class
    "AttentionUnet": 7.9,
    "BasicUNet": 7.8,
    "BasicUNetPlusPlus": 9.1,
    "DynUNet": 20.6,
    "FlexibleUNet": 32.1,
    "MedNeXt": 5.5,
    "SegResNet": 6.3,
    "SegResNetDS": 6.6,
    "SwinUNETR": 25.1,
    "UNETR": 87.7,
    "UNet": 6.5,
}


def size_of(model):
    return sum(parameter.numel() for parameter in model.parameters())


def planned(config, results):
    return plan(config, results, study_parts(config, results, study_status(config, results), [], {}), price=None)


@pytest.fixture
def monai(study):
    """A configuration whose only architecture is a small network of MONAI with the given changes."""

    def configure(name, image_size=64, **changes):
        options = {key: value for key, value in SMALL_MONAI[f"monai:{name}"].items() if key != "encoder"}
        study["architectures"] = {"network": {"model": f"monai:{name}", "options": options} | changes}
        study["grid"]["main"]["architectures"] = ["network"]
        study["image_size"] = image_size
        return validate_config(study, "toy.yaml")

    return configure


class TestTable:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_options_are_the_parameters_of_the_class_without_those_of_the_contract(self, name):
        parameters = list(inspect.signature(getattr(nets, name)).parameters)
        options = registry.model_options(f"monai:{name}")
        assert list(options) == [key for key in parameters if key not in NO_OPTIONS]
        assert set(NETWORKS[name].defaults) <= set(options)
        assert NETWORKS[name].size is None or NETWORKS[name].size in parameters

    def test_what_the_contract_sets_is_not_an_option(self):
        assert set(CONTRACT) <= set(NO_OPTIONS)

    def test_encoders_and_weights_are_those_of_the_library(self):
        encoders = NETWORKS["FlexibleUNet"].encoders
        assert set(encoders) == set(nets.FLEXUNET_BACKBONE.register_dict)
        assert {name for name, weights in encoders.items() if weights} == set(encoders) & set(efficientnet.url_map)

    @pytest.mark.parametrize("name", ALL)
    def test_sizes_of_the_networks(self, name):
        with torch.device("cpu" if name == "SwinUNETR" else "meta"):  # its constructor reads values
            model = build_model(f"monai:{name}", 3, 1, image_size=224)
        assert size_of(model) / 1e6 == pytest.approx(MILLIONS[name], abs=0.05)

    @pytest.mark.parametrize("name", sorted({*NETWORKS} - {"BasicUNet", "BasicUNetPlusPlus", "FlexibleUNet"}))
    def test_other_sizes_than_multiples_of_the_divisor_do_not_work(self, small_model, name):
        for package in NETWORKS[name].packages:
            pytest.importorskip(package)
        model, divisor = small_model(f"monai:{name}"), divisor_of(NETWORKS[name], SMALL_MONAI[f"monai:{name}"])
        with pytest.raises((RuntimeError, ValueError)):
            model(torch.zeros(1, 3, 64 + divisor // 2, 64 + divisor // 2))


class TestConfiguration:
    def test_the_encoder_has_no_default(self, monai):
        architecture = monai("UNet").architectures["network"]
        assert architecture.encoder_weights is None
        dumped = architecture.model_dump()
        assert "encoder" not in dumped
        assert Architecture.model_validate(dumped) == architecture

    @pytest.mark.parametrize(("key", "value"), [("encoder", "resnet50"), ("encoder_weights", "imagenet")])
    def test_an_encoder_is_rejected_where_there_is_none_to_choose(self, monai, key, value):
        message = f"toy.yaml: architectures.network.{key}: model 'monai:UNet' has no encoder to choose; remove the key"
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            monai("UNet", **{key: value})

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"encoder": "resnet51"}, r"encoder: 'resnet51' is unknown; did you mean 'resnet50'\?"),
            ({"encoder": "mit_b0"}, "encoder: 'mit_b0' is unknown; valid: efficientnet-b0, "),
            ({}, "encoder_weights: 'imagenet' is unknown; valid: null"),  # of resnet50
            ({"encoder": "efficientnet-b0", "encoder_weights": "advprop"}, "'advprop' is unknown; valid: imagenet"),
        ],
    )
    def test_unknown_encoders_and_weights_are_rejected(self, monai, changes, message):
        with pytest.raises(InputError, match=message):
            monai("FlexibleUNet", **changes)

    def test_weights_of_an_encoder_are_accepted(self, monai):
        config = monai("FlexibleUNet", encoder="efficientnet-b0")
        assert config.architectures["network"].model_dump()["encoder_weights"] == "imagenet"

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            ("monai:unet", "did you mean 'monai:UNet'?"),
            ("monai:VNet", "'monai:VNet' is unknown"),
            ("monai:", "should match pattern"),
            ("monai:nets.UNet", "should match pattern"),
        ],
    )
    def test_unknown_networks_are_rejected(self, study, model, message):
        study["architectures"]["unet"] = {"model": model}
        with pytest.raises(InputError, match=re.escape(message)):
            validate_config(study, "toy.yaml")

    @pytest.mark.parametrize(
        ("name", "options", "size", "divisor"),
        [
            ("DynUNet", {"strides": [1, 2, 2, 2, 2, 2]}, 32, 32),
            ("DynUNet", {"strides": [1, [2, 4], [2, 4], [2, 4]]}, 96, 64),
            ("UNet", {"strides": [4, 4, 4]}, 96, 64),
            ("AttentionUnet", {"strides": [3, 2, 2]}, 64, 12),
            ("SwinUNETR", {}, 32, 32),
            ("SwinUNETR", {"patch_size": 4}, 512, 1024),
            ("SegResNet", {"blocks_down": [1] * 8}, 160, 128),
            ("MedNeXt", {"blocks_down": [1] * 6}, 96, 64),
        ],
    )
    def test_image_sizes_that_a_network_cannot_take_are_rejected(self, monai, name, options, size, divisor):
        message = (
            f"toy.yaml: architectures.network, for dataset 'toy': model 'monai:{name}' cannot take images of {size} x "
            f"{size} pixels: with its options, sides must be multiples of {divisor} and at least {2 * divisor}; change "
            "'image_size' or the options"
        )
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            monai(name, size, options=options)

    @pytest.mark.parametrize("strides", [2, "222", [2, "2", 2], [[2], [2], [2]], None, [0, 0, 0]])
    def test_options_of_another_type_are_left_to_the_network(self, monai, strides):
        config = monai("DynUNet", options={"strides": strides})
        (finding,) = doctor.models(config, {"toy": type("Dataset", (), {"channels": 3, "classes": ["disc"]})})
        assert (finding.level, finding.text.partition(":")[0]) == ("problem", "architectures.network")

    @pytest.mark.parametrize("option", sorted(NO_OPTIONS))
    def test_options_that_the_contract_sets_are_rejected(self, option):
        with pytest.raises(InputError, match=rf"^'{option}' is not an option of a model: "):
            registry.check_options("monai:UNet", "resnet50", [option])


class TestBuilding:
    def test_an_encoder_is_rejected_where_there_is_none_to_choose(self):
        for options in ({"encoder": "resnet18"}, {"encoder_weights": "imagenet"}):
            with pytest.raises(InputError, match=r"^model 'monai:UNet' has no encoder to choose; leave out 'encoder'"):
                build_model("monai:UNet", 3, 1, **options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"encoder": "resnet5"}, "^encoder 'resnet5' is unknown; did you mean 'resnet50'?"),
            (
                {"encoder_weights": "imagenet"},
                "^weights 'imagenet' of encoder 'resnet50' are unknown; valid: a file, null$",
            ),
        ],
    )
    def test_unknown_encoders_and_weights_are_rejected(self, options, message):
        with pytest.raises(InputError, match=message):
            build_model("monai:FlexibleUNet", 3, 1, **options)

    def test_a_missing_package_is_named(self, monkeypatch):
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "einops" else find(name))
        with pytest.raises(InputError, match=r"^model 'monai:SwinUNETR' needs the package 'einops'; run 'pip install"):
            build_model("monai:SwinUNETR", 3, 1)

    @with_packages
    def test_a_network_of_one_image_size_needs_it(self):
        with pytest.raises(
            InputError, match=r"^model 'monai:UNETR' is built for images of one size; give 'image_size'$"
        ):
            build_model("monai:UNETR", 3, 1)

    def test_an_image_size_is_checked(self):
        with pytest.raises(
            InputError, match=r"cannot take images of 36 x 36 pixels: .* multiples of 16 and at least 32"
        ):
            build_model("monai:UNet", 3, 1, image_size=36)

    @pytest.mark.parametrize(
        ("name", "options"), [("UNet", {"channels": [8]}), ("DynUNet", {"filters": [4]}), ("SegResNet", {"norm": "no"})]
    )
    def test_invalid_options_are_an_error_of_one_sentence(self, name, options):
        with pytest.raises(InputError, match=rf"^model 'monai:{name}' cannot be built: [^\n]+$"):
            build_model(f"monai:{name}", 3, 1, **options)

    def test_options_reach_the_network(self, small_model):
        norms = {"norm": ["group", {"num_groups": 2}], "act": "relu"}  # lists, as YAML has them
        network = small_model("monai:BasicUNet", **norms).network
        kinds = {type(module).__name__ for module in network.modules()}
        assert {"GroupNorm", "ReLU"} <= kinds
        assert not {"InstanceNorm2d", "LeakyReLU"} & kinds

    def test_the_deepest_map_follows_the_depth(self, small_model):
        options = {levels: {"channels": [4] * levels, "strides": [2] * (levels - 1)} for levels in (2, 3)}
        places = {
            levels: build_model("monai:UNet", 3, 1, **given).feature_maps["deepest"]
            for levels, given in options.items()
        }
        assert places == {
            2: ("network.model.1.submodule", "output"),
            3: ("network.model.1.submodule.1.submodule", "output"),
        }


class TestWeightsOfAnEncoder:
    @pytest.fixture
    def published(self, monkeypatch):
        """Weights in place of those that MONAI downloads, with its names of arrays."""
        torch.manual_seed(7)
        encoder = build_model("monai:FlexibleUNet", 3, 1, encoder="efficientnet-b0").network.encoder
        state = {re.sub(r"(.+)\.\d+(\.\d+\..+)", r"\1\2", key): value for key, value in encoder.state_dict().items()}
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # which spectralseg doctor sets
        monkeypatch.setattr(efficientnet.model_zoo, "load_url", lambda *_, **__: state)
        return encoder

    @pytest.mark.parametrize("channels", [1, 3])
    def test_they_are_loaded_and_summed_over_the_colours_for_grey_images(self, published, channels):
        model = build_model("monai:FlexibleUNet", channels, 1, encoder="efficientnet-b0", encoder_weights="imagenet")
        images = torch.randn(1, channels, 64, 64)
        actual = model.network.encoder.eval()(images)[-1]
        assert torch.allclose(actual, published.eval()(images.expand(-1, 3, -1, -1))[-1], rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_they_are_read_from_a_file(self, tmp_path, published, channels):
        torch.save(published.state_dict(), tmp_path / "weights.pt")
        weights = str(tmp_path / "weights.pt")
        model = build_model("monai:FlexibleUNet", channels, 1, encoder="efficientnet-b0", encoder_weights=weights)
        images = torch.randn(1, channels, 64, 64)
        actual = model.network.encoder.eval()(images)[-1]
        assert torch.allclose(actual, published.eval()(images.expand(-1, 3, -1, -1))[-1], rtol=1e-3, atol=1e-5)

    def test_a_file_of_another_encoder_is_rejected(self, tmp_path, published):
        torch.save(published.state_dict(), tmp_path / "weights.pt")
        with pytest.raises(InputError, match=r"weights\.pt: lacks \d+ of the encoder's arrays"):
            build_model("monai:FlexibleUNet", 3, 1, encoder="resnet10", encoder_weights=str(tmp_path / "weights.pt"))

    def test_they_are_not_downloaded_offline(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        message = r"are not in the cache .*'spectralseg weights efficientnet-b0 imagenet --model monai:FlexibleUNet'"
        with pytest.raises(InputError, match=message):
            build_model("monai:FlexibleUNet", 3, 1, encoder="efficientnet-b0", encoder_weights="imagenet")

    def test_all_arrays_of_the_encoder_get_gradients(self):
        model = build_model("monai:FlexibleUNet", 3, 1, encoder="efficientnet-b0").train()
        model(torch.randn(2, 3, 64, 64)).square().mean().backward()
        assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", ["BasicUNetPlusPlus", pytest.param("UNETR", marks=with_packages)])
def test_a_run_is_planned_checked_trained_and_loaded(small_model, monai, toy, toy_specification, tmp_path, name):
    config = monai(name, 32)
    (finding,) = doctor.models(config, {"toy": toy_specification()})
    assert (finding.level, finding.text) == ("ok", "network can be built")
    parameters = size_of(small_model(f"monai:{name}", image_size=32))
    assert planned(config, tmp_path / "none").run_bytes == 2 * 8 * parameters
    run = Run("toy", "network", "mixed", "0.2", 0)
    train(config, run, toy, tmp_path / "run", device_name="cpu")
    settings = read_settings(tmp_path / "run")
    assert "encoder" not in settings["architecture"]
    predictor = load_predictor(tmp_path / "run", settings, "best", 2, "cpu")
    probabilities = predictor(to_float(np.asarray(toy.images[:3])))
    assert probabilities.shape == (3, 1, 32, 32)
    assert np.isfinite(probabilities).all()


@with_packages
def test_a_network_that_cannot_be_built_without_memory_is_planned(small_model, monai, tmp_path):
    """The constructor of SwinUNETR reads values of tensors."""
    parameters = size_of(small_model("monai:SwinUNETR"))
    study_plan = planned(monai("SwinUNETR"), tmp_path / "none")
    assert study_plan.run_bytes == 2 * 8 * parameters


@pytest.mark.parametrize("name", [entry for entry in ALL if entry.values[0] in ("BasicUNetPlusPlus", "DynUNet")])
def test_a_network_can_be_exported(small_model, name, tmp_path):
    check_export(small_model(f"monai:{name}", 1, 4).eval(), "torchscript", tmp_path / "model")


@with_packages
@pytest.mark.skipif(importlib.util.find_spec("onnxscript") is None, reason="needs the extra 'export'")
@pytest.mark.parametrize("name", ["SegResNetDS", "SwinUNETR"])
def test_a_network_can_be_exported_to_onnx(small_model, name, tmp_path):
    check_export(small_model(f"monai:{name}", 1, 4).eval(), "onnx", tmp_path / "model")


def check_export(model, kind, file):
    predictor = Predictor(model, torch.tensor([0.4]), torch.tensor([0.2]), 4)
    images = np.random.default_rng(0).random((2, 64, 64, 1), np.float32)
    expected = predictor(images)
    inputs = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    with _quiet():
        FORMATS[kind].write(Standalone(predictor).eval(), torch.from_numpy(inputs), file)
        actual = FORMATS[kind].read(file)(inputs)
    assert actual == pytest.approx(expected, abs=1e-4)
