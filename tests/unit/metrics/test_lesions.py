"""Lesion metrics against a reference implementation by flood fill, and Agatston scores against sums on paper."""

import itertools
import math

import numpy as np
import pytest

from spectralseg.metrics import agatston_score, match_lesions, precision, risk_category, volume_difference
from spectralseg.metrics.lesions import CONNECTIVITIES, RISK_CATEGORIES, label_lesions, lesion_sizes, volume
from spectralseg.metrics.overlap import overlap_counts


def components(mask, connectivity):
    """Reference implementation: flood fill over sets of coordinates."""
    axes = CONNECTIVITIES[mask.ndim][connectivity]
    steps = [step for step in itertools.product((-1, 0, 1), repeat=mask.ndim) if 0 < sum(map(abs, step)) <= axes]
    remaining = {tuple(map(int, place)) for place in np.argwhere(mask)}
    lesions = []
    while remaining:
        lesion, border = set(), [remaining.pop()]
        while border:
            place = border.pop()
            lesion.add(place)
            neighbours = {tuple(a + b for a, b in zip(place, step, strict=True)) for step in steps} & remaining
            remaining -= neighbours
            border += neighbours
        lesions.append(lesion)
    return lesions


def expected(prediction, reference, connectivity):
    """TP, FP, FN, number of predicted lesions, and sizes and detection of the lesions of the reference."""
    predicted, lesions = (components(mask, connectivity) for mask in (prediction, reference))
    inside, outside = ({tuple(map(int, place)) for place in np.argwhere(mask)} for mask in (prediction, reference))
    detected = [bool(lesion & inside) for lesion in lesions]
    fp = sum(not lesion & outside for lesion in predicted)
    return sum(detected), fp, len(detected) - sum(detected), len(predicted), list(map(len, lesions)), detected


def volumes():
    """Random small images and volumes, some of them empty, with every connectivity."""
    choices = [(dimensions, kind) for dimensions, kinds in CONNECTIVITIES.items() for kind in kinds]
    for seed in range(500):
        rng = np.random.default_rng(seed)
        dimensions, connectivity = choices[seed % len(choices)]
        shape = rng.integers(1, 8, dimensions)
        yield *(rng.random(shape) < rng.choice([0, 0.1, 0.25, 0.5]) for _ in range(2)), connectivity


