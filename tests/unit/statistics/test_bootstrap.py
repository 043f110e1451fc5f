import functools

import numpy as np
import pytest
from scipy import stats

from spectralseg.statistics import bootstrap
from spectralseg.statistics.bootstrap import (
    ENOUGH_GROUPS,
    FAILURE_RATE,
    Interval,
    effective_groups,
    informative_seeds,
    mean_and_draws,
    paired_interval,
)


def crossed(rng, seeds=20, groups=40, per_group=1, sd=(0.5, 1.0, 0.5), truth=0.3, skewed=False):
    """Differences with a random part per seed, per group and per cell."""
    of_group = rng.exponential(sd[1], (1, groups)) - sd[1] if skewed else rng.normal(0, sd[1], (1, groups))
    of_seed = rng.normal(0, sd[0], (seeds, 1))
    return truth + of_seed + np.repeat(of_group, per_group, 1) + rng.normal(0, sd[2], (seeds, groups * per_group))


def coverage(draw, groups=None, repetitions=1500, truth=0.3, level=0.95, interval=paired_interval):
    hits = 0
    for number in sorted(range(repetitions), key=lambda number: number % 20):  # seed by seed, as each is cached
        result = interval(draw(np.random.default_rng(number)), groups, level=level, resamples=400, seed=number % 20)
        hits += result.low <= truth <= result.high
    return hits / repetitions


def pigeonhole(values, groups=None, *, level, resamples, seed):
    """Percentile interval with resampled seeds and groups (Owen 2007), too narrow for few seeds."""
    rng = np.random.default_rng(seed)
    by_seed, by_group = (rng.multinomial(n, np.full(n, 1 / n), resamples) / n for n in values.shape)
    means = ((by_seed @ values) * by_group).sum(1)
    return Interval(values.mean(), *np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))


def failing(rng, seeds, groups, methods=1):
    """A method fails for one patient in twenty: a difference of 100 with a spread of 2."""
    values = rng.normal(0, 2, (1, groups)) + rng.normal(0, 2, (seeds, groups))
    for sign in (1, -1)[:methods]:
        values += sign * (100 * (rng.random((1, groups)) < 0.05) - 5)
    return values


def mostly_equal(rng, seeds, groups):
    """Seven in ten patients do not differ at all."""
    differs = rng.random((1, groups)) < 0.3
    return differs * (rng.exponential(1, (1, groups)) + rng.normal(0, 0.3, (seeds, groups))) - 0.3


@pytest.mark.slow
class TestCoverage:
    """With 1,500 repetitions a coverage of 95 % is measured to ± 1.1 points."""

    @pytest.mark.slow
    @pytest.mark.parametrize(("seeds", "most"), [(3, 0.99), (5, 0.985), (10, 0.98)])
    @pytest.mark.parametrize(
        "sd", [(0, 1, 1), (0.3, 1, 1), (1, 1, 1), (0.1, 1, 0.1), (0.3, 0.1, 1), (0.1, 0.1, 1)], ids=str
    )
    def test_coverage_of_the_95_percent_interval(self, seeds, most, sd):
        assert 0.93 <= coverage(lambda rng: crossed(rng, seeds, 60, sd=sd)) <= most

    @pytest.mark.parametrize("groups", [12, 60])
    @pytest.mark.parametrize("sd", [(0.5, 1, 0.5), (0.3, 0.1, 1)], ids=str)
    def test_coverage_with_the_seeds_and_patients_of_the_paper(self, groups, sd):
        assert 0.94 <= coverage(lambda rng: crossed(rng, 3, groups, sd=sd)) <= 0.99

    @pytest.mark.slow
    def test_coverage_if_few_patients_differ(self):
        assert 0.93 <= coverage(lambda rng: crossed(rng, 5, 14, skewed=True)) <= 0.98
        assert 0.93 <= coverage(lambda rng: crossed(rng, 5, 60, skewed=True)) <= 0.98

    @pytest.mark.slow
    @pytest.mark.parametrize("seeds", [3, 6])
    def test_coverage_with_gross_failures_needs_60_patients(self, seeds):
        for draw in (failing, functools.partial(failing, methods=2), mostly_equal):
            many = coverage(lambda rng, draw=draw: draw(rng, seeds, 60), repetitions=1000, truth=0)
            assert 0.92 <= many <= 0.985
        # More than half of the test sets of 12 have no failure, which no interval can account for.
        assert coverage(lambda rng: failing(rng, seeds, 12), repetitions=500, truth=0) < 0.55
        assert 0.82 < coverage(lambda rng: mostly_equal(rng, seeds, 12), repetitions=500, truth=0) < 0.93

    def test_enough_groups_include_a_failure_of_one_in_twenty(self):
        assert (1 - FAILURE_RATE) ** ENOUGH_GROUPS < 0.05 < (1 - FAILURE_RATE) ** (ENOUGH_GROUPS - 1)

    def test_resampling_three_seeds_does_not_cover(self):
        draw = functools.partial(crossed, seeds=3, groups=60, sd=(1, 1, 1))
        assert coverage(draw, repetitions=300, interval=pigeonhole) < 0.85

    def test_coverage_with_several_cases_per_patient(self):
        groups = np.repeat(np.arange(40), 4)
        draw = functools.partial(crossed, seeds=5, per_group=4, sd=(0.1, 1, 0.5))
        assert 0.93 <= coverage(draw, groups) <= 0.97
        assert coverage(draw, None, repetitions=300) < 0.80

    def test_the_mean_over_classes(self):
        def classes(rng):
            shared = crossed(rng, 3, 30)
            return np.stack([shared + rng.normal(0, 0.5, shared.shape) for _ in range(4)])

        assert 0.93 <= coverage(classes) <= 0.985

    def test_coverage_at_other_levels(self):
        assert 0.77 <= coverage(lambda rng: crossed(rng, 5, 60), level=0.8) <= 0.83

    def test_false_positive_rate_without_difference(self):
        assert 0.03 <= 1 - coverage(lambda rng: crossed(rng, 6, 60, truth=0), truth=0) <= 0.065


