"""Anomalies of predictions are reported; ordinary bad predictions are not."""

import numpy as np
import pytest

from spectralseg.exchange.inspection import Inspection

CLASSES = ["left", "right", "top"]


def organs(rng, depth=0):
    """Three structures of different position and size, in an image or a volume."""
    labels = np.zeros((max(depth, 1), 48, 48), np.uint8)
    places = np.array([(30, 4, 12), (28, 30, 9), (3, 20, 7)])
    places[:, :2] += rng.integers(0, 4, (3, 2))
    for label, (row, column, size) in enumerate(places, 1):
        labels[: depth // 2 + 1, row : row + size, column : column + size] = label
    return labels if depth else labels[0]


def inspected(change, depth=0, cases=6):
    """Findings for predictions that ``change`` computes from references shifted by a pixel."""
    rng, inspection = np.random.default_rng(0), Inspection(CLASSES)
    for number in range(cases):
        reference = organs(rng, depth)
        inspection.add(f"case_{number}", change(np.roll(reference, 1, -1)), reference)
    return list(inspection.findings())


@pytest.mark.parametrize("depth", [0, 6])
def test_good_predictions_have_no_findings(depth):
    assert inspected(lambda labels: labels, depth) == []


def test_bad_predictions_have_no_findings():
    rng = np.random.default_rng(1)
    assert inspected(lambda labels: np.where(rng.random(labels.shape) < 0.5, labels, 0).astype(np.uint8)) == []
    assert inspected(lambda labels: rng.integers(0, 4, labels.shape).astype(np.uint8)) == []


@pytest.mark.parametrize(
    ("turn", "depth", "start"),
    [
        (lambda labels: labels[..., ::-1], 0, "mirrored left to right"),
        (lambda labels: labels[..., ::-1, :], 6, "mirrored top to bottom"),
        (lambda labels: labels[..., ::-1, ::-1], 0, "turned by 180 degrees"),
        (lambda labels: np.rot90(labels, 1, (-2, -1)), 6, "turned by 90 degrees to the right"),
        (lambda labels: np.rot90(labels, -1, (-2, -1)), 0, "turned by 90 degrees to the left"),
        (lambda labels: labels.swapaxes(-1, -2), 6, "with rows and columns exchanged"),
        (lambda labels: labels[::-1], 6, "with slices in reverse order"),
    ],
)
def test_mirrored_and_rotated_predictions_are_found(turn, depth, start):
    (finding,) = inspected(turn, depth)
    assert finding.startswith(start)
    assert "instead of 0." in finding


def test_permuted_labels_are_found():
    order = np.array([0, 3, 1, 2], np.uint8)
    (finding,) = inspected(lambda labels: order[labels])
    assert "1 is right, 2 is top, 3 is left" in finding


def blob(rng, value=1):
    """One object in the upper right, whose complement covers the opposite corner."""
    labels = np.zeros((48, 48), np.uint8)
    row, column = rng.integers(4, 8), rng.integers(26, 30)
    labels[row : row + 16, column : column + 16] = value
    return labels


def inspected_blobs(change, classes=("polyp",), value=1):
    rng, inspection = np.random.default_rng(0), Inspection(classes)
    for number in range(6):
        reference = blob(rng, value)
        inspection.add(f"case_{number}", change(np.roll(reference, 1, -1)).astype(np.uint8), reference)
    return list(inspection.findings())


def test_exchanged_background_and_object_are_not_reported_as_a_rotation():
    (finding,) = inspected_blobs(lambda labels: 1 - labels)
    assert finding.startswith("with background and object exchanged (0 is polyp, 1 is background), the predictions")
    assert finding.endswith("Dice over all classes and cases 0.94 instead of 0.01")


def test_a_rotation_is_not_reported_as_permuted_labels():
    (finding,) = inspected_blobs(lambda labels: labels[::-1, ::-1])
    assert finding.startswith("turned by 180 degrees, ")


def test_permutations_may_include_the_background():
    order = np.array([2, 0, 3, 1], np.uint8)
    (finding,) = inspected(lambda labels: order[labels])
    assert finding.startswith("with labels in another order (0 is left, 1 is top, 2 is background, 3 is right)")


def test_of_two_explanations_the_better_one_is_reported():
    """Mirroring swaps left and right, so exchanging the two labels is a partial explanation."""

    def mirrored(labels):
        return labels[..., ::-1]

    inspection = Inspection(CLASSES)
    for number in range(4):
        reference = np.zeros((48, 48), np.uint8)
        reference[10:20, 4:14], reference[10:20, 33:43], reference[30:40, 4:14] = 1, 2, 3
        reference = np.roll(reference, number, 0)
        inspection.add(f"case_{number}", mirrored(np.roll(reference, 1, 0)), reference)
    (finding,) = inspection.findings()
    assert finding.startswith("mirrored left to right")


@pytest.mark.parametrize("share", [0.2, 0.8])
@pytest.mark.parametrize("classes", [["polyp"], CLASSES])
def test_empty_predictions_are_not_reported_as_exchanged_labels(share, classes):
    inspection = Inspection(classes)
    reference = (np.arange(2304).reshape(48, 48) < share * 2304).astype(np.uint8)
    inspection.add("case", np.zeros_like(reference), reference)
    assert list(inspection.findings()) == ["1 of 1 predictions are empty where the reference is not"]


def test_low_recall_of_a_binary_model_has_no_findings():
    def little(labels):
        prediction = np.zeros_like(labels)
        prediction[-3:, :3] = 1
        return prediction

    assert all("exchanged" not in finding for finding in inspected_blobs(little))


def test_copies_of_the_reference_are_found():
    rng, inspection = np.random.default_rng(0), Inspection(CLASSES)
    for number in range(4):
        reference = organs(rng)
        inspection.add(f"case_{number}", reference if number else np.roll(reference, 2, 0), reference)
    assert list(inspection.findings()) == ["3 of 4 predictions equal the reference in every pixel"]


def test_equal_predictions_of_several_cases_are_found():
    always = organs(np.random.default_rng(3))
    (finding,) = inspected(lambda _: always, cases=3)
    assert finding == "2 predictions equal the prediction of another case, e.g. 'case_0' and 'case_1'"


def test_empty_predictions_are_counted():
    assert inspected(np.zeros_like) == ["6 of 6 predictions are empty where the reference is not"]


def test_empty_cases_have_no_findings():
    inspection = Inspection(CLASSES)
    inspection.add("case", np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))
    assert list(inspection.findings()) == []


def test_planes_that_are_not_square_are_not_transposed():
    inspection = Inspection(["one"])
    reference = np.zeros((8, 12), np.uint8)
    reference[:3, :4] = 1
    inspection.add("case", np.roll(reference, 1, 0), reference)
    assert list(inspection.findings()) == []
