import json

import pytest

from spectralseg.config import Training, validate_config
from spectralseg.grid import Run
from spectralseg.training.loop import train
from spectralseg.training.schedule import iterations, learning_rate


def rates(schedule, last=8):
    training = Training(schedule=schedule, learning_rate=0.2)
    return [learning_rate(training, iteration, last) for iteration in range(last)]


@pytest.mark.parametrize(
    ("schedule", "half"), [("poly", 0.5**0.9), ("cosine", 0.5), ("constant", 1.0)], ids=["poly", "cosine", "constant"]
)
def test_rates_start_at_the_learning_rate_and_never_rise(schedule, half):
    values = rates(schedule)
    assert values[0] == 0.2
    assert values == sorted(values, reverse=True)
    assert values[4] == pytest.approx(0.2 * half)
    assert values[-1] > 0


@pytest.mark.parametrize(
    ("epochs", "batch_size", "expected"), [(None, 8, 14000), (1, 5, 2), (1, 6, 1), (1, 3, 2), (0.01, 6, 1), (2.5, 8, 2)]
)
def test_iterations_are_configured_or_computed_from_epochs(toy, epochs, batch_size, expected):
    assert len(toy.rows("train")) == 6
    assert iterations(Training(epochs=epochs, batch_size=batch_size), toy) == expected


def test_a_dataset_may_set_the_iterations_of_its_runs(study, toy, tmp_path):
    study["training"] |= {"iterations": 50}
    study["datasets"]["toy"]["iterations"] = 3
    run, config = Run("toy", "unet", "spatial", "0", 0), validate_config(study, "toy.yaml")
    train(config, run, toy, tmp_path, device_name="cpu")
    run_json = json.loads((tmp_path / "run.json").read_text())
    assert run_json["iterations"] == run_json["training"]["iterations"] == 3
    assert run_json["training"].items() >= config.training_of("toy").learned().items()
