import numpy as np
import pytest

from spectralseg.metrics import (
    adaptive_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    two_class_calibration,
)


@pytest.mark.parametrize("metric", [expected_calibration_error, maximum_calibration_error, adaptive_calibration_error])
class TestAllBinned:
    def test_perfect_certainty_has_no_error(self, metric):
        labels = np.array([0, 1, 1, 0])
        assert metric(labels.astype(float), labels) == 0

    def test_certain_and_wrong_is_one(self, metric):
        labels = np.array([0, 1, 1, 0])
        assert metric(1.0 - labels, labels) == 1

    def test_no_pixels_are_undefined(self, metric):
        assert np.isnan(metric(np.empty(0), np.empty(0)))

    def test_shape_and_type_do_not_matter(self, metric):
        rng = np.random.default_rng(0)
        p, y = rng.random((4, 5, 6), np.float32), rng.random((4, 5, 6)) < 0.5
        assert metric(p, y) == metric(p.ravel(), y.ravel().astype(np.uint8))

    def test_a_calibrated_forecast_has_a_small_error_and_an_overconfident_one_a_large(self, metric):
        rng = np.random.default_rng(0)
        truth = rng.random(200_000)
        labels = rng.random(200_000) < truth
        assert metric(truth, labels) < 0.02
        assert metric(np.clip(1.6 * (truth - 0.5) + 0.5, 0, 1), labels) > 0.05


def test_the_expected_error_weighs_bins_by_pixels_and_the_maximum_does_not():
    p, y = np.array([0.1] * 90 + [0.9] * 10), np.array([0] * 90 + [0] * 10)
    assert expected_calibration_error(p, y, bins=2) == pytest.approx(0.9 * 0.1 + 0.1 * 0.9)
    assert maximum_calibration_error(p, y, bins=2) == pytest.approx(0.9)


def test_gaps_of_opposite_sign_cancel_within_a_bin_only():
    p, y = np.array([0.1, 0.3, 0.6, 0.8]), np.array([0, 1, 1, 0])
    assert expected_calibration_error(p, y, bins=2) == pytest.approx(0.5 * (0.5 - 0.2) + 0.5 * (0.7 - 0.5))
    assert expected_calibration_error(p, y, bins=1) == pytest.approx(0.05)


def test_probability_one_belongs_to_the_last_bin_and_zero_to_the_first():
    assert expected_calibration_error(np.array([1.0, 0.95]), np.array([1, 0]), bins=10) == pytest.approx(0.475)
    assert expected_calibration_error(np.array([0.0, 0.05]), np.array([1, 0]), bins=10) == pytest.approx(0.475)


def test_the_maximum_leaves_out_bins_with_hardly_a_pixel():
    p, y = np.array([0.05] * 9_999 + [0.95]), np.zeros(10_000)
    assert maximum_calibration_error(p, y) == pytest.approx(0.05)
    assert maximum_calibration_error(p, y, least_share=0.0) == pytest.approx(0.95)


def test_adaptive_bins_hold_equally_many_pixels():
    rng = np.random.default_rng(0)
    p = np.sort(rng.beta(0.4, 3, 1_500))
    y = rng.random(1_500) < p**2
    expected = np.mean([abs(p[part].mean() - y[part].mean()) for part in np.array_split(np.arange(1_500), 15)])
    assert adaptive_calibration_error(p, y) == pytest.approx(expected, abs=0.003)


def test_adaptive_bins_survive_constant_probabilities():
    assert adaptive_calibration_error(np.full(10, 0.3), np.array([1] * 5 + [0] * 5)) == pytest.approx(0.2)


def test_the_two_class_pair_is_the_mean_and_maximum_of_the_errors_of_both_classes():
    p, y = np.array([0.9, 0.7, 0.1, 0.1]), np.array([1, 1, 0, 0])
    assert two_class_calibration(p, y) == pytest.approx((0.15, 0.2))


@pytest.mark.parametrize("label", [0, 1])
def test_the_two_class_pair_is_undefined_where_a_class_is_absent(label):
    assert all(np.isnan(two_class_calibration(np.array([0.2, 0.7]), np.array([label, label]))))


def test_a_probability_on_an_edge_belongs_to_the_bin_above():
    assert expected_calibration_error(np.array([0.5, 0.9]), np.array([0, 1]), bins=2) == pytest.approx(0.2)
