import itertools

import numpy as np
import pytest
from scipy import stats

from spectralseg.statistics.improvement import probability_of_improvement, share_improved


class TestShareImproved:
    def test_ties_count_half_and_undefined_cases_are_ignored(self):
        assert share_improved([[1, 2, -3, 0, np.nan]]).estimate == pytest.approx(2.5 / 4)

    def test_limits_lie_between_0_and_1(self):
        estimate, low, high = share_improved(np.ones((3, 40)))
        assert estimate == high == 1
        assert 0.9 < low < 0.97, "that all of 40 improve does not say that all others would"
        low, high = share_improved(np.array([[1, 1, -1], [1, 1, 1]]))[1:]
        assert 0 <= low <= high <= 1

    def test_coverage(self):
        hits = 0
        for number in range(600):
            rng = np.random.default_rng(number)
            values = 0.5 + rng.normal(0, 1, (1, 60)) + rng.normal(0, 0.2, (3, 60))
            result = share_improved(values, resamples=400, seed=number % 20)
            hits += result.low <= stats.norm.cdf(0.5 / np.hypot(1, 0.2)) <= result.high
        assert 0.92 <= hits / 600 <= 0.98

    def test_without_values_the_result_is_nan(self):
        assert np.isnan(share_improved(np.full((2, 2), np.nan))).all()


class TestProbabilityOfImprovement:
    def test_equals_mann_whitney_u_averaged_over_datasets(self):
        rng = np.random.default_rng(0)
        one, other = rng.normal(0.2, 1, (5, 3)).round(1), rng.normal(0, 1, (4, 3)).round(1)
        expected = np.mean([stats.mannwhitneyu(one[:, d], other[:, d]).statistic / 20 for d in range(3)])
        assert probability_of_improvement(one, other).estimate == pytest.approx(expected)

    def test_limits_are_those_of_resampled_runs(self):
        one, other = np.array([[1.0], [3.0]]), np.array([[2.0], [0.0]])
        means = [
            np.mean([(one[i, 0] > other[j, 0]) for i in first for j in second])
            for first in itertools.product((0, 1), repeat=2)
            for second in itertools.product((0, 1), repeat=2)
        ]
        result = probability_of_improvement(one, other)
        assert result[1:] == pytest.approx(np.quantile(means, [0.025, 0.975], method="inverted_cdf"))

    def test_clear_cases(self):
        assert probability_of_improvement([[2, 2], [3, 3]], [[1, 1], [0, 0]]) == (1, 1, 1)
        assert probability_of_improvement([[1.0]], [[1.0]]) == (0.5, 0.5, 0.5)

    @pytest.mark.parametrize(
        ("one", "other"), [(np.ones((2, 3)), np.ones((2, 2))), (np.empty((0, 2)), np.ones((1, 2)))]
    )
    def test_datasets_must_agree(self, one, other):
        with pytest.raises(ValueError, match="runs of the same datasets"):
            probability_of_improvement(one, other)
