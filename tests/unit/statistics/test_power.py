"""Variance components against what was drawn, and planned power against how often studies find the difference."""

import numpy as np
import pytest

from spectralseg.statistics.bootstrap import paired_interval
from spectralseg.statistics.power import POWER, Components


def study(rng, seeds, groups, truth=0.0, sd=(0.02, 0.05, 0.04)):
    seed, group, residual = sd
    return (
        truth
        + rng.normal(0, seed, (seeds, 1))
        + rng.normal(0, group, (1, groups))
        + rng.normal(0, residual, (seeds, groups))
    )


def test_components_are_those_that_were_drawn():
    rng = np.random.default_rng(0)
    found = np.array([Components.of(study(rng, 6, 50))[:3] for _ in range(400)])
    assert np.sqrt(found.mean(0)) == pytest.approx([0.02, 0.05, 0.04], rel=0.05)


def test_the_standard_error_is_how_far_means_of_studies_scatter():
    rng = np.random.default_rng(1)
    means = [study(rng, 4, 30).mean() for _ in range(4000)]
    assert Components(0.02**2, 0.05**2, 0.04**2, 4, 30).standard_error(4, 30) == pytest.approx(np.std(means), rel=0.04)


@pytest.mark.parametrize(("seeds", "groups"), [(6, 60), (12, 20)])
def test_a_detectable_difference_is_found_as_often_as_planned(seeds, groups):
    truth = Components(0.02**2, 0.05**2, 0.04**2, seeds, groups).detectable()
    rng = np.random.default_rng(2)
    found = [paired_interval(study(rng, seeds, groups, truth), resamples=1000).low > 0 for _ in range(600)]
    assert POWER - 0.12 < np.mean(found) < POWER + 0.08, "the interval is a little wider than the test that is planned"


def test_cases_of_a_group_count_as_one():
    values, groups = study(np.random.default_rng(3), 5, 20), np.repeat(np.arange(20), 3)
    assert Components.of(np.repeat(values, 3, axis=1), groups) == pytest.approx(Components.of(values))


def test_what_it_takes_is_what_then_suffices():
    found = Components(0.02**2, 0.05**2, 0.04**2, 3, 30)
    seeds, groups = found.seeds_for(0.04), found.groups_for(0.08)
    assert found.detectable(seeds=seeds) <= 0.04 < found.detectable(seeds=seeds - 1)
    assert seeds > 3
    assert found.detectable(groups=groups) <= 0.08 < found.detectable(groups=groups - 1)


def test_seeds_cannot_make_up_for_patients_nor_patients_for_seeds():
    found = Components(0.02**2, 0.05**2, 0.04**2, 3, 30)
    assert found.seeds_for(0.01) is None
    assert found.groups_for(0.01) is None


def test_where_nothing_varies_any_difference_is_seen():
    found = Components.of(np.full((3, 10), 0.01))
    assert found.detectable() == 0
    assert (found.seeds_for(0.001), found.groups_for(0.001)) == (3, 3), "what a verdict needs"


def test_what_no_patient_shows_may_still_occur():
    found = Components.of(np.zeros((3, 20)), outcomes=True)
    assert found.standard_error(3, 20) == pytest.approx(1 / 22)
    assert 0.1 < found.detectable() < 0.2
    assert 20 < found.groups_for(0.05) < 100


def test_more_patients_can_detect_less_with_few_seeds():
    """As the seeds, of which there are few degrees of freedom, then dominate; the fewest that suffice count."""
    found = Components(0.001**2, 0.03**2, 0.001**2, 3, 30)
    smallest = min(range(3, 2000), key=lambda groups: found.detectable(groups=groups))
    assert found.detectable(groups=smallest) < found.detectable(groups=100_000)
    assert found.groups_for(found.detectable(groups=smallest) * 1.01) <= smallest


@pytest.mark.parametrize("values", [np.zeros((1, 20)), np.zeros((3, 1)), np.full((3, 20), np.nan)])
def test_one_seed_or_one_patient_tells_no_variance(values):
    assert Components.of(values) is None
