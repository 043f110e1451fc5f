"""Training on a CUDA device: every fast path gives the result of the reference path."""

import json
import logging

import pytest
import torch

from spectralseg.config import Training, validate_config
from spectralseg.errors import Interrupted
from spectralseg.grid import Run
from spectralseg.objectives import available, build_objective
from spectralseg.torch_setup import make_deterministic
from spectralseg.training import batches as module
from spectralseg.training import loop
from spectralseg.training.cuda_graph import _WARM_UP
from spectralseg.training.learner import Learner
from spectralseg.training.stop import StopRequest

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
STEPS = 9


def learn(small_model, data, *, name="unet", objective="bce_dice", level="warn", steps=STEPS, **options):
    """A learner after some steps, and the objective in each."""
    settings = Training(
        **{"iterations": steps, "batch_size": 4, "learning_rate": 0.05, "deterministic": level, **options}
    )
    make_deterministic(level, 0)
    model = small_model(name, data.info["channels"], data.outputs).to(CUDA)
    learner = Learner(model, build_objective(objective), settings, data.info["mean"], data.info["std"])
    torch.manual_seed(1)
    values = [learner.step(images, masks, 0.05) for images, masks in module.batches(data, settings, 0, 0, steps, CUDA)]
    return learner, torch.stack(values).cpu()


def distance(first, second):
    """Largest difference between the weights of two learners."""
    return max(
        float((weights.float() - other_weights.float()).abs().max())
        for weights, other_weights in zip(first.weights().values(), second.weights().values(), strict=True)
    )


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", available())
def test_every_objective_is_the_same_as_on_the_cpu(name, channels):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, channels, 32, 32, generator=generator)
    masks = torch.randint(0, max(2, channels), (3, 32, 32), generator=generator)
    objective, results = build_objective(name), []
    for device in (CPU, CUDA):
        leaf = logits.to(device, copy=True).requires_grad_()
        value = objective(leaf, masks.to(device))
        value.backward()
        results.append((value.detach().cpu(), leaf.grad.cpu()))
    (value, slope), (expected, expected_slope) = results[1], results[0]
    assert value == pytest.approx(expected, rel=1e-4)
    assert torch.allclose(slope, expected_slope, rtol=1e-3, atol=1e-4 * float(expected_slope.abs().max()))


@pytest.mark.parametrize(("channels", "label"), [(1, 255), (4, 7), (4, -1)])
@pytest.mark.parametrize("name", available())
def test_a_label_out_of_range_makes_value_and_gradient_nan(name, channels, label):
    logits = torch.zeros(2, channels, 32, 32, device=CUDA, requires_grad=True)
    masks = torch.zeros(2, 32, 32, dtype=torch.long, device=CUDA)
    masks[0, 0, 0] = label
    value = build_objective(name)(logits, masks)
    value.backward()
    assert value.isnan()
    assert logits.grad.isnan().any()


@pytest.mark.parametrize("name", ["toy", "hearts"])
def test_cached_batches_equal_those_of_albumentations(request, name):
    data, settings = request.getfixturevalue(name), Training(iterations=12, batch_size=8)
    expected = module.batches(data, settings, 3, 0, 12, CPU)
    for (images, masks), (image, mask) in zip(module.batches(data, settings, 3, 0, 12, CUDA), expected, strict=True):
        assert images.device.type == masks.device.type == "cuda"
        assert (images.cpu() - image).abs().max() < 1e-3
        assert (masks.cpu() != mask).float().mean() < 5e-4


def test_images_that_do_not_fit_are_loaded_batch_by_batch(toy, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (1000, 10**9))
    images, _ = next(module.batches(toy, Training(iterations=1, batch_size=2), 0, 0, 1, CUDA))
    assert images.device.type == "cpu"
    assert "do not fit beside the model" in caplog.text


@pytest.mark.parametrize("options", [{}, {"gradient_clip": 0.5}, {"precision": "bf16"}, {"precision": "fp16"}])
@pytest.mark.parametrize("name", ["unet", "transunet"])
def test_a_captured_step_equals_the_uncaptured_step(small_model, hearts, name, options):
    """Values are equal up to the order of additions, which is not fixed in TransUNet's upsampling. The first steps,
    three of them captured, are compared closely. Dropout draws the same random numbers."""
    captured, values = learn(small_model, hearts, name=name, **options)
    reference, expected = learn(small_model, hearts, name=name, cuda_graph=False, **options)
    assert captured._step.graph is not None
    first, tolerance = _WARM_UP + 3, 0.02 if options.get("precision") else 2e-3
    assert torch.allclose(values[:first], expected[:first], rtol=tolerance), (values, expected)
    assert distance(captured, reference) < 0.05
    assert captured.scaler.state_dict() == reference.scaler.state_dict()


