import numpy as np
import pytest

from spectralseg.statistics.ranking import ranking_stability


def scores(means, seeds=5, cases=40, sd=1.0, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, sd, (1, seeds, cases))
    return np.reshape(means, (-1, 1, 1)) + shared + rng.normal(0, sd, (len(means), seeds, cases))


def test_ranks_follow_means_and_direction():
    values = scores([1, 3, 2], sd=0.1)
    assert ranking_stability(values).ranks.tolist() == [3, 1, 2]
    assert ranking_stability(values, higher_is_better=False).ranks.tolist() == [1, 3, 2]


def test_the_ranking_of_very_different_methods_is_stable():
    result = ranking_stability(scores([1, 3, 2], sd=0.1))
    assert result.low.tolist() == result.high.tolist() == [3, 1, 2]
    assert result.wins.tolist() == [0, 1, 0]
    assert result.tau == pytest.approx((1, 1, 1))


@pytest.mark.slow
def test_without_differences_all_methods_win_equally():
    wins = np.mean([ranking_stability(scores([0] * 4, seed=n), resamples=200).wins for n in range(40)], 0)
    assert wins == pytest.approx([0.25] * 4, abs=0.12)
    result = ranking_stability(scores([0] * 4))
    assert (result.high - result.low >= 2).all()
    assert result.tau.estimate < 0.8


def test_equal_methods_share_rank_and_wins():
    values = np.tile(scores([0]), (2, 1, 1))
    result = ranking_stability(values)
    assert result.ranks.tolist() == [1.5, 1.5]
    assert result.wins.tolist() == [0.5, 0.5]


def test_resamples_without_a_ranking_do_not_count():
    result = ranking_stability([[[0.5, 0.8, 0.9]], [[0.5, 0.7, 0.8]]])
    assert result.tau == (1, 1, 1)
    assert np.isnan(ranking_stability(np.zeros((2, 1, 3))).tau).all()


def test_cases_of_a_patient_are_resampled_together():
    apart = scores([0, 0.2], cases=20)
    together = np.repeat(apart, 10, 2)
    grouped = ranking_stability(together, np.repeat(np.arange(20), 10))
    assert grouped.wins == pytest.approx(ranking_stability(apart).wins)
    assert ranking_stability(together).wins.max() > grouped.wins.max()


def test_undefined_scores_are_left_out():
    values = scores([1, 2], sd=0.1)
    values[0, :, :10] = np.nan
    assert ranking_stability(values).ranks.tolist() == [2, 1]


@pytest.mark.parametrize("values", [np.zeros((1, 3, 4)), np.zeros((3, 4)), np.full((2, 3, 4), np.nan)])
def test_invalid_scores_are_refused(values):
    with pytest.raises(ValueError, match="at least two methods"):
        ranking_stability(values)
