import numpy as np
import pytest
from scipy import stats

from spectralseg.statistics.bootstrap import paired_interval
from spectralseg.statistics.equivalence import equivalence


def differences(seed, truth, seeds=6, cases=60, sd=0.01):
    rng = np.random.default_rng(seed)
    return truth + rng.normal(0, sd / 5, (seeds, 1)) + rng.normal(0, sd, (1, cases)) + rng.normal(0, sd, (seeds, cases))


def test_equivalence_by_the_90_percent_interval():
    for number in range(20):
        values = differences(number, 0.003)
        result = equivalence(values, margin=0.005)
        assert result.interval == pytest.approx(paired_interval(values, level=0.9))
        assert result.equivalent == (result.interval.low > -0.005 and result.interval.high < 0.005) == (result.p < 0.05)


def test_level_at_the_margin():
    result = [equivalence(differences(n, 0.005), margin=0.005, resamples=1000).equivalent for n in range(1500)]
    assert 0.03 <= np.mean(result) <= 0.07


def test_power_at_zero_and_beyond_the_margin():
    assert np.mean([equivalence(differences(n, 0.0), resamples=500).equivalent for n in range(200)]) > 0.75
    assert not any(equivalence(differences(n, 0.02), resamples=500).equivalent for n in range(200))


def test_p_with_one_seed_equals_two_t_tests():
    values = differences(3, 0.002, 1, 80)
    p = max(
        stats.ttest_1samp(values[0], bound, alternative=side).pvalue
        for bound, side in ((-0.005, "greater"), (0.005, "less"))
    )
    assert equivalence(values, margin=0.005, resamples=100_000).p == pytest.approx(p, abs=0.005)


def test_fewer_than_three_seeds_are_not_equivalent():
    assert not equivalence(np.zeros((1, 50))).equivalent
    assert not equivalence(np.zeros((2, 50))).equivalent
    assert equivalence(np.zeros((3, 50))).equivalent
    collapsed = np.vstack([np.zeros((2, 50)), np.full((1, 50), np.nan)])
    assert not equivalence(collapsed).equivalent, "a seed without values is no third seed"


def test_noise_is_not_equivalent():
    assert not equivalence(differences(0, 0.0, sd=1.0)).equivalent


def test_without_differences_nothing_is_equivalent():
    result = equivalence(np.full((3, 4), np.nan))
    assert not result.equivalent
    assert np.isnan([*result.interval, result.p]).all()


def test_invalid_margins_are_refused():
    with pytest.raises(ValueError, match="margin 0 must be positive"):
        equivalence([[0.1]], margin=0)
