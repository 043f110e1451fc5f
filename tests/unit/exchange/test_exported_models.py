"""Exported models give the probabilities of the original and have a model card."""

import importlib.util
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from spectralseg import cli
from spectralseg.errors import InputError
from spectralseg.evaluation.predict import Predictor, load_predictor
from spectralseg.evaluation.suites import evaluate
from spectralseg.exchange import models
from spectralseg.exchange.model_card import Export, Parity, model_card
from spectralseg.exchange.models import FORMATS, Standalone, export_model
from spectralseg.models import available
from spectralseg.preprocessing import to_float
from spectralseg.run_folder import read_settings

pytestmark = pytest.mark.slow

EXTRA = ("onnx", "onnxruntime", "onnxscript")
lacking = pytest.mark.skipif(not all(map(importlib.util.find_spec, EXTRA)), reason="needs the extra 'export'")
KINDS = ["torchscript", pytest.param("onnx", marks=lacking)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["acdc", "kvasir_seg"])
def test_the_exported_model_gives_the_probabilities_of_the_original(kind, name, source, tmp_path):
    example = source(name)
    data, run = example.data, example.run
    parity = export_model(run, data, tmp_path / "out", kind=kind)
    assert parity.error < models.TOLERANCE
    assert parity.labels == 0
    images = to_float(np.asarray(data.images[:5]))
    expected = load_predictor(run, read_settings(run), "best", 5, "cpu")(images)
    # Run the code of the card in its own namespace.
    card = (tmp_path / "out" / "README.md").read_text()
    (usage,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    file = FORMATS[kind].file
    scope = {"images": np.ascontiguousarray(np.moveaxis(images, -1, 1))}
    exec(usage.replace(file, str(tmp_path / "out" / file)), scope)
    assert scope["probabilities"].dtype == np.float32
    assert scope["probabilities"] == pytest.approx(expected, abs=models.TOLERANCE)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(["README.md", file])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["transunet", "transunet_original"])
def test_every_other_architecture_of_the_suite_can_be_exported(kind, name, small_model, tmp_path):
    """UNet is exported above."""
    assert name in available()
    predictor = Predictor(
        small_model(name, 3, 4).eval(), torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.2, 0.3]), 4
    )
    images = np.random.default_rng(0).random((3, 64, 64, 3), np.float32)
    expected = predictor(images)
    form = FORMATS[kind]
    given = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))
    with models._quiet():
        form.write(Standalone(predictor).eval(), given[:2], tmp_path / form.file)
        probabilities = form.read(tmp_path / form.file)(given.numpy())
    assert probabilities == pytest.approx(expected, abs=models.TOLERANCE)


def test_a_model_that_differs_is_an_error_and_leaves_no_files(source, tmp_path, monkeypatch):
    polyps = source("kvasir_seg")
    data, run = polyps.data, polyps.run

    class Shifted(Standalone):
        def forward(self, images):
            return super().forward(images) + 1e-3

    monkeypatch.setattr(models, "Standalone", Shifted)
    with pytest.raises(InputError, match=r"differs from the original by 1\.0e-03, more than 0\.0001"):
        export_model(run, data, tmp_path / "out", kind="torchscript")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_diverged_is_an_error(diverged, tmp_path, kind):
    run, data = diverged
    with pytest.raises(InputError, match="diverged: the run diverged: its logits are not finite"):
        export_model(run, data, tmp_path / "out", kind=kind)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("alone", [True, False])
def test_an_exported_model_that_returns_nan_is_an_error(source, tmp_path, monkeypatch, alone):
    polyps = source("kvasir_seg")
    original = load_predictor(polyps.run, read_settings(polyps.run), "best", 6, "cpu")

    def infer(images):
        return original(np.moveaxis(images, 1, -1)) * np.float32(np.nan if (len(images) == 1) is alone else 1)

    instead = replace(FORMATS["torchscript"], write=lambda model, images, file: file.touch(), read=lambda _: infer)
    monkeypatch.setitem(FORMATS, "torchscript", instead)
    with pytest.raises(InputError, match="differs from the original by nan"):
        export_model(polyps.run, polyps.data, tmp_path / "out", kind="torchscript")
    assert not list(tmp_path.iterdir())


def test_a_model_that_fails_for_one_batch_size_is_an_error(source, tmp_path, monkeypatch):
    polyps = source("kvasir_seg")
    original = load_predictor(polyps.run, read_settings(polyps.run), "best", 6, "cpu")

    def infer(images):
        return original(np.moveaxis(images, 1, -1)) + np.float32(0.5 * (len(images) == 1))

    instead = replace(FORMATS["torchscript"], write=lambda model, images, file: file.touch(), read=lambda _: infer)
    monkeypatch.setitem(FORMATS, "torchscript", instead)
    with pytest.raises(InputError, match=r"differs from the original by 5\.0e-01"):
        export_model(polyps.run, polyps.data, tmp_path / "out", kind="torchscript")


