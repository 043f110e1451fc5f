import numpy as np
import pytest

from spectralseg.statistics.bootstrap import paired_interval


def crossed(rng, seeds=20, groups=40, per_group=1, sd=(0.5, 1.0, 0.5), truth=0.3):
    """Differences with a random part per seed, per group and per cell."""
    of_seed, of_group = rng.normal(0, sd[0], (seeds, 1)), rng.normal(0, sd[1], (1, groups))
    return truth + of_seed + np.repeat(of_group, per_group, 1) + rng.normal(0, sd[2], (seeds, groups * per_group))


def coverage(draw, groups=None, repetitions=800, truth=0.3, level=0.95):
    hits = 0
    for number in range(repetitions):
        values = draw(np.random.default_rng(number))
        interval = paired_interval(values, groups, level=level, resamples=400, seed=number)
        hits += interval.low <= truth <= interval.high
    return hits / repetitions


class TestCoverage:
    def test_the_95_percent_interval_holds_the_truth_about_95_percent_of_the_time(self):
        assert 0.925 <= coverage(lambda rng: crossed(rng, 30, 40), repetitions=1500) <= 0.97

    @pytest.mark.slow
    @pytest.mark.parametrize("sd", [(0.5, 1.0, 0.5), (1.0, 0.3, 0.5), (0.2, 1.0, 1.0)])
    def test_so_it_does_whatever_varies_most(self, sd):
        assert 0.93 <= coverage(lambda rng: crossed(rng, 30, 60, sd=sd), repetitions=4000) <= 0.97

    @pytest.mark.xfail(
        strict=True,
        reason="bootstrap.py: percentile limits are too narrow for few seeds; three cover about 81 %, five 89 %",
    )
    @pytest.mark.parametrize("seeds", [3, 5])
    def test_so_it_does_with_as_few_seeds_as_the_paper_grid_has(self, seeds):
        assert coverage(lambda rng: crossed(rng, seeds, 60), repetitions=600) >= 0.92

    def test_so_it_does_with_several_cases_per_patient_and_not_if_patients_are_ignored(self):
        groups = np.repeat(np.arange(40), 4)
        assert 0.92 <= coverage(lambda rng: crossed(rng, per_group=4), groups, repetitions=400) <= 0.98
        assert coverage(lambda rng: crossed(rng, per_group=4), None, repetitions=100) < 0.87

    def test_another_level_is_another_coverage(self):
        assert 0.74 <= coverage(lambda rng: crossed(rng, 30, 60), repetitions=400, level=0.8) <= 0.86


def test_the_estimate_is_the_mean_of_all_defined_differences():
    values = np.array([[1.0, 2.0, np.nan], [4.0, np.nan, np.nan]])
    assert paired_interval(values).estimate == pytest.approx(7 / 3)


def test_the_interval_holds_the_estimate_and_widens_with_the_level():
    values = crossed(np.random.default_rng(0))
    narrow, wide = paired_interval(values, level=0.5), paired_interval(values, level=0.99)
    assert wide.low < narrow.low < narrow.estimate == wide.estimate < narrow.high < wide.high


def test_it_is_a_function_of_its_arguments():
    values = crossed(np.random.default_rng(0))
    assert paired_interval(values) == paired_interval(values)
    assert paired_interval(values, seed=1) != paired_interval(values)


def test_names_and_order_of_groups_do_not_matter():
    values = crossed(np.random.default_rng(0), groups=4, per_group=2)
    named = paired_interval(values, np.repeat(["d", "a", "c", "b"], 2))
    numbered = paired_interval(values, np.repeat([3, 0, 2, 1], 2))
    assert named == numbered
    order = np.random.default_rng(1).permutation(8)
    shuffled = paired_interval(values[:, order], np.repeat([3, 0, 2, 1], 2)[order])
    assert shuffled == pytest.approx(numbered)


def test_seeds_count_as_a_source_of_variation_of_their_own():
    by_seed = np.tile([[-1.0], [1.0]] * 5, (1, 30))
    interval = paired_interval(by_seed)
    assert interval.low < -0.2
    assert interval.high > 0.2
    assert paired_interval(by_seed[:1]) == (-1, -1, -1), "one seed says nothing about seeds"


def test_one_group_or_one_row_is_resampled_as_what_it_is():
    values = np.random.default_rng(0).normal(size=(6, 10))
    one_group = paired_interval(values, np.zeros(10))
    means = values.mean(1)
    assert one_group.high - one_group.low == pytest.approx(4 * means.std() / 6**0.5, rel=0.25)
    assert paired_interval(values[0]) == paired_interval(values[:1])


def test_constant_differences_have_no_width():
    assert paired_interval(np.full((3, 5), 0.25)) == pytest.approx((0.25, 0.25, 0.25))


@pytest.mark.parametrize("values", [np.full((3, 4), np.nan), np.empty((3, 0)), np.empty((0, 3)), []])
def test_nothing_to_compare_is_nan(values):
    assert all(np.isnan(paired_interval(values)))


def test_undefined_cells_are_left_out_and_not_counted_as_zero():
    values = np.full((4, 20), np.nan)
    values[:, ::2] = 5.0
    assert paired_interval(values) == pytest.approx((5, 5, 5))


def test_a_resample_without_any_defined_cell_is_no_zero():
    values = np.full((1, 3), np.nan)
    values[0, 0] = 2.0
    assert paired_interval(values) == pytest.approx((2, 2, 2))


def test_groups_must_match_the_cases():
    with pytest.raises(ValueError, match=r"weights and list|same length"):
        paired_interval(np.zeros((2, 3)), [1, 2])
