"""Metric objects of torchmetrics and MONAI equal the functions and keep the contracts of their libraries."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from monai.metrics import CumulativeIterationMetric

from spectralseg import adapters, metrics
from spectralseg.adapters import MonaiMetric, TorchMetric
from spectralseg.errors import InputError
from spectralseg.metrics.averaging import OVERLAP
from spectralseg.metrics.catalogue import metric_of

OPTIONS = {"nsd": {"tolerance": 2.0}}
SURFACE = {
    "hd95": metrics.hausdorff95,
    "assd": metrics.average_surface_distance,
    "nsd": metrics.normalized_surface_dice,
    "boundary_iou": metrics.boundary_iou,
}
NAMES = (*OVERLAP, *SURFACE)
SPACING = (2.0, 0.5)


def label_maps(cases=4, side=24):
    """Predictions and references of two classes, present in all cases."""
    reference = np.zeros((cases, side, side), np.int64)
    for case in range(cases):
        reference[case, 3 : 10 + case, 3:12] = 1
        reference[case, 14:20, 8 : 14 + case] = 2
    return np.roll(reference, 1, axis=2), reference


def expected(name, prediction, reference, label):
    masks = prediction == label, reference == label
    if name in OVERLAP:
        return float(OVERLAP[name](metrics.overlap_counts(*masks, classes=1))[0])
    return SURFACE[name](*masks, spacing=SPACING, **OPTIONS.get(name, {}))


def one_hot(labels):
    return torch.nn.functional.one_hot(torch.as_tensor(labels), 3).movedim(-1, 1)


@pytest.fixture(params=["torchmetrics", "monai"])
def adapter(request):
    """Builds a metric; its result has ``add(predictions, references, **spacing)``, ``mean()`` and ``reset()``."""

    def build(name, **options):
        options = {"spacing": SPACING, **OPTIONS.get(name, {}), **options}
        if request.param == "torchmetrics":
            metric = TorchMetric(name, 2, **options)
            add, mean = lambda p, r, **s: metric.update(torch.as_tensor(p), torch.as_tensor(r), **s), metric.compute
        else:
            metric = MonaiMetric(name, **options)
            add, mean = lambda p, r, **s: metric(one_hot(p), one_hot(r), **s), metric.aggregate
        metric.add, metric.mean = add, mean
        return metric

    return build


@pytest.mark.parametrize("name", NAMES)
def test_values_over_batches_equal_the_functions(adapter, name):
    predictions, references = label_maps()
    metric = adapter(name, per_class=True)
    for batch in (slice(0, 1), slice(1, 4)):
        metric.add(predictions[batch], references[batch])
    values = [[expected(name, p, r, k) for k in (1, 2)] for p, r in zip(predictions, references, strict=True)]
    assert metric.mean().tolist() == pytest.approx(np.mean(values, 0).tolist(), rel=1e-6)
    metric.per_class = False
    metric._computed = None
    assert float(metric.mean()) == pytest.approx(np.mean(values), rel=1e-6)
    assert metric.undefined.tolist() == [0, 0]


def test_a_reset_metric_starts_again(adapter):
    _, references = label_maps()
    metric = adapter("dsc")
    metric.add(np.zeros_like(references), references)
    assert float(metric.mean()) == 0
    metric.reset()
    metric.add(references, references)
    assert float(metric.mean()) == 1
    metric.reset()
    assert np.isnan(float(metric.mean()))


def test_missing_structures_have_the_values_of_the_sound_protocol(adapter):
    empty, (_, references) = np.zeros((1, 24, 24), np.int64), label_maps(1)
    for name, missed, absent in (("dsc", 0, 1), ("hd95", float(np.hypot(48, 12)), 0), ("sensitivity", 0, float("nan"))):
        metric = adapter(name)
        metric.add(empty, references)
        assert float(metric.mean()) == pytest.approx(missed)
        metric.reset()
        metric.add(empty, empty)
        assert float(metric.mean()) == pytest.approx(absent, nan_ok=True)
        assert metric.undefined.tolist() == ([1, 1] if name == "sensitivity" else [0, 0])


def test_a_batch_may_have_its_own_spacing(adapter):
    predictions, references = label_maps()
    metric = adapter("hd95")
    metric.add(predictions, references, spacing=(1.0, 3.0))
    assert float(metric.mean()) == 3


def test_volumes_are_cases(adapter):
    predictions, references = label_maps(cases=3)
    metric = adapter("hd95", spacing=(5.0, *SPACING), per_class=True)
    metric.add(predictions[None], references[None])
    values = [
        metrics.hausdorff95(predictions == label, references == label, spacing=(5.0, *SPACING)) for label in (1, 2)
    ]
    assert metric.mean().tolist() == pytest.approx(values)


def test_unknown_metrics_and_wrong_shapes_are_refused(adapter):
    with pytest.raises(InputError, match="metric 'hd' cannot be computed here; choose one of dsc, iou"):
        adapter("hd")
    predictions, references = label_maps()
    with pytest.raises(ValueError, match=r"(masks|labels) have the shapes"):
        adapter("dsc").add(predictions[:2], references)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dsc", {"tolerance": 2.0}, "metric 'dsc': option 'tolerance' is unknown; its options are: none"),
        ("hd95", {"per_clas": True}, "metric 'hd95': option 'per_clas' is unknown; its options are: definition"),
        ("nsd", {}, "metric 'nsd': option 'tolerance' is missing; its options are: tolerance"),
    ],
)
def test_options_are_checked_at_once(name, options, message):
    for build in (lambda: TorchMetric(name, 1, **options), lambda: MonaiMetric(name, **options)):
        with pytest.raises(InputError) as caught:
            build()
        assert str(caught.value) == message


def test_probabilities_and_unknown_labels_are_refused():
    """They would be scored as empty or full masks."""
    target = torch.ones(2, 8, 8, dtype=torch.long)
    metric = TorchMetric("dsc", 1)
    for preds in (torch.full((2, 8, 8), 0.7), torch.full((2, 8, 8), torch.nan), 2 * target, -target, 255 * target):
        with pytest.raises(ValueError, match="preds have values other than the labels 0 to 1; apply a threshold"):
            metric.update(preds, target)
    with pytest.raises(ValueError, match=r"labels have the shapes \(2, 1, 8, 8\) and \(2, 8, 8\); pass two batches"):
        metric.update(target[:, None], target)
    for y_pred in (torch.full((2, 1, 8, 8), 0.7), 2 * target[:, None]):
        with pytest.raises(ValueError, match="predictions have values other than the labels 0 to 1"):
            MonaiMetric("dsc")(y_pred, target[:, None])
    with pytest.raises(ValueError, match="classes"):
        TorchMetric("dsc", 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_torchmetric_knows_its_direction_and_library(name):
    metric = TorchMetric(name, 1, **OPTIONS.get(name, {}))
    assert isinstance(metric, importlib.import_module("torchmetrics").Metric)
    assert metric.higher_is_better == metric_of(name).higher_is_better
    assert isinstance(MonaiMetric(name, **OPTIONS.get(name, {})), CumulativeIterationMetric)


def test_states_of_processes_are_joined():
    predictions, references = label_maps()
    whole, parts = TorchMetric("dsc", 2), [TorchMetric("dsc", 2) for _ in range(2)]
    whole.update(torch.as_tensor(predictions), torch.as_tensor(references))
    for part, batch in zip(parts, (slice(0, 1), slice(1, 4)), strict=True):
        part.update(torch.as_tensor(predictions[batch]), torch.as_tensor(references[batch]))
    parts[0].values = torch.cat([part._values() for part in parts])  # as torchmetrics does when it synchronises
    assert parts[0].compute() == whole.compute()


def test_a_forward_call_returns_the_value_of_the_batch():
    references = torch.as_tensor(label_maps()[1])
    metric = TorchMetric("dsc", 2)
    assert metric(references, references) == 1
    assert metric(torch.zeros_like(references), references) == 0
    assert metric.compute() == pytest.approx(0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package", "extra"), [("TorchMetric", "torchmetrics", "reference"), ("MonaiMetric", "monai", "train")]
)
def test_a_missing_library_is_named_with_its_extra(name, package, extra):
    code = f"""
import sys
sys.modules["{package}"] = None
import spectralseg.adapters
try:
    spectralseg.adapters.{name}
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message = f"spectralseg.adapters.{name} needs {package}; install it with: pip install 'spectralseg[{extra}]'\n"
    assert done.stdout == message


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="has no attribute 'KerasMetric'"):
        _ = adapters.KerasMetric
