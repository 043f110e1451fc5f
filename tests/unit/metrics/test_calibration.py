import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectralseg.metrics import (
    Reliability,
    adaptive_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
)


@pytest.mark.parametrize("metric", [expected_calibration_error, maximum_calibration_error, adaptive_calibration_error])
class TestAllBinned:
    @pytest.mark.parametrize("labels", [[0, 1, 1], [1], [[0, 1]]])
    def test_shapes_must_agree(self, metric, labels):
        with pytest.raises(ValueError, match="shapes differ"):
            metric(np.array([0.1, 0.9]), np.array(labels))

    @pytest.mark.parametrize("p", [-0.1, 1.1, np.nan])
    def test_invalid_probabilities_are_refused(self, metric, p):
        with pytest.raises(ValueError, match=r"probabilities outside 0\.\.1"):
            metric(np.array([0.5, p]), np.array([0, 1]))

    @pytest.mark.parametrize("label", [2, 255, -1, 0.5, np.nan])
    def test_labels_other_than_0_and_1_are_refused(self, metric, label):
        with pytest.raises(ValueError, match=r"labels have values other than 0 and 1, such as .*; pass one class"):
            metric(np.array([0.5, 0.6, 0.7]), np.array([0, 1, label]))

    def test_masked_arrays_are_refused(self, metric):
        p, y = np.array([0.5, 0.6]), np.array([0, 1])
        for pair in ((np.ma.array(p, mask=y), y), (p, np.ma.array(y, mask=y))):
            with pytest.raises(ValueError, match="metrics ignore the mask of a masked array"):
                metric(*pair)

    @pytest.mark.parametrize("bins", [0, -3, 1.5, 15.0, np.nan, "15", None, True])
    def test_invalid_numbers_of_bins_are_refused(self, metric, bins):
        with pytest.raises(ValueError, match=r"bins .* is not a whole number of 1 or more"):
            metric(np.array([0.5, 0.6]), np.array([0, 1]), bins=bins)

    def test_bins_may_be_any_integer(self, metric):
        p, y = np.array([0.2, 0.6]), np.array([0, 1])
        assert metric(p, y, bins=np.int64(4)) == metric(p, y, bins=4)

    def test_text_is_refused(self, metric):
        with pytest.raises(ValueError, match=r"probabilities are .*, not numbers"):
            metric(np.array(["0.5"]), np.array([1]))

    def test_perfect_certainty_has_no_error(self, metric):
        labels = np.array([0, 1, 1, 0])
        assert metric(labels.astype(float), labels) == 0

    def test_certain_errors_have_error_1(self, metric):
        labels = np.array([0, 1, 1, 0])
        assert metric(1.0 - labels, labels) == 1

    def test_without_pixels_the_error_is_nan(self, metric):
        assert np.isnan(metric(np.empty(0), np.empty(0)))

    def test_shape_and_type_do_not_matter(self, metric):
        rng = np.random.default_rng(0)
        p, y = rng.random((4, 5, 6), np.float32), rng.random((4, 5, 6)) < 0.5
        assert metric(p, y) == metric(p.ravel(), y.ravel().astype(np.uint8))

    def test_overconfidence_increases_the_error(self, metric):
        rng = np.random.default_rng(0)
        truth = rng.random(200_000)
        labels = rng.random(200_000) < truth
        assert metric(truth, labels) < 0.02
        assert metric(np.clip(1.6 * (truth - 0.5) + 0.5, 0, 1), labels) > 0.05


def test_expected_error_weights_bins_by_pixels_and_maximum_error_does_not():
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


def test_maximum_error_ignores_bins_with_few_pixels():
    p, y = np.array([0.05] * 9_999 + [0.95]), np.zeros(10_000)
    assert maximum_calibration_error(p, y) == pytest.approx(0.05)
    assert maximum_calibration_error(p, y, least_share=0.0) == pytest.approx(0.95)


def test_adaptive_bins_hold_equally_many_pixels():
    rng = np.random.default_rng(0)
    p = np.sort(rng.beta(0.4, 3, 1_500))
    y = rng.random(1_500) < p**2
    expected = np.mean([abs(p[part].mean() - y[part].mean()) for part in np.array_split(np.arange(1_500), 15)])
    assert adaptive_calibration_error(p, y) == pytest.approx(expected, abs=0.003)


def test_adaptive_error_of_constant_probabilities():
    assert adaptive_calibration_error(np.full(10, 0.3), np.array([1] * 5 + [0] * 5)) == pytest.approx(0.2)


def test_two_class_errors():
    p, y = np.array([0.9, 0.7, 0.1, 0.1]), np.array([1, 1, 0, 0])
    assert Reliability.of(p, y).two_class() == pytest.approx((0.15, 0.2))


