"""Every public name has an example in its docstring, and examples print what they show."""

import doctest
import importlib
import io

import pytest
import torch
from tests.contract.test_public_names import PUBLIC

NAMES = [
    f"{package}.{name}" for package in PUBLIC for name in importlib.import_module(f"spectralseg.{package}").__all__
]


@pytest.fixture(scope="session")
def pretrained(made_once):
    """A folder with a masked autoencoder as ``spectralseg pretrain`` stores it."""

    def make(folder):
        from spectralseg.models import Sizes, untrained_map

        sizes = Sizes(patch=8, width=16, layers=1, heads=2, decoder_width=16, decoder_layers=1, decoder_heads=2)
        content = {"best": untrained_map(3, sizes, 32).state_dict(), "sizes": sizes.as_dict()}
        torch.save({**content, "channels": 3, "side": 32}, folder / "model.pt")

    return made_once("pretrained-examples", make)


@pytest.fixture
def study_folder(tmp_path, monkeypatch, prepared_phantom, pretrained):
    """The working directory of the examples: prepared data and pretrained weights."""
    for name, target in {
        "data/kvasir_seg": prepared_phantom("kvasir_seg").path,
        "pretraining/kvasir_seg/mae": pretrained,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("study_folder")
def test_a_public_name_has_an_example_that_is_correct(name):
    package, attribute = name.split(".")
    result = getattr(importlib.import_module(f"spectralseg.{package}"), attribute)
    example = doctest.DocTestParser().get_doctest(result.__doc__ or "", {}, name, None, None)
    assert example.examples, f"{name} has no example in its docstring; add one under 'Examples:'"
    output = io.StringIO()
    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=output.write)
    assert not outcome.failed, output.getvalue()
