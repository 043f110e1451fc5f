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


def test_public_modules_are_the_entries_and_listing_imports_none(package):
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
def test_anything_else_is_refused_with_the_valid_names(package, name):
    with pytest.raises(InputError, match=r"is unknown; .*valid: alpha, beta"):
        registry.load(package, name, "thing")


def test_the_nearest_name_is_suggested_and_only_a_near_one():
    assert registry.suggest("alhpa", ["alpha", "beta"]) == "did you mean 'alpha'? valid: alpha, beta"
    assert registry.suggest("zzz", ["alpha", "beta"]) == "valid: alpha, beta"


@pytest.mark.parametrize("name", ["os", "spectralseg.errors", "no_such_package_at_all"])
def test_what_is_no_package_cannot_be_listed(name):
    with pytest.raises(ModuleNotFoundError):
        registry.names(name)


class TestOptionsOfModels:
    def test_those_of_the_library_are_the_parameters_of_its_classes(self):
        importlib.import_module("spectralseg.models")  # prepares torchvision for the library
        smp = importlib.import_module("segmentation_models_pytorch")
        given = {"self", "kwargs", "encoder_name", "encoder_weights", "in_channels", "classes", "activation"}
        for name, model in smp.MODEL_ARCHITECTURES_MAPPING.items():
            parameters = inspect.signature(model.__init__).parameters
            expected = [key for key in parameters if key not in {*given, "aux_params"}]
            assert list(registry.model_options(name)) == expected
            assert "encoder_depth" in expected

    @pytest.mark.parametrize("name", registry.names("spectralseg.models"))
    def test_those_of_our_own_are_the_keywords_of_build(self, name):
        parameters = inspect.signature(registry.load("spectralseg.models", name, "model").build).parameters.values()
        expected = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
        assert list(registry.model_options(name)) == expected

    def test_no_model_is_imported(self):
        code = "import sys; from spectralseg import registry; registry.check_options('unet', 'resnet18', ['classes'])"
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False
        )
        assert "'classes' is not an option of a model: it follows from the dataset; leave it out" in done.stderr
        assert "torch" not in done.stderr

    @pytest.mark.parametrize(
        ("model", "encoder", "option", "told"),
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
    def test_others_are_refused_everywhere(self, study, model, encoder, option, told):
        with pytest.raises(InputError, match=re.escape(told)):
            registry.check_options(model, encoder, [option])
        study["architectures"]["unet"] |= {"model": model, "encoder": encoder, "options": {option: 1}}
        with pytest.raises(InputError, match=r"^toy\.yaml: architectures\.unet\.options: .*" + re.escape(told)):
            validate_config(study, "toy.yaml")

    def test_the_encoders_of_timm_take_their_own(self):
        registry.check_options("unet", "tu-resnet18", ["drop_path_rate", "decoder_channels"])

    def test_no_option_needs_no_look(self, monkeypatch):
        monkeypatch.setattr(registry, "model_options", None)
        registry.check_options("unet", "resnet18", {})


class TestOptionsOfObjectives:
    @pytest.mark.parametrize("name", registry.names("spectralseg.objectives"))
    def test_they_are_the_parameters_of_build(self, name):
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
    def test_where_the_source_does_not_tell_nothing_is_refused(self, tmp_path, monkeypatch, code, options):
        (tmp_path / "theirs.py").write_text(code)
        monkeypatch.setattr(registry, "_folders", lambda _: [str(tmp_path)])
        registry.objective_options.cache_clear()
        assert registry.objective_options("theirs") == options
        registry.objective_options.cache_clear()

    def test_no_objective_is_imported(self):
        code = "import sys; from spectralseg import registry; registry.check_objective_options('dice', ['smoth'])"
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False
        )
        assert "objective 'dice': option 'smoth' is unknown; did you mean 'smooth'?" in done.stderr
        assert "torch" not in done.stderr


def test_encoders_and_their_weights_are_read_as_the_library_has_them():
    from segmentation_models_pytorch.encoders import encoders

    import spectralseg.models  # noqa: F401 - prepares the import of the library

    assert registry.encoders() == sorted(encoders)
    for name, encoder in encoders.items():
        assert registry.encoder_weights(name) == tuple(encoder["pretrained_settings"])
    assert registry.encoder_weights("resnet51") is None
