import numpy as np
import pytest
from scipy import ndimage

from spectralseg.metrics import (
    SurfaceDistances,
    average_surface_distance,
    boundary_iou,
    hausdorff95,
    normalized_surface_dice,
)
from spectralseg.metrics.surface import boundary_band, bounding_box, diagonal

METRICS = {
    "hausdorff95": hausdorff95,
    "average_surface_distance": average_surface_distance,
    "normalized_surface_dice": lambda *masks: normalized_surface_dice(*masks, 2.0),
    "boundary_iou": boundary_iou,
    "boundary_band": lambda *masks: boundary_band(*masks, 2).tolist(),
}


def square(row, column, side=6, shape=(40, 60)):
    mask = np.zeros(shape, bool)
    mask[row : row + side, column : column + side] = True
    return mask


@pytest.mark.parametrize("definition", ["max", "pooled"])
def test_equal_masks_have_distance_zero(definition):
    assert hausdorff95(square(5, 5), square(5, 5), definition=definition) == 0


def test_distance_of_shifted_points_is_the_shift():
    a, b = square(5, 5, 1), square(8, 9, 1)
    assert hausdorff95(a, b) == pytest.approx(5)
    assert hausdorff95(a, b, (2.0, 0.5)) == pytest.approx(np.hypot(6, 2))
    assert hausdorff95(a, b, (2.0, 0.5), "pooled") == pytest.approx(np.hypot(6, 2))


def test_volumes_use_the_spacing_of_each_axis():
    a, b = np.zeros((2, 9, 9, 9), bool)
    a[1, 1, 1] = b[3, 1, 1] = True
    assert hausdorff95(a, b, (5.0, 1.0, 1.0)) == 10


@pytest.mark.parametrize("definition", ["max", "pooled"])
def test_hausdorff95_is_symmetric_and_translation_invariant(definition):
    a, b = square(5, 5), square(9, 12, 8)
    value = hausdorff95(a, b, definition=definition)
    assert value > 0
    assert hausdorff95(b, a, definition=definition) == value
    moved = [np.roll(mask, (20, 30), (0, 1)) for mask in (a, b)]
    assert hausdorff95(*moved, definition=definition) == pytest.approx(value)
    padded = [np.pad(mask, 17) for mask in (a, b)]
    assert hausdorff95(*padded, definition=definition) == pytest.approx(value)


def test_max_detects_a_distant_false_positive_and_pooled_does_not():
    reference = square(2, 2, 20)
    prediction = reference | square(36, 56, 1) | square(36, 58, 1)
    assert hausdorff95(prediction, reference, definition="pooled") == 0
    prediction |= square(30, 50, 3)
    assert hausdorff95(prediction, reference, definition="max") > 25


def test_surface_includes_pixels_at_the_image_border():
    full, hole = np.ones((9, 9), bool), np.ones((9, 9), bool)
    hole[4, 4] = False
    assert hausdorff95(full, full) == 0
    assert hausdorff95(full, hole) > 0


@pytest.mark.parametrize("definition", ["max", "pooled"])
def test_one_empty_mask_gives_infinity_and_two_give_nan(definition):
    empty = np.zeros((40, 60), bool)
    assert hausdorff95(empty, square(5, 5), definition=definition) == np.inf
    assert hausdorff95(square(5, 5), empty, definition=definition) == np.inf
    assert np.isnan(hausdorff95(empty, empty, definition=definition))


@pytest.mark.parametrize(
    ("metric", "one", "both"),
    [
        (average_surface_distance, np.inf, np.nan),
        (lambda a, b: normalized_surface_dice(a, b, 1e9), 0, np.nan),
        (boundary_iou, 0, np.nan),
    ],
)
def test_empty_masks_of_other_metrics(metric, one, both):
    empty = np.zeros((40, 60), bool)
    assert metric(empty, square(5, 5)) == metric(square(5, 5), empty) == one
    assert metric(empty, empty) == pytest.approx(both, nan_ok=True)
    assert metric(empty[:0], empty[:0]) == pytest.approx(both, nan_ok=True)


def test_average_gives_surface_pixels_equal_weight():
    a, b = square(5, 5, 1), square(5, 5, 1) | square(5, 15, 1)
    assert average_surface_distance(a, b) == pytest.approx((0 + 0 + 10) / 3)
    assert average_surface_distance(a, b, (1.0, 0.5)) == pytest.approx(5 / 3)


def test_a_distance_equal_to_the_tolerance_is_within():
    a, b = square(5, 5, 1), square(5, 8, 1)
    assert normalized_surface_dice(a, b, 3) == 1
    assert normalized_surface_dice(a, b, 2.99) == 0
    assert normalized_surface_dice(a, b, 1.5, (1.0, 0.5)) == 1
    assert normalized_surface_dice(a, a | b, 0) == pytest.approx(2 / 3)