def test_the_estimate_is_the_mean_of_all_defined_differences():
    values = np.array([[1.0, 2.0, np.nan], [4.0, np.nan, np.nan]])
    assert paired_interval(values).estimate == pytest.approx(7 / 3)


def test_the_interval_contains_the_estimate_and_widens_with_the_level():
    values = crossed(np.random.default_rng(0))
    narrow, wide = paired_interval(values, level=0.5), paired_interval(values, level=0.99)
    assert wide.low < narrow.low < narrow.estimate == wide.estimate < narrow.high < wide.high


def test_intervals_are_deterministic():
    values = crossed(np.random.default_rng(0))
    assert paired_interval(values) == paired_interval(values)
    assert paired_interval(values, seed=1) != paired_interval(values)


def test_names_and_order_of_groups_do_not_matter():
    values = crossed(np.random.default_rng(0), groups=4, per_group=2)
    by_name = paired_interval(values, np.repeat(["d", "a", "c", "b"], 2))
    numbered = paired_interval(values, np.repeat([3, 0, 2, 1], 2))
    assert by_name == numbered
    order = np.random.default_rng(1).permutation(8)
    shuffled = paired_interval(values[:, order], np.repeat([3, 0, 2, 1], 2)[order])
    assert shuffled == pytest.approx(numbered)


def test_variance_between_seeds_widens_the_interval():
    by_seed = np.tile([[-1.0], [1.0]] * 5, (1, 30))
    interval = paired_interval(by_seed)
    assert interval.low < -0.2
    assert interval.high > 0.2
    assert paired_interval(by_seed[:1]) == (-1, -1, -1), "one seed gives no variance of seeds"


def test_one_group_or_one_seed():
    values = np.random.default_rng(0).normal(size=(6, 10))
    one_group = paired_interval(values, np.zeros(10))
    error = values.mean(1).std(ddof=1) / 6**0.5
    assert one_group.high - one_group.low == pytest.approx(2 * stats.t.ppf(0.975, 5) * error, rel=0.03)
    one_seed = paired_interval(values[0])
    error = values[0].std(ddof=1) / 10**0.5
    assert one_seed.high - one_seed.low == pytest.approx(2 * stats.t.ppf(0.975, 9) * error, rel=0.05)
    assert paired_interval(values[0]) == paired_interval(values[:1])


@pytest.mark.parametrize("value", [0.25, 0.1, 0.001, 1e-9])
def test_constant_differences_have_no_width(value):
    """Rounding of their mean does not matter."""
    estimate, draws = mean_and_draws(np.full((3, 7), value))
    assert estimate == pytest.approx(value)
    assert set(draws) == {estimate}


@pytest.mark.parametrize("values", [np.full((3, 4), np.nan), np.empty((3, 0)), np.empty((0, 3)), []])
def test_without_differences_the_interval_is_nan(values):
    assert all(np.isnan(paired_interval(values)))


@pytest.mark.parametrize("groups", [5, 14, 60])
def test_intervals_of_outcomes_that_no_group_has_are_not_empty(groups):
    """If 0 of 60 patients have a false structure, the rate may still be above 0."""
    never = paired_interval(np.zeros((3, groups)), outcomes=True)
    half = stats.t.ppf(0.975, groups - 1) / (groups + 2)
    assert never == pytest.approx((0, -half, half), rel=0.05)
    assert paired_interval(np.zeros((3, groups))) == (0, 0, 0)
    assert paired_interval(np.zeros((3, 2)), outcomes=True) == (0, -1, 1)


