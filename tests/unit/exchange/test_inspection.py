"""What is conspicuous about predictions is said, and nothing is said of an ordinary bad model."""

import numpy as np
import pytest

from spectralseg.exchange.inspection import Inspection

CLASSES = ["left", "right", "top"]


def organs(rng, depth=0):
    """Three structures whose places and sizes differ, in an image or a volume."""
    labels = np.zeros((max(depth, 1), 48, 48), np.uint8)
    places = np.array([(30, 4, 12), (28, 30, 9), (3, 20, 7)])
    places[:, :2] += rng.integers(0, 4, (3, 2))
    for label, (row, column, size) in enumerate(places, 1):
        labels[: depth // 2 + 1, row : row + size, column : column + size] = label
    return labels if depth else labels[0]


def inspected(change, depth=0, cases=6):
    """Findings on predictions that ``change`` makes of references moved by a pixel."""
    rng, inspection = np.random.default_rng(0), Inspection(CLASSES)
    for number in range(cases):
        reference = organs(rng, depth)
        inspection.add(f"case_{number}", change(np.roll(reference, 1, -1)), reference)
    return list(inspection.findings())


@pytest.mark.parametrize("depth", [0, 6])
def test_honest_predictions_are_not_conspicuous(depth):
    assert inspected(lambda labels: labels, depth) == []


def test_a_bad_model_is_no_finding():
    rng = np.random.default_rng(1)
    assert inspected(lambda labels: np.where(rng.random(labels.shape) < 0.5, labels, 0).astype(np.uint8)) == []
    assert inspected(lambda labels: rng.integers(0, 4, labels.shape).astype(np.uint8)) == []


@pytest.mark.parametrize(
    ("turn", "depth", "named"),
    [
        (lambda labels: labels[..., ::-1], 0, "mirrored left to right"),
        (lambda labels: labels[..., ::-1, :], 6, "mirrored top to bottom"),
        (lambda labels: labels[..., ::-1, ::-1], 0, "turned by 180 degrees"),
        (lambda labels: labels.swapaxes(-1, -2), 6, "with rows and columns exchanged"),
        (lambda labels: labels[::-1], 6, "with slices in reverse order"),
    ],
)
def test_another_orientation(turn, depth, named):
    (finding,) = inspected(turn, depth)
    assert finding.startswith(named)
    assert "instead of 0." in finding


def test_labels_in_another_order():
    order = np.array([0, 3, 1, 2], np.uint8)
    (finding,) = inspected(lambda labels: order[labels])
    assert "1 is right, 2 is top, 3 is left" in finding


def test_copies_of_the_reference():
    rng, inspection = np.random.default_rng(0), Inspection(CLASSES)
    for number in range(4):
        reference = organs(rng)
        inspection.add(f"case_{number}", reference if number else np.roll(reference, 2, 0), reference)
    assert list(inspection.findings()) == ["3 of 4 predictions are the reference itself, to the pixel"]


def test_one_prediction_for_several_cases():
    always = organs(np.random.default_rng(3))
    (finding,) = inspected(lambda _: always, cases=3)
    assert finding == "2 predictions are the same as that of another case, e.g. 'case_0' and 'case_1'"


def test_empty_predictions_are_counted():
    assert inspected(np.zeros_like) == ["6 of 6 predictions are empty where the reference is not"]


def test_where_there_is_nothing_to_see_nothing_is_said():
    inspection = Inspection(CLASSES)
    inspection.add("case", np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))
    assert list(inspection.findings()) == []


def test_planes_that_are_not_square_are_not_transposed():
    inspection = Inspection(["one"])
    reference = np.zeros((8, 12), np.uint8)
    reference[:3, :4] = 1
    inspection.add("case", np.roll(reference, 1, 0), reference)
    assert list(inspection.findings()) == []