@pytest.mark.parametrize("steps", range(1, 41))
@pytest.mark.parametrize("step", [0.1, 0.3, 0.4, 0.7, np.float32(0.4), float(np.float32(0.7)), 1 / 3])
@pytest.mark.parametrize("start", [0, 7])
def test_a_distance_equal_to_the_tolerance_is_within_for_rounded_spacings(start, steps, step):
    """Also with spacings in single precision; one voxel more is not within."""
    a, b = np.zeros((2, 8, 60), bool)
    a[2:6, start], b[2:6, start + steps] = True, True
    exact = steps * round(float(step), 6) if step != 1 / 3 else steps / 3
    assert normalized_surface_dice(a, b, exact, (step, step)) == 1
    assert normalized_surface_dice(a, b, exact * (1 - 1e-5), (step, step)) == 0
    diagonal = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    diagonal[0][start, 0] = diagonal[1][start + steps, steps] = True
    assert normalized_surface_dice(*diagonal, exact * np.sqrt(2), (step, step)) == 1


def test_surface_dice_of_a_box_shifted_by_the_tolerance_is_1():
    a, b = np.zeros((2, 20, 60), bool)
    a[3:7, 5:35], b[3 + 5 : 7 + 5, 5:35] = True, True
    assert normalized_surface_dice(a, b, 2.0, (0.4, 0.4)) == 1
    assert normalized_surface_dice(a, b, 1.99, (0.4, 0.4)) < 0.8


def test_boundary_iou_compares_bands_of_the_given_width():
    outer, inner = square(5, 5, 20), square(6, 6, 18)
    bands = 20**2 - 16**2, 18**2 - 14**2
    assert boundary_iou(outer, outer, width=2) == 1
    assert boundary_iou(outer, inner, width=2) == pytest.approx((18**2 - 16**2) / (sum(bands) - 18**2 + 16**2))
    assert boundary_iou(outer, inner, width=100) == pytest.approx(18**2 / 20**2)
    assert boundary_iou(outer, inner, width=0.1) == 0
    assert boundary_iou(outer, inner, (0.5, 0.5), width=1) == boundary_iou(outer, inner, width=2)
    assert boundary_iou(outer, inner, width=1e300) == boundary_iou(outer, inner, width=100)


@pytest.mark.parametrize(("width", "step"), [(0.6, 0.4), (1.4, 0.4), (0.6, np.float32(0.4)), (2.1, 0.6), (3.5, 1.0)])
def test_half_pixel_widths_are_rounded_to_even(width, step):
    a, b = square(5, 5, 20), square(6, 6, 18)
    pixels = round(round(width / float(step), 4))
    assert pixels % 2 == 0
    assert boundary_iou(a, b, (step, step), width) == boundary_iou(a, b, width=pixels)
    assert boundary_iou(a, b, width=pixels) != boundary_iou(a, b, width=pixels - 1)


def test_default_band_width_is_two_percent_of_the_diagonal():
    a, b = square(20, 20, 100, (300, 400)), square(25, 25, 100, (300, 400))
    assert boundary_iou(a, b) == boundary_iou(a, b, width=10)
    assert boundary_iou(a, b) != boundary_iou(a, b, width=11)


def test_methods_of_surface_distances_equal_the_functions():
    a, b = square(5, 5), square(9, 12, 8)
    result = SurfaceDistances.between(a, b, (2.0, 0.5))
    assert len(result.forward) == 20
    assert len(result.backward) == 28
    assert result.hausdorff95() == hausdorff95(a, b, (2.0, 0.5))
    assert result.hausdorff95("pooled") == hausdorff95(a, b, (2.0, 0.5), "pooled")
    assert result.average() == average_surface_distance(a, b, (2.0, 0.5))
    assert result.normalized_dice(3) == normalized_surface_dice(a, b, 3, (2.0, 0.5))


@pytest.mark.parametrize("width", [0, 3, np.sqrt(5), np.sqrt(13), 10])
def test_band_contains_pixels_near_either_surface_per_slice(width):
    a, b, empty = square(0, 5, 9), square(25, 40), np.zeros((40, 60), bool)
    prediction, reference = np.stack([a, empty, empty]), np.stack([b, empty, a])
    band = boundary_band(prediction, reference, width)
    assert not band[1].any()
    for i in (0, 2):
        edges = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) for mask in (prediction[i], reference[i])]
        rows, columns = np.mgrid[:40, :60]
        away = np.min([np.hypot(rows - r, columns - c) for r, c in np.concatenate(edges)], 0)
        assert np.array_equal(band[i], away <= width + 1e-9)