@pytest.mark.parametrize(("rate", "groups"), [(0.02, 14), (0.02, 60), (0.1, 14)])
def test_rare_outcomes_are_covered(rate, groups):
    held = coverage(
        lambda rng: np.broadcast_to(rng.random((1, groups)) < rate, (3, groups)).astype(float),
        repetitions=500,
        truth=rate,
        interval=functools.partial(paired_interval, outcomes=True),
    )
    assert held > 0.93


def test_effective_groups():
    assert effective_groups(np.zeros((3, 6)), np.repeat([1, 2, 3], 2)) == pytest.approx(3)
    assert effective_groups(np.zeros((1, 61)), [0] * 1 + [1] * 60) == pytest.approx(61**2 / (1 + 60**2))
    assert effective_groups(np.full((2, 3), np.nan), [1, 2, 3]) == 0


@pytest.mark.parametrize("level", [-1, 0, 1, 95, np.nan])
def test_invalid_levels_are_refused(level):
    with pytest.raises(ValueError, match="not between 0 and 1"):
        paired_interval(np.zeros((2, 3)), level=level)


@pytest.mark.parametrize("groups", [[1.0, np.nan, 2.0], ["a", None, "b"]])
def test_a_case_without_a_group_is_refused(groups):
    with pytest.raises(ValueError, match="no group"):
        paired_interval(np.zeros((2, 3)), groups)


def test_undefined_cells_are_left_out_and_not_counted_as_zero():
    values = np.full((4, 20), np.nan)
    values[:, ::2] = 5.0
    assert paired_interval(values) == pytest.approx((5, 5, 5))


def test_one_seed_and_one_group_have_no_limits():
    values = np.full((1, 3), np.nan)
    values[0, 0] = 2.0
    for result in (paired_interval(values), paired_interval([[1.0, 3.0]], ["a", "a"])):
        assert result.estimate == 2
        assert np.isnan(result[1:]).all()


@pytest.mark.parametrize("shape", [(1, 30), (3, 30)])
def test_a_seed_a_group_or_a_class_without_values_changes_nothing(shape):
    values = crossed(np.random.default_rng(0), *shape)
    expected = paired_interval(values)
    assert paired_interval(np.vstack([values, np.full((2, shape[1]), np.nan)])) == expected
    assert paired_interval(np.hstack([values, np.full((shape[0], 5), np.nan)])) == expected
    assert paired_interval(np.stack([values, np.full(shape, np.nan)])) == expected


def test_seeds_with_values_are_counted():
    values = np.full((2, 3, 4), np.nan)
    assert informative_seeds(values) == informative_seeds(np.empty((0, 0))) == 0
    values[0, 0, 1] = values[1, 0, 2] = values[1, 2, 0] = 1.0
    assert informative_seeds(values) == 2
    assert informative_seeds(values[0]) == 1


def test_groups_must_match_the_cases():
    with pytest.raises(ValueError, match="3 cases and 2 groups"):
        paired_interval(np.zeros((2, 3)), [1, 2])


def test_classes_have_equal_weight():
    values = np.full((2, 1, 4), np.nan)
    values[0, 0, :], values[1, 0, 0] = 1.0, 3.0
    assert paired_interval(values) == pytest.approx((2, 2, 2))
    assert paired_interval(np.concatenate([values, np.full((1, 1, 4), np.nan)])) == pytest.approx((2, 2, 2))


def test_limits_are_quantiles_of_the_draws():
    values = crossed(np.random.default_rng(0))
    estimate, draws = mean_and_draws(values)
    assert paired_interval(values, level=0.9) == pytest.approx((estimate, *np.quantile(draws, [0.05, 0.95])))


def test_units_do_not_matter():
    values = crossed(np.random.default_rng(0), 3, 14)
    assert paired_interval(100 * values + 7) == pytest.approx([100 * part + 7 for part in paired_interval(values)])


@pytest.mark.parametrize("groups", [30, 80])
def test_drawing_together_changes_no_value(groups):
    rng = np.random.default_rng(0)
    samples = [(rng.normal(size=(3, groups)), None, outcomes) for outcomes in [False, True] * 5]
    alone = []
    for differences, labels, outcomes in samples:
        bootstrap._drawn.clear()
        alone.append(bootstrap.mean_and_draws(differences, labels, outcomes=outcomes))
    bootstrap._drawn.clear()
    bootstrap.draw_together(samples)
    drawn = dict(bootstrap._drawn)
    together = [bootstrap.mean_and_draws(values, labels, outcomes=outcomes) for values, labels, outcomes in samples]
    assert drawn.keys() == bootstrap._drawn.keys()  # no further draws
    for (mean, draws), (expected, values) in zip(together, alone, strict=True):
        assert mean == expected
        np.testing.assert_allclose(draws, values, rtol=1e-9, atol=1e-12)