class TestMatching:
    def test_matches_equal_a_flood_fill(self):
        cases = list(volumes())
        for prediction, reference, connectivity in cases:
            match = match_lesions(prediction, reference, connectivity)
            tp, fp, fn, predicted, sizes, detected = expected(prediction, reference, connectivity)
            assert (match.tp, match.fp, match.fn, match.predicted) == (tp, fp, fn, predicted)
            pairs = zip(match.sizes.tolist(), match.detected.tolist(), strict=True)
            assert sorted(pairs) == sorted(zip(sizes, detected, strict=True))
            assert match.f1 == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan, nan_ok=True)
            assert match.sensitivity == pytest.approx(tp / (tp + fn) if tp + fn else math.nan, nan_ok=True)
            assert match.precision == pytest.approx(tp / (tp + fp) if tp + fp else math.nan, nan_ok=True)
            assert match.count_difference == abs(predicted - len(sizes))
            assert sorted(lesion_sizes(reference, connectivity)) == sorted(sizes)
        assert sum(mask.any() and other.any() for mask, other, _ in cases) > 200

    def test_sensitivity_by_size_equals_counting(self):
        for prediction, reference, connectivity in volumes():
            result = match_lesions(prediction, reference, connectivity).sensitivity_by_size((1.0, 3.0), pixel=0.5)
            *_, sizes, detected = expected(prediction, reference, connectivity)
            for name, low, high in (("small", 0, 2), ("medium", 2, 6), ("large", 6, math.inf)):
                hits = [hit for size, hit in zip(sizes, detected, strict=True) if low < size <= high]
                assert result[name] == pytest.approx(np.mean(hits) if hits else math.nan, nan_ok=True)

    @pytest.mark.parametrize("limits", [(3.0, 1.0), (math.nan, 1.0), (1.0,), (1.0, 2.0, 3.0)])
    def test_invalid_limits_are_refused(self, limits):
        mask = np.ones((2, 2), bool)
        with pytest.raises(ValueError, match="are not two numbers in ascending order"):
            match_lesions(mask, mask).sensitivity_by_size(limits)

    @pytest.mark.parametrize("pixel", [0, -1, math.nan, math.inf, "1"])
    def test_invalid_sizes_of_a_pixel_are_refused(self, pixel):
        mask = np.ones((2, 2), bool)
        with pytest.raises(ValueError, match=r"pixel .* is not"):
            match_lesions(mask, mask).sensitivity_by_size((1.0, 2.0), pixel)

    def test_one_predicted_lesion_may_detect_several(self):
        reference, prediction = np.zeros((1, 9), bool), np.ones((1, 9), bool)
        reference[0, [0, 4, 8]] = True
        match = match_lesions(prediction, reference)
        assert (match.tp, match.fp, match.fn, match.f1, match.count_difference) == (3, 0, 0, 1.0, 2)

    @pytest.mark.parametrize("shape", [(2, 2), (2, 2, 2)])
    def test_pixels_at_opposite_corners_are_connected_by_default(self, shape):
        mask = np.zeros(shape, bool)
        mask[(0,) * len(shape)] = mask[(1,) * len(shape)] = True
        assert label_lesions(mask)[1] == 1
        assert label_lesions(mask, 4 if len(shape) == 2 else 18)[1] == 2

    def test_empty_arrays_have_no_lesions(self):
        empty = np.zeros((0, 0, 0), bool)
        match = match_lesions(empty, empty)
        assert (match.tp, match.fp, match.fn, match.predicted) == (0, 0, 0, 0)
        assert math.isnan(match.f1)

    def test_a_connectivity_of_another_number_of_axes_is_refused(self):
        mask = np.zeros((3, 3), bool)
        with pytest.raises(ValueError, match="connectivity 26 is not valid in 2-D; choose one of 4, 8"):
            match_lesions(mask, mask, 26)

    def test_masks_of_other_shapes_or_values_are_refused(self):
        with pytest.raises(ValueError, match="shapes differ"):
            match_lesions(np.zeros((3, 3), bool), np.zeros((3, 4), bool))
        with pytest.raises(ValueError, match="values other than 0 and 1"):
            match_lesions(np.full((3, 3), 2), np.zeros((3, 3), bool))


class TestVolumes:
    def test_volumes_are_in_millilitres(self):
        prediction, reference = np.zeros((10, 10, 10), bool), np.zeros((10, 10, 10), bool)
        prediction[:4], reference[:1] = True, True
        assert volume(prediction, (2, 0.5, 1)) == pytest.approx(0.4)
        assert volume_difference(prediction, reference, (2, 0.5, 1)) == pytest.approx(0.3)
        assert volume_difference(reference, prediction, (2, 0.5, 1)) == pytest.approx(0.3)

    @pytest.mark.parametrize(("shape", "spacing"), [((4, 4, 4), None), ((4, 4), (1, 1))])
    def test_without_spacing_and_for_images_they_are_undefined(self, shape, spacing):
        assert math.isnan(volume_difference(np.ones(shape, bool), np.zeros(shape, bool), spacing))

    @pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 1, 1), (0, 1, 1), (-1, 1, 1), (math.nan, 1, 1), "111", 1])
    def test_invalid_spacings_are_refused(self, spacing):
        mask = np.ones((2, 3, 3), bool)
        with pytest.raises(ValueError, match="is not one positive number for each of 3 axes"):
            volume_difference(mask, ~mask, spacing)

    def test_precision_is_that_of_pixels(self):
        counts = overlap_counts(np.array([1, 1, 1, 0, 0]), np.array([1, 0, 0, 2, 0]), 2)
        assert precision(counts) == pytest.approx([1 / 3, math.nan], nan_ok=True)


def scan(*pixels, shape=(3, 6, 6)):
    """Mask and Hounsfield units of pixels ``(slice, row, column, HU)`` in soft tissue of 40 HU."""
    mask, hu = np.zeros(shape, bool), np.full(shape, 40.0)
    for *place, value in pixels:
        mask[tuple(place)], hu[tuple(place)] = True, value
    return mask, hu