def test_bounding_box():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2, 3], labels[2, 4, 5] = 7, 2
    assert bounding_box(labels) == np.s_[1:3, 2:5, 3:6]
    assert labels[bounding_box(labels * 0)].size == 0


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
class TestEveryMetric:
    A, B = np.stack([square(5, 5)] * 2), np.stack([square(6, 7)] * 2)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
    def test_masks_may_have_any_dtype(self, metric, dtype):
        assert metric(self.A.astype(dtype), self.B) == metric(self.A, self.B.astype(dtype)) == metric(self.A, self.B)

    @pytest.mark.parametrize("value", [2, 255, -1, 0.5, 1e-6, np.nan, np.inf])
    @pytest.mark.parametrize("side", [0, 1])
    def test_other_values_are_refused(self, metric, value, side):
        masks = [self.A, self.B]
        masks[side] = np.where(masks[side], value, 0)
        name = ("prediction", "reference")[side]
        with pytest.raises(ValueError, match=f"{name} has values other than 0 and 1, such as .*; threshold"):
            metric(*masks)

    @pytest.mark.parametrize("shape", [(), (60,), (2, 1, 40, 60), (1, 2, 1, 40, 60)])
    def test_batches_and_channels_are_refused(self, metric, shape):
        masks = np.zeros(shape, bool)
        with pytest.raises(ValueError, match=r"prediction has the shape .*; pass one image \(H, W\) or volume"):
            metric(masks, masks)

    def test_lists_are_refused(self, metric):
        with pytest.raises(ValueError, match="prediction is of type list; pass one image or volume as an array"):
            metric(list(self.A), self.B)
        with pytest.raises(ValueError, match="reference is of type list"):
            metric(self.A, self.B.tolist())

    def test_the_memory_layout_does_not_matter(self, metric):
        read_only = self.A.copy()
        read_only.flags.writeable = False
        layouts = (read_only, np.asfortranarray(self.A), np.repeat(self.A, 2, 2)[..., ::2], self.A.astype(">i4"))
        for mask in layouts:
            assert metric(mask, self.B) == metric(self.A, self.B)

    def test_masked_arrays_are_refused(self, metric):
        with pytest.raises(ValueError, match="reference: metrics ignore the mask of a masked array; pass an array"):
            metric(self.A, np.ma.array(self.B, mask=self.A))

    @pytest.mark.parametrize("dtype", ["U1", "M8[s]", complex])
    def test_values_that_are_not_numbers_are_refused(self, metric, dtype):
        with pytest.raises(ValueError, match=r"prediction has values of type .*, not numbers; threshold"):
            metric(self.A.astype(int).astype(dtype), self.B)

    def test_shapes_must_agree(self, metric):
        with pytest.raises(ValueError, match="shapes differ"):
            metric(self.A, self.B[:1])


def test_tensors_are_accepted():
    torch = pytest.importorskip("torch")
    assert hausdorff95(torch.from_numpy(square(5, 5)), torch.from_numpy(square(6, 5)).long()) == 1


def test_tensors_that_numpy_cannot_read_are_refused():
    torch = pytest.importorskip("torch")
    mask = torch.from_numpy(square(5, 5)).float()
    for tensor in (mask.clone().requires_grad_(), mask.bfloat16(), mask.to_sparse()):
        with pytest.raises(ValueError, match=r"prediction of type Tensor cannot be read as an array .*; pass a NumPy"):
            hausdorff95(tensor, square(6, 5))


@pytest.mark.parametrize("value", [np.nan, -0.1, np.inf, "2", None, [2.0], True])
def test_invalid_tolerances_and_widths_are_refused(value):
    masks = square(5, 5), square(6, 5)
    with pytest.raises(ValueError, match=r"tolerance .* is not a finite number of 0 or more"):
        normalized_surface_dice(*masks, value)
    with pytest.raises(ValueError, match=r"width .* is not a finite number of 0 or more"):
        boundary_band(*(mask[None] for mask in masks), value)
    if value is not None:  # None is 2 % of the diagonal
        with pytest.raises(ValueError, match=r"width .* is not a finite number of 0 or more"):
            boundary_iou(*masks, width=value)


def test_boundary_band_needs_slices():
    with pytest.raises(ValueError, match=r"pass slices \(N, H, W\)"):
        boundary_band(square(5, 5), square(6, 5))


def test_definitions_are_checked():
    with pytest.raises(ValueError, match="definition 'mean' is unknown; valid: max, pooled"):
        hausdorff95(np.ones((2, 2)), np.ones((2, 2)), definition="mean")


@pytest.mark.parametrize(
    "spacing",
    [(1.0,), (1.0, 1.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (np.nan, 1.0), (np.inf, 1.0), 2.0, ("a", 1.0), (None, 1.0), {}],
)
def test_invalid_spacings_are_refused(spacing):
    masks = square(5, 5), square(6, 5)
    for metric in (hausdorff95, average_surface_distance, boundary_iou):
        with pytest.raises(ValueError, match="is not one positive number for each of 2 axes"):
            metric(*masks, spacing)


def test_the_diagonal_is_in_the_units_of_the_spacing():
    assert diagonal((30, 40)) == 50
    assert diagonal((2, 30, 40), (60.0, 1.0, 1.0)) == pytest.approx(130)
