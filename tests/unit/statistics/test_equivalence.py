import numpy as np
import pytest
from scipy import stats

from spectralseg.statistics.bootstrap import paired_interval
from spectralseg.statistics.equivalence import equivalence


def differences(seed, truth, seeds=6, cases=60, sd=0.01):
    rng = np.random.default_rng(seed)
    return truth + rng.normal(0, sd / 5, (seeds, 1)) + rng.normal(0, sd, (1, cases)) + rng.normal(0, sd, (seeds, cases))


def test_it_is_the_90_percent_interval_within_the_margin():
    for number in range(20):
        values = differences(number, 0.003)
        found = equivalence(values, margin=0.005)
        assert found.interval == pytest.approx(paired_interval(values, level=0.9))
        assert found.equivalent == (found.interval.low > -0.005 and found.interval.high < 0.005) == (found.p < 0.05)


def test_at_the_margin_one_in_twenty_is_called_equivalent():
    found = [equivalence(differences(n, 0.005), margin=0.005, resamples=1000).equivalent for n in range(1500)]
    assert 0.03 <= np.mean(found) <= 0.07


def test_at_zero_most_are_and_far_beyond_none():
    assert np.mean([equivalence(differences(n, 0.0), resamples=500).equivalent for n in range(200)]) > 0.75
    assert not any(equivalence(differences(n, 0.02), resamples=500).equivalent for n in range(200))


def test_with_one_seed_p_is_that_of_two_t_tests():
    values = differences(3, 0.002, 1, 80)
    p = max(
        stats.ttest_1samp(values[0], bound, alternative=side).pvalue
        for bound, side in ((-0.005, "greater"), (0.005, "less"))
    )
    assert equivalence(values, margin=0.005, resamples=100_000).p == pytest.approx(p, abs=0.005)


def test_fewer_than_three_seeds_prove_nothing_about_others():
    assert not equivalence(np.zeros((1, 50))).equivalent
    assert not equivalence(np.zeros((2, 50))).equivalent
    assert equivalence(np.zeros((3, 50))).equivalent
    collapsed = np.vstack([np.zeros((2, 50)), np.full((1, 50), np.nan)])
    assert not equivalence(collapsed).equivalent, "a seed without values is no third seed"


def test_noise_is_not_taken_for_equality():
    assert not equivalence(differences(0, 0.0, sd=1.0)).equivalent


def test_nothing_is_not_equivalent():
    found = equivalence(np.full((3, 4), np.nan))
    assert not found.equivalent
    assert np.isnan([*found.interval, found.p]).all()


def test_a_margin_is_positive():
    with pytest.raises(ValueError, match="margin 0 must be positive"):
        equivalence([[0.1]], margin=0)
