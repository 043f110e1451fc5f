import numpy as np
import pytest
from scipy import stats

from spectralseg.statistics.bootstrap import Interval, mean_and_draws, paired_interval
from spectralseg.statistics.margins import MARGIN, Margins
from spectralseg.statistics.significance import fewest_seeds, partial_conjunction
from spectralseg.statistics.verdicts import (
    DIRECTIONS,
    FAILS,
    FEWEST_SEEDS,
    HOLDS,
    UNCERTAIN,
    degrees_of_freedom,
    judge,
    margin_needed,
    p_values,
    side,
)


def interval(low, high):
    return Interval((low + high) / 2, low, high)


def test_a_verdict_needs_three_seeds_and_a_winner_six():
    assert FEWEST_SEEDS == 3
    assert fewest_seeds() == 6


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("low", "high"), [(1, 2), (-2, -1), (-0.001, 0.001)])
def test_with_fewer_seeds_everything_is_uncertain(direction, low, high):
    narrow = interval(low, high)
    for seeds in (0, 1, 2):
        assert judge(narrow, seeds, 60, direction=direction, margin=0.1, narrow=narrow).verdict == UNCERTAIN
        assert np.isnan(margin_needed(narrow, narrow, seeds, 60, direction=direction))
        few_groups = judge(narrow, 3, seeds, direction=direction, margin=0.1, narrow=narrow)
        assert few_groups.verdict == UNCERTAIN
        assert np.isnan(margin_needed(narrow, narrow, 3, seeds, direction=direction))
    assert side(low, high, 2, 60) == side(low, high, 60, 2) == 0
    assert side(low, high, 3, 60) == (low > 0) - (high < 0)


@pytest.mark.parametrize(
    ("direction", "low", "high", "margin", "verdict"),
    [
        ("higher", 1, 2, None, HOLDS),
        ("higher", 0, 2, None, UNCERTAIN),
        ("higher", -2, -1, None, FAILS),
        ("higher", -1, 1, None, UNCERTAIN),
        ("higher", -1, 1, 2, FAILS),
        ("higher", 1, 1.5, 2, HOLDS),
        ("lower", -2, -1, None, HOLDS),
        ("lower", 1, 2, None, FAILS),
        ("similar", -1, 1, 2, HOLDS),
        ("similar", -1, 3, 2, UNCERTAIN),
        ("similar", 3, 4, 2, FAILS),
        ("similar", -4, -3, 2, FAILS),
        ("similar", 3, 4, None, UNCERTAIN),
        ("no worse", -1, 4, 2, HOLDS),
        ("no worse", -3, 4, 2, UNCERTAIN),
        ("no worse", -4, -3, 2, FAILS),
        ("no worse", -4, -3, None, UNCERTAIN),
        ("no worse", 0.1, 3, None, HOLDS),
        ("no worse", 0, 3, None, UNCERTAIN),
        ("higher", np.nan, np.nan, 2, UNCERTAIN),
    ],
)
def test_verdicts(direction, low, high, margin, verdict):
    result = interval(low, high)
    assert judge(result, 3, 60, direction=direction, margin=margin, narrow=result).verdict == verdict
    turned = interval(-high, -low)  # for a metric with lower values being better
    other = {"higher": "lower", "lower": "higher"}.get(direction, direction)
    message = judge(turned, 3, 60, direction=other, margin=margin, narrow=turned, higher_is_better=False)
    assert message.verdict == verdict


def differences(number):
    rng = np.random.default_rng(number)
    truth = rng.choice([0, 0.002, 0.005, 0.01]) * rng.choice([-1, 1])
    shape = (int(rng.integers(3, 7)), int(rng.integers(8, 40)))
    return truth + rng.normal(0, 0.002, (shape[0], 1)) + rng.normal(0, 0.008, shape)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("margin", [None, MARGIN])
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_p_values_are_those_of_the_intervals(direction, margin, higher_is_better):
    """There is a verdict if and only if its p value is at most 0.05; it changes at the margin."""
    seen = set()
    for number in range(60):
        values = differences(number)
        meant = {"direction": direction, "higher_is_better": higher_is_better}
        result, narrow = paired_interval(values), paired_interval(values, level=0.9)
        verdict = judge(result, len(values), values.shape[1], margin=margin, narrow=narrow, **meant).verdict
        p = p_values(mean_and_draws(values)[1], len(values) - 1, margin=margin, **meant)
        assert (verdict == HOLDS) == (p.holds <= 0.05)
        if verdict != HOLDS:
            assert (verdict == FAILS) == (p.fails <= 0.05)
        needed = margin_needed(result, narrow, len(values), values.shape[1], **meant)
        if margin:
            same = judge(result, len(values), values.shape[1], margin=1.001 * needed + 1e-12, narrow=narrow, **meant)
            assert same.verdict != UNCERTAIN
        seen.add(verdict)
    unknown = margin is None and direction in ("similar", "no worse")
    assert seen == ({UNCERTAIN, HOLDS} if unknown and direction == "no worse" else
                    {UNCERTAIN} if unknown else {HOLDS, FAILS, UNCERTAIN})  # fmt: skip