@pytest.fixture(scope="module")
def card(source, tmp_path_factory):
    """The model card of an evaluated run."""
    hearts, folder = source("acdc"), tmp_path_factory.mktemp("card") / "run"
    shutil.copytree(hearts.run, folder)
    evaluate(folder, hearts.data, [], hearts.config.evaluation, folder, device_name="cpu")
    export_model(folder, hearts.data, folder / "out", kind="torchscript")
    return (folder / "out" / "README.md").read_text(), hearts


class TestCard:
    def test_the_card_names_data_licence_training_and_limits(self, card):
        text, hearts = card
        data, settings = hearts.data, read_settings(hearts.run)
        for part in (data.info["licence"], data.info["citation"], "synthetic phantoms", "no medical device"):
            assert part in text
        assert f"{settings['parameters']:,} parameters" in text
        assert "bce_dice with spectral, λ = 0.2, form add" in text
        assert "clipped to the percentiles 0 to 100 of the case and scaled to [0, 1]" in text
        assert "(B, 1, 32, 32)" in text
        assert "(B, 4, 32, 32)" in text
        assert "0 background, 1 right ventricle, 2 myocardium, 3 left ventricle" in text
        assert "{{" not in text
        assert "None" not in text

    def test_the_card_of_cropped_images_says_so(self, source, tmp_path):
        strokes = source("atlas")
        export_model(strokes.run, strokes.data, tmp_path / "out", kind="torchscript")
        text = (tmp_path / "out" / "README.md").read_text()
        assert "clipped to the percentiles 0.5 to 99.5 of the nonzero values of the case and scaled" in text
        assert "cropped or zero-padded about their centre to 32 × 32 pixels, without resampling." in text
        assert "resized" not in text

    def test_the_card_has_results_with_numbers_of_cases(self, card):
        text, hearts = card
        rows = re.findall(r"^\| acdc \| (\w+) \| (\w+) \| (\S+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
        assert [row[:2] for row in rows] == [
            ("published", "dsc"), ("published", "iou"), ("published", "hd95"),
            ("sound", "dsc"), ("sound", "iou"), ("sound", "hd95"), ("sound", "nsd"),
        ]  # fmt: skip
        assert {int(row[3]) for row in rows} == {len(hearts.tested)}

    def test_text_of_a_dataset_is_escaped(self, source):
        polyps = source("kvasir_seg")
        hostile = "<img src=x onerror=alert(1)> [a](javascript:b) `c` | d\n\n# e &lt;script>"
        data = replace(polyps.data, info={**polyps.data.info, "licence": hostile, "title": hostile})
        choice = {"checkpoint": "best", "file": "model.pt", "usage": "a[0] < b", "parity": Parity(1, 0.0, 1e-3, 0.0)}
        text = model_card(read_settings(polyps.run), data, None, Export(**choice))
        without_file = model_card(read_settings(polyps.run), data, None)
        assert without_file.count("&lt;img") == 3
        assert "A segmentation model, without its weights: unet" in without_file
        assert "exported" not in without_file
        escaped = r"&lt;img src=x onerror=alert(1)> \[a\](javascript:b) \`c\` \| d # e &amp;lt;script>"
        assert text.count(escaped) == 3
        assert "<img" not in text
        assert "a[0] < b" in text

    def test_the_card_says_if_there_are_no_results(self, source, tmp_path):
        polyps = source("kvasir_seg")
        data, run = polyps.data, polyps.run
        export_model(run, data, tmp_path / "out", kind="torchscript")
        text = (tmp_path / "out" / "README.md").read_text()
        assert "has not been evaluated" in text
        assert "8-bit values are divided by 255" in text
        assert "above 0.5 it is chosen" in text


def test_missing_onnx_packages_are_an_error_that_says_what_to_install(source, tmp_path, monkeypatch):
    polyps = source("kvasir_seg")
    data, run = polyps.data, polyps.run
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", sys)
    with pytest.raises(InputError, match="onnxscript is not installed; install the extra 'export'"):
        export_model(run, data, tmp_path / "out", kind="onnx")
    assert not list(tmp_path.iterdir())


def test_the_command_line_offers_every_format():
    (action,) = (
        a for a in cli.parser()._subparsers._group_actions[0].choices["export-model"]._actions if a.dest == "format"
    )
    assert action.choices == sorted(FORMATS)