class TestAgatston:
    @pytest.mark.parametrize(
        ("pixels", "spacing", "score"),
        [
            # Four pixels of 1 mm² with a maximum of 250 HU, weight 2, in a slice of 3 mm.
            ([(1, 1, 1, 130), (1, 1, 2, 250), (1, 2, 1, 180), (1, 2, 2, 199)], (3, 1, 1), 4 * 2),
            # One lesion over two slices, each with the weight of its own maximum; slices of 1.5 mm count half.
            ([(0, 1, 1, 400), (0, 1, 2, 140), (1, 1, 1, 199)], (1.5, 1, 1), (2 * 4 + 1 * 1) / 2),
            # Two lesions in one slice have weights of their own: 1 at 199 HU and 3 at 399 HU.
            ([(2, 0, 0, 199), (2, 4, 4, 399), (2, 4, 5, 300)], (3, 1, 1), 1 * 1 + 2 * 3),
            # A pixel of 0.25 mm² alone is too small; four of them count.
            ([(0, 0, 0, 500), *((1, row, column, 500) for row in (3, 4) for column in (3, 4))], (3, 0.5, 0.5), 4),
            # Pixels below 130 HU do not count and do not connect: 129 HU between two pixels of 1 mm².
            ([(1, 2, 1, 200), (1, 2, 2, 129), (1, 2, 3, 150)], (3, 1, 1), 1 * 2 + 1 * 1),
        ],
    )
    def test_score_on_paper(self, pixels, spacing, score):
        assert agatston_score(*scan(*pixels), spacing) == pytest.approx(score)

    def test_weights_change_at_their_limits(self):
        for value, weight in ((129, 0), (130, 1), (199, 1), (200, 2), (299, 2), (300, 3), (399, 3), (400, 4), (900, 4)):
            assert agatston_score(*scan((0, 0, 0, value)), (3, 1, 1)) == weight

    def test_the_smallest_area_is_an_option(self):
        assert agatston_score(*scan((0, 0, 0, 500)), (3, 0.5, 0.5), least_area=0) == pytest.approx(1)
        assert agatston_score(*scan((0, 0, 0, 500)), (3, 0.5, 0.5)) == 0

    def test_connectivity_decides_which_pixels_share_a_maximum(self):
        diagonal = scan((0, 1, 1, 150), (0, 2, 2, 450))
        assert agatston_score(*diagonal, (3, 1, 1)) == 1 + 4
        assert agatston_score(*diagonal, (3, 1, 1), connectivity=None) == 2 * 4

    def test_dense_pixels_outside_of_the_mask_do_not_count(self):
        mask, hu = scan((0, 1, 1, 150), (0, 1, 2, 450))
        mask[0, 1, 2] = False
        assert agatston_score(mask, hu, (3, 1, 1)) == 1

    @pytest.mark.parametrize("shape", [(2, 3, 3), (0, 0, 0)])
    def test_an_empty_mask_scores_zero(self, shape):
        assert agatston_score(np.zeros(shape, bool), np.zeros(shape), (3, 1, 1)) == 0

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"mask": np.zeros((3, 3), bool)}, r"have the shapes \(3, 3\)"),
            ({"hu": np.zeros((2, 3, 4))}, "pass two volumes"),
            ({"spacing": (3, 1)}, "not one positive number for each of 3 axes"),
            ({"spacing": (3, 0, 1)}, "not one positive number for each of 3 axes"),
            ({"spacing": 3}, "not one positive number for each of 3 axes"),
            ({"spacing": None}, "spacing is None; pass the millimetres of each axis"),
            ({"hu": np.full((2, 3, 3), "200")}, "intensities are not numbers"),
            ({"mask": np.ones((2, 3, 3), bool), "hu": np.full((2, 3, 3), np.nan)}, "some are NaN in the mask"),
            ({"least_area": -1}, "least_area -1 is not a finite number of 0 or more"),
        ],
    )
    def test_wrong_arguments_are_refused(self, changes, message):
        arguments = {"mask": np.zeros((2, 3, 3), bool), "hu": np.zeros((2, 3, 3)), "spacing": (3, 1, 1), **changes}
        with pytest.raises(ValueError, match=message):
            agatston_score(**arguments)


class TestRisk:
    def test_categories_change_above_their_limits(self):
        scores = (0, 0.5, 10, 10.5, 100, 100.5, 400, 400.5, 5000)
        assert [risk_category(score) for score in scores] == [1, 2, 2, 3, 3, 4, 4, 5, 5]
        assert RISK_CATEGORIES == 5

    @pytest.mark.parametrize("score", [-1, math.nan, math.inf])
    def test_other_scores_are_refused(self, score):
        with pytest.raises(ValueError, match="is not a finite number of 0 or more"):
            risk_category(score)