def test_p_values_of_equal_draws():
    draws = np.full(1000, 0.2)
    assert p_values(draws, 5) == (0.002, 1.0)
    assert p_values(-draws, 5) == (1.0, 0.002)
    assert p_values(np.zeros(1000), 5) == (1.0, 1.0)
    assert np.isnan(p_values(np.empty(0), 5)).all()


@pytest.mark.parametrize("degrees", [2, 5, 30])
def test_far_tails_are_those_of_students_t(degrees):
    """10,000 draws from a t distribution, the confidence distribution of the mean over seeds."""
    draws = stats.t.ppf((np.arange(10_000) + 0.5) / 10_000, degrees)
    for distance in (1.0, 3.0, 10.0, 30.0):
        exact = 2 * stats.t.sf(distance, degrees)
        assert p_values(draws + distance, degrees).holds == pytest.approx(exact, rel=0.15)


def test_far_tails_are_conservative():
    """With a part of lighter tails, the true p value is smaller than the extrapolated one; the order is preserved."""
    rng = np.random.default_rng(0)
    draws = rng.standard_t(5, 10_000) + 2 * rng.standard_normal(10_000)
    result = [p_values(draws + distance, 5).holds for distance in np.linspace(0, 40, 81)]
    assert np.all(np.diff(result) <= 0)
    more = rng.standard_t(5, 4_000_000) + 2 * rng.standard_normal(4_000_000)
    for distance in (11, 13, 15):
        assert p_values(draws + distance, 5).holds >= 0.7 * 2 * np.mean(more <= -distance)


@pytest.mark.parametrize(
    ("shape", "groups", "missing", "degrees"),
    [((3, 40), 40, (), 2), ((6, 8), 4, (), 3), ((1, 8), 8, (), 7), ((5, 6), 1, (), 4), ((1, 1), 1, (), 1),
     ((4, 40), 40, (0,), 2), ((2, 3, 40), 40, (), 2)],
)  # fmt: skip
def test_degrees_of_freedom(shape, groups, missing, degrees):
    values = np.zeros(shape)
    values[list(missing)] = np.nan
    assert degrees_of_freedom(values, np.arange(shape[-1]) % groups) == degrees


@pytest.mark.parametrize("truth", [0.0, MARGIN])
def test_error_rate_of_verdicts(truth):
    """Without a gain, or with one that matters, verdicts on "higher" are wrong in 2.5 and 5 % of the studies."""
    wrong = 0
    for number in range(600):
        rng = np.random.default_rng([number, 7])
        values = truth + rng.normal(0, 0.002, (5, 1)) + rng.normal(0, 0.01, 30) + rng.normal(0, 0.01, (5, 30))
        p = p_values(mean_and_draws(values, resamples=1000)[1], 4, margin=MARGIN)
        wrong += (p.fails if truth else p.holds) <= 0.05
    assert wrong / 600 <= 0.08


class TestPartialConjunction:
    P = (0.04, 0.001, 0.3, 0.02)

    @pytest.mark.parametrize(("required", "p"), [(4, 0.3), (3, 0.08), (2, 0.06), (1, 0.004)])
    def test_hand_computed_values(self, required, p):
        assert partial_conjunction(self.P, required) == pytest.approx(p)

    def test_untestable_statements_count_as_p_1(self):
        assert partial_conjunction([0.001, np.nan], 2) == 1.0
        assert partial_conjunction([0.001, np.nan], 1) == pytest.approx(0.002)
        assert np.isnan(partial_conjunction([np.nan, np.nan], 1))

    def test_p_is_at_most_1(self):
        assert partial_conjunction([0.9, 0.9, 0.9], 1) == 1.0

    @pytest.mark.parametrize("required", [0, 5])
    def test_invalid_numbers_of_required_statements_are_refused(self, required):
        with pytest.raises(ValueError, match=f"{required} of 4 statements cannot be required; give 1 to 4"):
            partial_conjunction(self.P, required)

    @pytest.mark.parametrize("correlation", [0.0, 0.9])
    @pytest.mark.parametrize(("true", "required"), [(2, 3), (4, 5), (0, 1)])
    def test_level_under_dependence(self, correlation, true, required):
        """One true statement fewer than required, out of five."""
        rng = np.random.default_rng(0)
        shared, own = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 5 - true))
        p = stats.norm.sf(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)
        rejected = [partial_conjunction([*[1e-9] * true, *row], required) <= 0.05 for row in p]
        assert np.mean(rejected) <= 0.06


class TestMargins:
    def test_default_margins(self):
        margins = Margins()
        assert margins.of("dsc", "acdc", "published", share=True) == MARGIN == 0.005
        assert margins.of("hd95", "acdc", "sound", share=False) is None

    def test_margins_by_metric_and_dataset(self):
        margins = Margins(0.01, {"dsc": 0.02, "hd95": {"acdc": 2.0}})
        assert margins.of("dsc", "acdc", "published", share=True) == 0.02
        assert margins.of("iou", "acdc", "sound", share=True) == 0.01
        assert margins.of("hd95", "acdc", "sound", share=False) == 2.0
        assert margins.of("hd95", "synapse", "sound", share=False) is None

    def test_margins_of_distances_apply_to_the_sound_protocol_only(self):
        assert Margins(own={"hd95": 2.0}).of("hd95", "acdc", "published", share=False) is None
