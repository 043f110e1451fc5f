import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectralseg.metrics import (
    Reliability,
    adaptive_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    two_class_calibration,
)


@pytest.mark.parametrize("metric", [expected_calibration_error, maximum_calibration_error, adaptive_calibration_error])
class TestAllBinned:
    @pytest.mark.parametrize("labels", [[0, 1, 1], [1], [[0, 1]]])
    def test_every_probability_has_a_label(self, metric, labels):
        with pytest.raises(ValueError, match="shapes differ"):
            metric(np.array([0.1, 0.9]), np.array(labels))

    @pytest.mark.parametrize("p", [-0.1, 1.1, np.nan])
    def test_what_is_no_probability_is_refused(self, metric, p):
        with pytest.raises(ValueError, match=r"probabilities outside 0\.\.1"):
            metric(np.array([0.5, p]), np.array([0, 1]))

    @pytest.mark.parametrize("label", [2, 255, -1, 0.5, np.nan])
    def test_a_label_that_is_neither_0_nor_1_is_refused(self, metric, label):
        with pytest.raises(ValueError, match=r"labels have values other than 0 and 1, such as .*; pass one class"):
            metric(np.array([0.5, 0.6, 0.7]), np.array([0, 1, label]))

    @pytest.mark.parametrize("bins", [0, -3, 1.5, 15.0, np.nan, "15", None, True])
    def test_bins_that_are_no_number_of_bins_are_refused(self, metric, bins):
        with pytest.raises(ValueError, match=r"bins .* is not a whole number of 1 or more"):
            metric(np.array([0.5, 0.6]), np.array([0, 1]), bins=bins)

    def test_bins_may_be_any_integer(self, metric):
        p, y = np.array([0.2, 0.6]), np.array([0, 1])
        assert metric(p, y, bins=np.int64(4)) == metric(p, y, bins=4)

    def test_text_is_no_probability(self, metric):
        with pytest.raises(ValueError, match=r"probabilities are .*, not numbers"):
            metric(np.array(["0.5"]), np.array([1]))

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


