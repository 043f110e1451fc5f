import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from spectralseg.statistics.significance import fewest_seeds, holm, sign_flip, smallest_p, wilcoxon


class TestWilcoxon:
    def test_equals_scipy_on_group_means(self):
        values = np.random.default_rng(0).normal(0.3, 1, (3, 20))
        groups = np.repeat(np.arange(10), 2)
        means = values.reshape(3, 10, 2).mean((0, 2))
        assert wilcoxon(values, groups) == pytest.approx(stats.wilcoxon(means).pvalue)

    def test_undefined_cells_are_left_out(self):
        values = np.random.default_rng(0).normal(0.3, 1, (3, 10))
        values[1, 4] = np.nan
        values[:, 7] = np.nan
        assert wilcoxon(values) == pytest.approx(stats.wilcoxon(np.nanmean(np.delete(values, 7, 1), 0)).pvalue)

    def test_p_without_any_difference_is_1(self):
        assert wilcoxon(np.zeros((3, 5))) == 1

    @pytest.mark.parametrize("nothing", [np.full((2, 3), np.nan), np.empty((2, 0)), []])
    def test_without_values_the_result_is_nan(self, nothing):
        assert np.isnan(wilcoxon(nothing))

    @pytest.mark.slow
    def test_under_the_null_one_in_twenty_is_below_5_percent(self):
        result = [wilcoxon(np.random.default_rng(n).normal(0, 1, (3, 40))) < 0.05 for n in range(2000)]
        assert 0.035 <= np.mean(result) <= 0.065


class TestSignFlip:
    @pytest.mark.parametrize("seeds", [2, 3, 6])
    def test_p_is_the_share_of_sign_patterns_at_least_as_extreme(self, seeds):
        values = np.random.default_rng(seeds).normal(0.5, 1, (seeds, 7))
        means = values.mean(1)
        patterns = [abs(np.dot(means, signs)) for signs in itertools.product((1, -1), repeat=seeds)]
        assert sign_flip(values) == pytest.approx(np.mean(np.array(patterns) >= abs(means.sum()) - 1e-12))

    @pytest.mark.parametrize(("seeds", "p"), [(1, 1), (2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125), (8, 0.0078125)])
    def test_smallest_p(self, seeds, p):
        assert sign_flip(np.full((seeds, 4), 100.0)) == smallest_p(seeds) == p

    def test_fewest_seeds(self):
        assert fewest_seeds() == 6
        assert fewest_seeds(0.25) == 3

    def test_level_under_the_null(self):
        result = [sign_flip(np.random.default_rng(n).normal(0, 1, (6, 3))) <= 0.05 for n in range(1000)]
        assert np.mean(result) == pytest.approx(2**-5, abs=0.015)

    def test_without_values_the_result_is_nan(self):
        assert np.isnan(sign_flip(np.full((3, 2), np.nan)))


class TestHolm:
    def test_published_example(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
    def test_equals_the_closed_bonferroni_test(self, values):
        """The adjusted p of a hypothesis is the largest Bonferroni p of all sets that contain it."""
        places = range(len(values))
        sets = [s for size in places for s in itertools.combinations(places, size + 1)]
        expected = [max(min(1, len(s) * min(values[k] for k in s)) for s in sets if place in s) for place in places]
        assert holm(values) == pytest.approx(expected)

    def test_nan_stays_nan_and_is_not_counted(self):
        result = holm([0.02, np.nan, 0.03])
        assert result[[0, 2]] == pytest.approx([0.04, 0.04])
        assert np.isnan(result[1])
        assert holm([]).size == 0
        assert np.isnan(holm([np.nan])).all()

    def test_family_wise_error_rate(self):
        result = [(holm(np.random.default_rng(n).uniform(size=14)) < 0.05).any() for n in range(4000)]
        assert 0.035 <= np.mean(result) <= 0.06


@pytest.mark.parametrize("values", [[[0.01, 0.02], [0.03, 0.04]], [1.5], [-0.1]])
def test_invalid_p_values_are_refused(values):
    with pytest.raises(ValueError, match="p values"):
        holm(values)
