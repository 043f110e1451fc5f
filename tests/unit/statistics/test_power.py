"""Variance components and power in simulated studies."""

import numpy as np
import pytest
from scipy import stats

from spectralseg.statistics.bootstrap import paired_interval
from spectralseg.statistics.power import POWER, Components, detectable_over_groups


def study(rng, seeds, groups, truth=0.0, sd=(0.02, 0.05, 0.04)):
    seed, group, residual = sd
    return (
        truth
        + rng.normal(0, seed, (seeds, 1))
        + rng.normal(0, group, (1, groups))
        + rng.normal(0, residual, (seeds, groups))
    )


def test_components_are_recovered():
    rng = np.random.default_rng(0)
    result = np.array([Components.of(study(rng, 6, 50))[:3] for _ in range(400)])
    assert np.sqrt(result.mean(0)) == pytest.approx([0.02, 0.05, 0.04], rel=0.05)


def test_standard_error_of_simulated_studies():
    rng = np.random.default_rng(1)
    means = [study(rng, 4, 30).mean() for _ in range(4000)]
    assert Components(0.02**2, 0.05**2, 0.04**2, 4, 30).standard_error(4, 30) == pytest.approx(np.std(means), rel=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("sd", [(0, 0, 1), (0, 1, 1), (0.2, 1, 1), (0.7, 0.7, 1), (1, 0.3, 0.3)])
@pytest.mark.parametrize(("seeds", "groups", "least"), [(3, 60, 0.68), (6, 14, 0.68), (6, 60, 0.74), (12, 100, 0.74)])
def test_intervals_exclude_zero_as_often_as_planned(seeds, groups, least, sd):
    """From the difference that is detectable, whichever source of variance dominates; few groups cost some power."""
    truth = Components(*(part**2 for part in sd), seeds, groups).detectable()
    rng = np.random.default_rng(2)
    result = [paired_interval(study(rng, seeds, groups, truth, sd), resamples=1000).low > 0 for _ in range(400)]
    assert least < np.mean(result) < POWER + 0.07


def test_cases_of_a_group_count_as_one():
    values, groups = study(np.random.default_rng(3), 5, 20), np.repeat(np.arange(20), 3)
    assert Components.of(np.repeat(values, 3, axis=1), groups) == pytest.approx(Components.of(values))


def test_seeds_for_and_groups_for_are_sufficient():
    result = Components(0.02**2, 0.05**2, 0.04**2, 3, 30)
    seeds, groups = result.seeds_for(0.04), result.groups_for(0.08)
    assert result.detectable(seeds=seeds) <= 0.04 < result.detectable(seeds=seeds - 1)
    assert seeds > 3
    assert result.detectable(groups=groups) <= 0.08 < result.detectable(groups=groups - 1)


def test_neither_seeds_nor_patients_alone_suffice():
    result = Components(0.02**2, 0.05**2, 0.04**2, 3, 30)
    assert result.seeds_for(0.01) is None
    assert result.groups_for(0.01) is None


def test_without_variance_any_difference_is_detectable():
    result = Components.of(np.full((3, 10), 0.01))
    assert result.detectable() == 0
    assert (result.seeds_for(0.001), result.groups_for(0.001)) == (3, 3), "what a verdict needs"


def test_standard_error_of_outcomes_is_bounded_below():
    result = Components.of(np.zeros((3, 20)), outcomes=True)
    assert result.standard_error(3, 20) == pytest.approx(1 / 22)
    assert 0.1 < result.detectable() < 0.2
    assert 20 < result.groups_for(0.05) < 100


@pytest.mark.parametrize("sd", [(0.02, 0.05, 0.04), (0.001, 0.03, 0.001), (0, 0, 0.1), (0.1, 0.01, 0.01)])
@pytest.mark.parametrize("kind", ["seeds", "groups"])
def test_larger_studies_detect_smaller_differences(kind, sd):
    result = Components(*(part**2 for part in sd), 3, 30)
    sizes = [3, 4, 5, 6, 8, 12, 20, 50, 100, 1000, 10_000, 100_000]
    detectable = np.array([result.detectable(**{kind: size}) for size in sizes])
    assert (np.diff(detectable) < 1e-9).all()


def test_more_seeds_and_patients_approach_the_normal_test():
    result = Components(0.02**2, 0.05**2, 0.04**2, 1000, 1000)
    assert result.detectable() == pytest.approx(result.standard_error(1000, 1000) * (1.960 + 0.842), rel=0.01)


@pytest.mark.parametrize("values", [np.zeros((1, 20)), np.zeros((3, 1)), np.full((3, 20), np.nan)])
def test_components_need_two_seeds_and_two_patients(values):
    assert Components.of(values) is None


class TestOneSeed:
    def test_the_power_over_patients_is_that_of_a_paired_t_test(self):
        """80 % of simulated studies detect the difference that has this power."""
        rng = np.random.default_rng(0)
        studies = rng.normal(0, 0.03, (2000, 15))
        detectable = np.mean([detectable_over_groups(study[None]) for study in studies])
        expected = 0.03 / np.sqrt(15) * (stats.t.ppf(0.975, 14) + stats.t.ppf(0.8, 14))
        assert detectable == pytest.approx(expected, rel=0.03)
        p = stats.ttest_1samp(studies + expected, 0, axis=1).pvalue
        assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.03)

    def test_images_of_one_patient_count_once(self):
        rng = np.random.default_rng(1)
        patients = np.repeat(np.arange(12), 3)
        differences = rng.normal(0, 0.02, 12)
        alone = detectable_over_groups(differences[None])
        assert detectable_over_groups(differences[patients][None], patients) == pytest.approx(alone)

    def test_outcomes_have_a_lower_bound_and_one_patient_no_power(self):
        assert detectable_over_groups(np.zeros((1, 20))) == 0
        assert detectable_over_groups(np.zeros((1, 20)), outcomes=True) > 0.1
        assert np.isnan(detectable_over_groups(np.zeros((1, 3)), np.zeros(3)))