@pytest.mark.parametrize("label", [0, 1])
def test_two_class_errors_of_an_absent_class_are_nan(label):
    assert all(np.isnan(Reliability.of(np.array([0.2, 0.7]), np.array([label, label])).two_class()))


def test_a_probability_on_an_edge_belongs_to_the_bin_above():
    assert expected_calibration_error(np.array([0.5, 0.9]), np.array([0, 1]), bins=2) == pytest.approx(0.2)


class TestReliability:
    def pixels(self, seed=0, size=20_000, shape=(0.3, 1.5)):
        rng = np.random.default_rng(seed)
        p = rng.beta(*shape, size).astype(np.float32)
        return p, rng.random(size) < np.clip(p + 0.1 * np.sin(20 * p), 0, 1)

    def test_errors_equal_the_functions(self):
        p, y = self.pixels()
        sums, exact = Reliability.of(p, y), p.astype(float)
        assert sums.expected_error() == pytest.approx(expected_calibration_error(p, y), rel=1e-9)
        assert sums.maximum_error() == pytest.approx(maximum_calibration_error(p, y), rel=1e-9)
        assert sums.brier() == pytest.approx(np.mean((exact - y) ** 2), rel=1e-9)
        assert sums.negative_log_likelihood() == pytest.approx(
            -np.mean(np.log(np.maximum(np.where(y, exact, 1 - exact), 2.0**-24))), rel=1e-9
        )

    def test_sum_of_parts_equals_the_whole(self):
        p, y = self.pixels()
        parts = [Reliability.of(*part) for part in ((p[:7], y[:7]), (p[7:9000], y[7:9000]), (p[9000:], y[9000:]))]
        total, whole = sum(parts, Reliability.empty()), Reliability.of(p, y)
        assert np.array_equal(total.pixels, whole.pixels)
        assert np.allclose(total.probability, whole.probability)
        for value in ("expected_error", "maximum_error", "adaptive_error", "brier", "negative_log_likelihood"):
            assert getattr(total, value)() == pytest.approx(getattr(whole, value)(), rel=1e-9)

    def test_size_does_not_depend_on_the_number_of_pixels(self):
        sizes = {Reliability.of(*self.pixels(size=size)).probability.nbytes for size in (10, 1000, 300_000)}
        assert len(sizes) == 1

    def test_pixels_over_several_chunks(self):
        p, y = self.pixels(size=600_000)
        assert Reliability.of(p, y).pixels.sum(1).tolist() == [(~y).sum(), y.sum()]

    def test_without_pixels_all_values_are_nan(self):
        nothing = Reliability.empty()
        assert all(np.isnan(value) for value in nothing.two_class())
        for value in ("expected_error", "maximum_error", "adaptive_error", "brier", "negative_log_likelihood"):
            assert np.isnan(getattr(nothing, value)())

    def test_the_logarithm_of_a_certain_error_is_finite(self):
        assert Reliability.of(np.array([0.0, 1.0]), np.array([1, 0])).negative_log_likelihood() == pytest.approx(
            24 * np.log(2)
        )
        assert Reliability.of(np.array([0.0, 1.0]), np.array([0, 1])).negative_log_likelihood() == 0

    def test_binned(self):
        result = Reliability.of(np.array([0.1, 0.2, 0.9, 1.0]), np.array([0, 1, 1, 0])).binned(3)
        assert result == pytest.approx(np.array([[2, 0, 2], [0.3, 0, 1.9], [1, 0, 1]]))

    @pytest.mark.parametrize("p", [-0.1, 1.1, np.nan, np.inf])
    def test_invalid_probabilities_are_refused(self, p):
        with pytest.raises(ValueError, match=r"probabilities outside 0\.\.1"):
            Reliability.of(np.array([0.5, p]), np.array([0, 1]))

    def test_rounding_errors_of_probabilities_are_accepted(self):
        result = Reliability.of(np.array([-1e-8, 1 + 1e-7]), np.array([0, 1]))
        assert result.pixels[:, [0, -1]].tolist() == [[1, 0], [0, 1]]
        assert result.expected_error() == pytest.approx(0, abs=1e-6)

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

    @pytest.mark.parametrize("share", [-0.1, 1.1, np.nan, "0.1", None])
    def test_invalid_least_shares_are_refused(self, share):
        with pytest.raises(ValueError, match="is not between 0 and 1"):
            maximum_calibration_error(np.array([0.5]), np.array([1]), least_share=share)

    def test_sums_over_different_cells_are_not_added_up(self):
        """One cell would be broadcast."""
        with pytest.raises(ValueError, match="15360 and 1 cells cannot be added up"):
            Reliability.empty() + Reliability.of(np.array([0.5]), np.array([1]), 1)

    def test_bins_must_consist_of_whole_cells(self):
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
