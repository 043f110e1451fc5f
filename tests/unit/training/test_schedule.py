import pytest

from spectralseg.config import Training
from spectralseg.training.schedule import iterations, learning_rate


def rates(schedule, last=8):
    training = Training(schedule=schedule, learning_rate=0.2)
    return [learning_rate(training, iteration, last) for iteration in range(last)]


@pytest.mark.parametrize(
    ("schedule", "half"), [("poly", 0.5**0.9), ("cosine", 0.5), ("constant", 1.0)], ids=["poly", "cosine", "constant"]
)
def test_rates_start_at_the_learning_rate_and_never_rise(schedule, half):
    found = rates(schedule)
    assert found[0] == 0.2
    assert found == sorted(found, reverse=True)
    assert found[4] == pytest.approx(0.2 * half)
    assert found[-1] > 0


@pytest.mark.parametrize(
    ("epochs", "images", "expected"), [(None, 10, 14000), (1, 10, 2), (1, 16, 2), (0.01, 16, 1), (2.5, 6, 2)]
)
def test_iterations_are_given_or_follow_from_epochs(epochs, images, expected):
    assert iterations(Training(epochs=epochs, batch_size=8), images) == expected
