"""The public names; their signatures may be extended only."""

import importlib
import inspect
import re

import numpy as np
import pytest
import torch
from tests.conftest import REPOSITORY

import spectralseg

PUBLIC = ("adapters", "data", "errors", "metrics", "models", "objectives", "statistics")
REQUIRED = inspect.Parameter.empty
SIGNATURES = {
    "objectives.spectral_similarity": [
        ("probabilities", REQUIRED), ("targets", REQUIRED), ("*band", None), ("*weighting", 0.0)
    ],
    "objectives.build_objective": [("name", REQUIRED), ("**options", REQUIRED)],
    "objectives.available": [],
    "models.build_model": [
        ("name", REQUIRED),
        ("in_channels", REQUIRED),
        ("classes", REQUIRED),
        ("*encoder", "resnet50"),
        ("*encoder_weights", None),
        ("**options", REQUIRED),
    ],
    "models.available": [],
    "metrics.hausdorff95": [
        ("prediction", REQUIRED), ("reference", REQUIRED), ("spacing", None), ("definition", "max")
    ],
    "metrics.overlap_counts": [("prediction", REQUIRED), ("reference", REQUIRED), ("classes", REQUIRED)],
    "metrics.dice": [("counts", REQUIRED)],
    "metrics.iou": [("counts", REQUIRED)],
    "metrics.sensitivity": [("counts", REQUIRED)],
    "metrics.specificity": [("counts", REQUIRED)],
    "metrics.accuracy": [("counts", REQUIRED)],
    "metrics.expected_calibration_error": [("probabilities", REQUIRED), ("labels", REQUIRED), ("bins", 15)],
    "metrics.maximum_calibration_error": [("probabilities", REQUIRED), ("labels", REQUIRED), ("bins", 15)],
    "metrics.adaptive_calibration_error": [("probabilities", REQUIRED), ("labels", REQUIRED), ("bins", 15)],
    "data.open_prepared": [("path", REQUIRED)],
    "data.verify_prepared": [("path", REQUIRED)],
    "statistics.paired_interval": [("differences", REQUIRED), ("groups", None), ("*level", 0.95)],
    "statistics.equivalence": [("differences", REQUIRED), ("groups", None), ("*margin", 0.005), ("*level", 0.05)],
    "statistics.holm": [("p_values", REQUIRED)],
    "statistics.ranking_stability": [("scores", REQUIRED), ("groups", None), ("*higher_is_better", True)],
}  # fmt: skip
KINDS = {
    inspect.Parameter.KEYWORD_ONLY: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_public_function_has_its_signature_and_a_docstring(name):
    module, function = name.split(".")
    result = getattr(importlib.import_module(f"spectralseg.{module}"), function)
    assert result.__doc__
    parameters = inspect.signature(result).parameters.values()
    given = {KINDS[p.kind] + p.name: p.default for p in parameters}
    expected = dict(SIGNATURES[name])
    assert expected.items() <= given.items()
    positional = [key for key in given if not key.startswith("*")]
    assert positional[: len(expected)][: sum(not key.startswith("*") for key in expected)] == [
        key for key in expected if not key.startswith("*")
    ], "the order of positional arguments"
    added = given.keys() - expected.keys()
    assert all(given[key] is not REQUIRED for key in added), "what is added has a default"


def test_public_modules_export_what_they_promise():
    for module in PUBLIC:
        imported = importlib.import_module(f"spectralseg.{module}")
        assert imported.__all__
        for name in imported.__all__:
            assert hasattr(imported, name)


def test_the_page_on_the_api_lists_every_public_name():
    page = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `spectralseg\.(\w+)` \|.*\| ([^|]*) \|$", page, re.MULTILINE)
    listed = {package: re.findall(r"`(\w+)`", names) for package, names in rows}
    assert listed == {name: list(importlib.import_module(f"spectralseg.{name}").__all__) for name in PUBLIC}


def test_the_return_values_are_of_the_promised_kinds(toy):
    from spectralseg import data, metrics, models, objectives

    y = torch.ones(1, 1, 8, 8)
    assert objectives.spectral_similarity(0.5 * y, y).shape == ()
    assert {"unet", "transunet"} <= set(models.available())
    assert {"bce_dice", "spectral"} <= set(objectives.available())
    mask = np.eye(8, dtype=bool)
    assert metrics.hausdorff95(mask, mask, None, "pooled") == 0.0
    tp, fp, fn, tn = metrics.overlap_counts(mask, mask, 1)
    assert [part.tolist() for part in (tp, fp, fn, tn)] == [[8], [0], [0], [56]]
    assert metrics.dice(metrics.overlap_counts(mask, mask, 1)).tolist() == [1.0]
    assert isinstance(metrics.expected_calibration_error(np.array([0.5]), np.array([1])), float)
    opened = data.open_prepared(str(toy.path))
    assert opened.path == toy.path
    assert data.verify_prepared(str(toy.path))["test"] == 3


def test_the_package_has_a_version():
    assert spectralseg.__version__.count(".") == 2
