import importlib
import inspect
import re
import subprocess
import sys
from types import ModuleType

import pytest

from spectralseg import registry
from spectralseg.config import validate_config
from spectralseg.errors import InputError


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "alpha.py").write_text("value = 1\n")
    (folder / "beta.py").write_text("raise RuntimeError('imported')\n")
    (folder / "_private.py").write_text("")
    (folder / "notes.txt").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield "shelf"
    for name in [name for name in sys.modules if name.split(".")[0] == "shelf"]:
        del sys.modules[name]


def test_entries_are_public_modules_and_are_listed_without_imports(package):
    assert registry.names(package) == ["alpha", "beta"]
    assert f"{package}.alpha" not in sys.modules


def test_a_new_file_is_a_new_entry(package, tmp_path):
    (tmp_path / "shelf" / "gamma.py").write_text("")
    assert registry.names(package) == ["alpha", "beta", "gamma"]


def test_an_entry_is_loaded_by_name(package):
    module = registry.load(package, "alpha", "thing")
    assert isinstance(module, ModuleType)
    assert module.value == 1


@pytest.mark.parametrize("name", ["alhpa", "_private", "alpha.x", "", "../alpha", "os"])
def test_an_unknown_entry_is_rejected_with_the_valid_names(package, name):
    with pytest.raises(InputError, match=r"is unknown; .*valid: alpha, beta"):
        registry.load(package, name, "thing")


def test_the_nearest_name_is_suggested_if_it_is_similar():
    assert registry.suggest("alhpa", ["alpha", "beta"]) == "did you mean 'alpha'? valid: alpha, beta"
    assert registry.suggest("zzz", ["alpha", "beta"]) == "valid: alpha, beta"


@pytest.mark.parametrize("name", ["os", "spectralseg.errors", "no_such_package_at_all"])
def test_a_module_that_is_not_a_package_cannot_be_listed(name):
    with pytest.raises(ModuleNotFoundError):
        registry.names(name)


class TestOptionsOfModels:
    def test_options_of_library_models_are_the_parameters_of_their_classes(self):
        importlib.import_module("spectralseg.models")  # prepares torchvision for the library
        smp = importlib.import_module("segmentation_models_pytorch")
        given = {"self", "kwargs", "encoder_name", "encoder_weights", "in_channels", "classes", "activation"}
        for name, model in smp.MODEL_ARCHITECTURES_MAPPING.items():
            parameters = inspect.signature(model.__init__).parameters
            expected = [key for key in parameters if key not in {*given, "aux_params"}]
            assert list(registry.model_options(name)) == expected
            assert "encoder_depth" in expected

    @pytest.mark.parametrize("name", registry.names("spectralseg.models"))
    def test_options_of_other_models_are_the_keyword_only_parameters_of_build(self, name):
        parameters = inspect.signature(registry.load("spectralseg.models", name, "model").build).parameters.values()
        keywords = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        expected = [name for name in keywords if name != "mae"]  # files of the pretraining, the key 'pretrained'
        assert list(registry.model_options(name)) == expected

    def test_no_model_is_imported(self):
        code = "import sys; from spectralseg import registry; registry.check_options('unet', 'resnet18', ['classes'])"
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False
        )
        assert "'classes' is not an option of a model: it follows from the dataset; leave it out" in done.stderr
        assert "torch" not in done.stderr

    @pytest.mark.parametrize(
        ("model", "encoder", "option", "message"),
        [
            (
                "unet",
                "resnet18",
                "decoder_chanels",
                "no option 'decoder_chanels'; did you mean 'decoder_channels'?",
            ),
            ("unet", "tu-resnet18", "decoder_chanels", "did you mean 'decoder_channels'?"),
            ("unet", "resnet18", "drop_path_rate", "has no option 'drop_path_rate'; valid: encoder_depth, "),
            ("transunet", "resnet18", "head", "did you mean 'heads'?"),
            ("transunet", "tu-resnet18", "drop_path_rate", "has no option 'drop_path_rate'"),
            ("unet", "resnet18", "activation", "models return raw logits; leave it out"),
            ("fpn", "tu-resnet18", "activation", "models return raw logits; leave it out"),
            ("unet", "resnet18", "aux_params", "models return logits only; leave it out"),
            ("unet", "tu-resnet18", "num_classes", "encoders have no classifier"),
            ("unet", "tu-resnet18", "in_chans", "follows from the dataset"),
            *(("unet", "tu-resnet18", key, "the model sets it") for key in ("features_only", "out_indices")),
            *(("fpn", "tu-resnet18", key, "the key 'encoder_weights'") for key in ("pretrained", "checkpoint_path")),
            *(("transunet", "resnet18", key, "follows from the dataset") for key in ("in_channels", "classes")),
            ("unet", "resnet18", "encoder_name", "give it as the key 'encoder'"),
            ("unet", "resnet18", "encoder_weights", "give it as the key 'encoder_weights'"),
        ],
    )
    def test_unknown_options_are_rejected_by_registry_and_configuration(self, study, model, encoder, option, message):
        with pytest.raises(InputError, match=re.escape(message)):
            registry.check_options(model, encoder, [option])
        study["architectures"]["unet"] |= {"model": model, "encoder": encoder, "options": {option: 1}}
        with pytest.raises(InputError, match=r"^toy\.yaml: architectures\.unet\.options: .*" + re.escape(message)):
            validate_config(study, "toy.yaml")

    def test_encoders_of_timm_take_further_options(self):
        registry.check_options("unet", "tu-resnet18", ["drop_path_rate", "decoder_channels"])

    def test_models_without_options_are_not_read(self, monkeypatch):
        monkeypatch.setattr(registry, "model_options", None)
        registry.check_options("unet", "resnet18", {})


class TestOptionsOfObjectives:
    @pytest.mark.parametrize("name", registry.names("spectralseg.objectives"))
    def test_options_are_the_parameters_of_build(self, name):
        build = registry.load("spectralseg.objectives", name, "objective").build
        assert registry.objective_options(name) == tuple(inspect.signature(build).parameters)

    @pytest.mark.parametrize(
        ("code", "options"),
        [
            ("class A(Objective):\n    def __init__(self, a, *, b=1): ...\nbuild = A", ("a", "b")),
            ("class A(objectives.Objective): ...\nbuild = A", ()),
            ("class A(Dice): ...\nbuild = A", None),
            ("class A(Dice):\n    def __init__(self, **options): ...\nbuild = A", None),
            ("def build(a): ...", None),
            ("from elsewhere import build", None),
        ],
    )
    def test_options_that_the_source_does_not_define_are_unknown(self, tmp_path, monkeypatch, code, options):
        (tmp_path / "custom.py").write_text(code)
        monkeypatch.setattr(registry, "folders_of", lambda _: [str(tmp_path)])
        registry.objective_options.cache_clear()
        assert registry.objective_options("custom") == options
        registry.objective_options.cache_clear()

    def test_no_objective_is_imported(self):
        code = "import sys; from spectralseg import registry; registry.check_objective_options('dice', ['smoth'])"
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False
        )
        assert "objective 'dice': option 'smoth' is unknown; did you mean 'smooth'?" in done.stderr
        assert "torch" not in done.stderr


def test_encoders_and_weights_equal_those_of_the_library():
    importlib.import_module("spectralseg.models")  # prepares the import of the library
    encoders = importlib.import_module("segmentation_models_pytorch.encoders").encoders
    assert registry.encoders() == sorted(encoders)
    for name, encoder in encoders.items():
        assert registry.encoder_weights(name) == tuple(encoder["pretrained_settings"])
    assert registry.encoder_weights("resnet51") is None