class TestReliability:
    def pixels(self, seed=0, size=20_000, shape=(0.3, 1.5)):
        rng = np.random.default_rng(seed)
        p = rng.beta(*shape, size).astype(np.float32)
        return p, rng.random(size) < np.clip(p + 0.1 * np.sin(20 * p), 0, 1)

    def test_its_values_are_those_of_all_pixels(self):
        p, y = self.pixels()
        sums, exact = Reliability.of(p, y), p.astype(float)
        assert sums.expected_error() == pytest.approx(expected_calibration_error(p, y), rel=1e-9)
        assert sums.maximum_error() == pytest.approx(maximum_calibration_error(p, y), rel=1e-9)
        assert sums.two_class() == pytest.approx(two_class_calibration(p, y), rel=1e-9)
        assert sums.brier() == pytest.approx(np.mean((exact - y) ** 2), rel=1e-9)
        assert sums.negative_log_likelihood() == pytest.approx(
            -np.mean(np.log(np.maximum(np.where(y, exact, 1 - exact), 2.0**-24))), rel=1e-9
        )

    def test_parts_add_up_to_the_whole(self):
        p, y = self.pixels()
        parts = [Reliability.of(*part) for part in ((p[:7], y[:7]), (p[7:9000], y[7:9000]), (p[9000:], y[9000:]))]
        total, whole = sum(parts, Reliability.empty()), Reliability.of(p, y)
        assert np.array_equal(total.pixels, whole.pixels)
        assert np.allclose(total.probability, whole.probability)
        for value in ("expected_error", "maximum_error", "adaptive_error", "brier", "negative_log_likelihood"):
            assert getattr(total, value)() == pytest.approx(getattr(whole, value)(), rel=1e-9)

    def test_its_size_does_not_grow_with_the_pixels(self):
        sizes = {Reliability.of(*self.pixels(size=size)).probability.nbytes for size in (10, 1000, 300_000)}
        assert len(sizes) == 1

    def test_more_pixels_than_are_taken_at_a_time_are_all_counted(self):
        p, y = self.pixels(size=600_000)
        assert Reliability.of(p, y).pixels.sum(1).tolist() == [(~y).sum(), y.sum()]

    def test_no_pixels_have_no_value(self):
        nothing = Reliability.empty()
        assert all(np.isnan(value) for value in nothing.two_class())
        for value in ("expected_error", "maximum_error", "adaptive_error", "brier", "negative_log_likelihood"):
            assert np.isnan(getattr(nothing, value)())

    def test_the_logarithm_of_a_certain_error_is_finite(self):
        assert Reliability.of(np.array([0.0, 1.0]), np.array([1, 0])).negative_log_likelihood() == pytest.approx(
            24 * np.log(2)
        )
        assert Reliability.of(np.array([0.0, 1.0]), np.array([0, 1])).negative_log_likelihood() == 0

    def test_bins_hold_pixels_probabilities_and_foreground(self):
        found = Reliability.of(np.array([0.1, 0.2, 0.9, 1.0]), np.array([0, 1, 1, 0])).binned(3)
        assert found == pytest.approx(np.array([[2, 0, 2], [0.3, 0, 1.9], [1, 0, 1]]))

    @pytest.mark.parametrize("p", [-0.1, 1.1, np.nan, np.inf])
    def test_what_is_no_probability_is_refused(self, p):
        with pytest.raises(ValueError, match=r"probabilities outside 0\.\.1"):
            Reliability.of(np.array([0.5, p]), np.array([0, 1]))

    def test_rounding_beyond_one_is_none_of_it(self):
        found = Reliability.of(np.array([-1e-8, 1 + 1e-7]), np.array([0, 1]))
        assert found.pixels[:, [0, -1]].tolist() == [[1, 0], [0, 1]]
        assert found.expected_error() == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("bins", [0, -1, 2.5])
    def test_numbers_of_bins_and_cells_are_checked(self, bins):
        p, y = np.array([0.5]), np.array([1])
        for call in (
            lambda: Reliability.empty(bins),
            lambda: Reliability.of(p, y, bins),
            lambda: Reliability.of(p, y).binned(bins),
            lambda: Reliability.of(p, y).expected_error(bins),
            lambda: Reliability.of(p, y).maximum_error(bins),
            lambda: Reliability.of(p, y).adaptive_error(bins),
        ):
            with pytest.raises(ValueError, match="is not a whole number of 1 or more"):
                call()

    @pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
    def test_a_least_share_that_is_no_share_is_refused(self, share):
        with pytest.raises(ValueError, match="is not between 0 and 1"):
            maximum_calibration_error(np.array([0.5]), np.array([1]), least_share=share)

    def test_sums_over_different_cells_are_not_added_up(self):
        """One cell would broadcast."""
        with pytest.raises(ValueError, match="15360 and 1 cells cannot be added up"):
            Reliability.empty() + Reliability.of(np.array([0.5]), np.array([1]), 1)

    def test_bins_that_cut_cells_are_refused(self):
        with pytest.raises(ValueError, match="16 cells do not make 15 bins"):
            Reliability.empty(16).expected_error(15)

    @settings(max_examples=80, derandomize=True)
    @given(seed=st.integers(0, 2**32 - 1), a=st.floats(0.01, 4), b=st.floats(0.01, 4), size=st.integers(1, 30_000))
    def test_the_adaptive_error_is_within_its_documented_bound(self, seed, a, b, size):
        p, y = self.pixels(seed, size, (a, b))
        sums = Reliability.of(p, y)
        exact, places = p.astype(float), np.arange(1, 15) / 15
        ends = [np.quantile(exact, places, method=method) for method in ("lower", "higher")]
        cells = np.unique(np.minimum((np.concatenate(ends) * 15 * 1024).astype(int), 15 * 1024 - 1))
        bound = 2 * sums.pixels.sum(0)[cells].sum() / size
        assert sums.adaptive_error() == pytest.approx(adaptive_calibration_error(p, y), abs=bound + 1e-9)

    @pytest.mark.parametrize("shape", [(0.3, 1.5), (0.05, 0.5), (0.02, 0.1), (8, 2), (1, 1)])
    def test_the_adaptive_error_of_many_pixels_is_close_to_the_exact_one(self, shape):
        p, y = self.pixels(1, 300_000, shape)
        assert Reliability.of(p, y).adaptive_error() == pytest.approx(adaptive_calibration_error(p, y), abs=1e-3)
