import numpy as np
import pytest

from spectralseg.metrics import hausdorff95
from spectralseg.metrics.surface import diagonal


def square(row, column, side=6, shape=(40, 60)):
    mask = np.zeros(shape, bool)
    mask[row : row + side, column : column + side] = True
    return mask


@pytest.mark.parametrize("definition", ["max", "pooled"])
def test_equal_masks_have_distance_zero(definition):
    assert hausdorff95(square(5, 5), square(5, 5), definition=definition) == 0


def test_a_point_and_its_shift_are_as_far_apart_as_the_shift():
    a, b = square(5, 5, 1), square(8, 9, 1)
    assert hausdorff95(a, b) == pytest.approx(5)
    assert hausdorff95(a, b, (2.0, 0.5)) == pytest.approx(np.hypot(6, 2))
    assert hausdorff95(a, b, (2.0, 0.5), "pooled") == pytest.approx(np.hypot(6, 2))


def test_volumes_use_the_spacing_of_each_axis():
    a, b = np.zeros((2, 9, 9, 9), bool)
    a[1, 1, 1] = b[3, 1, 1] = True
    assert hausdorff95(a, b, (5.0, 1.0, 1.0)) == 10


@pytest.mark.parametrize("definition", ["max", "pooled"])
def test_it_is_symmetric_and_indifferent_to_where_in_the_image_it_happens(definition):
    a, b = square(5, 5), square(9, 12, 8)
    value = hausdorff95(a, b, definition=definition)
    assert value > 0
    assert hausdorff95(b, a, definition=definition) == value
    moved = [np.roll(mask, (20, 30), (0, 1)) for mask in (a, b)]
    assert hausdorff95(*moved, definition=definition) == pytest.approx(value)
    padded = [np.pad(mask, 17) for mask in (a, b)]
    assert hausdorff95(*padded, definition=definition) == pytest.approx(value)


def test_a_far_false_island_is_seen_by_max_and_missed_by_pooled():
    reference = square(2, 2, 20)
    prediction = reference | square(36, 56, 1) | square(36, 58, 1)
    assert hausdorff95(prediction, reference, definition="pooled") == 0
    prediction |= square(30, 50, 3)
    assert hausdorff95(prediction, reference, definition="max") > 25


def test_masks_that_touch_the_border_have_a_surface_there():
    full, hole = np.ones((9, 9), bool), np.ones((9, 9), bool)
    hole[4, 4] = False
    assert hausdorff95(full, full) == 0
    assert hausdorff95(full, hole) > 0


@pytest.mark.parametrize("definition", ["max", "pooled"])
def test_an_empty_mask_is_infinitely_far_and_two_are_undefined(definition):
    empty = np.zeros((40, 60), bool)
    assert hausdorff95(empty, square(5, 5), definition=definition) == np.inf
    assert hausdorff95(square(5, 5), empty, definition=definition) == np.inf
    assert np.isnan(hausdorff95(empty, empty, definition=definition))


def test_integers_are_taken_as_masks():
    assert hausdorff95(square(5, 5).astype(np.uint8) * 7, square(6, 5).astype(np.int64)) == 1


def test_shapes_and_definitions_are_checked():
    with pytest.raises(ValueError, match="shapes differ"):
        hausdorff95(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="definition 'mean' is unknown; valid: max, pooled"):
        hausdorff95(np.ones((2, 2)), np.ones((2, 2)), definition="mean")


def test_the_diagonal_is_in_the_units_of_the_spacing():
    assert diagonal((30, 40)) == 50
    assert diagonal((2, 30, 40), (60.0, 1.0, 1.0)) == pytest.approx(130)