def test_a_captured_step_is_bit_equal_with_deterministic_algorithms(small_model, toy):
    first, values = learn(small_model, toy, level="strict")
    second, expected = learn(small_model, toy, level="strict", cuda_graph=False)
    assert torch.equal(values, expected)
    assert distance(first, second) == 0


@pytest.mark.parametrize(
    "options", [{"resident": False}, {"fused": False}, {"channels_last": False}, {"workers": 2, "resident": False}]
)
def test_each_fast_path_can_be_disabled_without_changing_the_result(small_model, toy, options):
    _, values = learn(small_model, toy)
    _, expected = learn(small_model, toy, **options)
    assert torch.allclose(values[:4], expected[:4], rtol=2e-3)
    assert torch.allclose(values, expected, rtol=3e-2)


WAITING = ["hausdorff", "boundary"]  # their distances are computed on the host


@pytest.mark.parametrize("name", WAITING)
def test_an_objective_that_waits_for_the_host_is_trained_without_a_graph(small_model, toy, name, caplog):
    with caplog.at_level(logging.INFO):
        learner, values = learn(small_model, toy, objective=name)
    assert learner._step.graph is None
    assert "as they wait for the device" in caplog.text
    _, expected = learn(small_model, toy, objective=name, cuda_graph=False)
    assert torch.allclose(values, expected, rtol=2e-3)


@pytest.mark.parametrize("name", [name for name in available() if name not in WAITING])
def test_every_other_objective_is_captured(small_model, hearts, name):
    learner, values = learn(small_model, hearts, objective=name, steps=5)
    assert learner._step.graph is not None
    assert values.isfinite().all()


@pytest.mark.parametrize("graph", [True, False])
def test_nothing_in_a_step_waits_for_the_device(small_model, toy, graph):
    settings = Training(iterations=20, batch_size=4, cuda_graph=graph)
    learner, _ = learn(small_model, toy, cuda_graph=graph)
    stream = module.batches(toy, settings, 0, 0, 20, CUDA)
    next(stream)
    torch.cuda.set_sync_debug_mode("error")
    for images, masks in stream:
        learner.step(images, masks, 0.01)
    torch.cuda.set_sync_debug_mode("default")


def test_replays_draw_new_dropout(small_model, toy):
    settings = Training(iterations=12, batch_size=4, learning_rate=1e-12, flip=False, rotate=0)
    model = small_model("transunet", dropout=0.5).to(CUDA)
    learner = Learner(model, build_objective("bce_dice"), settings, toy.info["mean"], toy.info["std"])
    images, masks = next(module.batches(toy, settings, 0, 0, 1, CUDA))
    values = [float(learner.step(images, masks, 1e-12)) for _ in range(12)]
    assert learner._step.graph is not None
    assert len({round(value, 6) for value in values}) > 9


@pytest.fixture
def config(study):
    study["training"] |= {"iterations": 11, "save_every": 4, "validate_every": 5, "tensorboard": True}
    return validate_config(study, "toy.yaml")


def outcome(config, data, folder, run):
    loop.train(config, run, data, folder, device_name="cuda")
    return torch.load(folder / "model.pt", weights_only=True)["last"], json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_interrupted_run_equals_an_uninterrupted_one(study, toy, tmp_path, monkeypatch, precision):
    study["training"] |= {"iterations": 11, "save_every": 4, "validate_every": 5, "precision": precision}
    study["training"] |= {"deterministic": "strict"}
    config, run = validate_config(study, "toy.yaml"), Run("toy", "unet", "mixed", "0.2", 0)
    whole, info = outcome(config, toy, tmp_path / "whole", run)
    assert info["peak_memory"]["cuda_mib"] > 0
    check, calls = StopRequest.check, []
    monkeypatch.setattr(StopRequest, "check", lambda request: calls.append(1) or len(calls) == 6)
    with pytest.raises(Interrupted):
        loop.train(config, run, toy, tmp_path / "cut", device_name="cuda")
    monkeypatch.setattr(StopRequest, "check", check)
    again, _ = outcome(config, toy, tmp_path / "cut", run)
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_event_files_and_outputs_are_written(config, toy, tmp_path):
    _, info = outcome(config, toy, tmp_path / "run", Run("toy", "transunet", "spatial", "0", 0))
    assert info["iterations"] == 11
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    assert info["hardware"]["device"].startswith("cuda")


def test_a_prepared_dataset_of_volumes_trains_in_every_precision(small_model, hearts):
    for precision in ("fp32", "bf16", "fp16"):
        _, values = learn(small_model, hearts, precision=precision, steps=40)
        assert values.isfinite().all()
        assert values[-5:].mean() < values[:5].mean()
