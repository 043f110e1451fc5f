import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spectralseg.interpretation.cam import random_map
from spectralseg.interpretation.localisation import area_matched_iou, energy_share, pointing, relative_energy

SCORES = (energy_share, relative_energy, pointing, area_matched_iou)
SIDE = 5
CAMS = arrays(np.float64, (SIDE, SIDE), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
REGIONS = arrays(np.bool_, (SIDE, SIDE))


def disc(side=40, radius=9, centre=(14, 22)):
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def test_a_map_equal_to_the_region_is_perfect():
    region = disc()
    cam = 3.0 * region
    assert energy_share(cam, region) == 1
    assert relative_energy(cam, region) == pytest.approx(region.size / region.sum())
    assert pointing(cam, region) == 1
    assert area_matched_iou(cam, region) == 1


def test_a_map_outside_the_region_scores_zero():
    region = disc()
    assert [function(1.0 * ~region, region) for function in SCORES] == [0, 0, 0, 0]


def test_values_of_a_small_map():
    cam = np.array([[4.0, 2.0], [1.0, 3.0]])
    region = np.array([[True, False], [False, True]])
    assert energy_share(cam, region) == pytest.approx(0.7)
    assert relative_energy(cam, region) == pytest.approx(1.4)
    assert pointing(cam, region) == 1
    assert area_matched_iou(cam, region) == 1
    assert area_matched_iou(cam, ~region) == 0
    assert area_matched_iou(cam, np.array([[True, True], [False, False]])) == pytest.approx(1 / 3)


@settings(max_examples=200)
@given(CAMS, REGIONS, st.floats(0.1, 1e6))
def test_all_scores_keep_their_ranges_and_ignore_the_scale(cam, region, scale):
    for function in SCORES:
        value = function(cam, region)
        if not np.isnan(value):
            assert 0 <= value <= (region.size if function is relative_energy else 1)
            assert function(scale * cam, region) == pytest.approx(value)


@settings(max_examples=100)
@given(CAMS, REGIONS)
def test_rank_scores_depend_on_the_order_only(cam, region):
    if region.any():
        for function in (pointing, area_matched_iou):
            assert function(cam**3, region) == pytest.approx(function(cam, region))


@settings(max_examples=100)
@given(arrays(np.float64, (2, 3), elements=st.sampled_from([0.0, 1.0, 2.0])), arrays(np.bool_, (2, 3)))
def test_tied_pixels_count_as_the_mean_over_all_orders(cam, region):
    """The expected number of hits over all orders consistent with the map."""
    size = int(region.sum())
    if not size:
        return
    places = range(cam.size)
    flat, inside = cam.ravel(), region.ravel()
    orders = [o for o in itertools.permutations(places) if all(flat[a] >= flat[b] for a, b in itertools.pairwise(o))]
    hits = np.mean([inside[list(order[:size])].sum() for order in orders])
    assert area_matched_iou(cam, region) == pytest.approx(hits / (2 * size - hits))
    assert pointing(cam, region) == pytest.approx(np.mean([inside[order[0]] for order in orders]))


def test_undefined_scores_are_nan():
    region, empty = disc(), np.zeros((40, 40), bool)
    assert np.isnan(energy_share(np.zeros((40, 40)), region))
    assert np.isnan(relative_energy(np.ones((40, 40)), empty))
    assert np.isnan(area_matched_iou(np.ones((40, 40)), empty))


@pytest.mark.parametrize("resolution", [(7, 7), (14, 14), (40, 40)])
def test_a_random_map_scores_at_chance_level(resolution):
    region = disc()
    rng = np.random.default_rng(0)
    maps = [random_map(resolution, (40, 40), rng).numpy() for _ in range(400)]
    prevalence = region.mean()
    assert np.mean([energy_share(cam, region) for cam in maps]) == pytest.approx(prevalence, rel=0.05)
    assert np.mean([relative_energy(cam, region) for cam in maps]) == pytest.approx(1, rel=0.05)
    if resolution == region.shape:  # the maximum of a coarser map lies on a grid
        assert np.mean([pointing(cam, region) for cam in maps]) == pytest.approx(prevalence, abs=0.06)
    assert 0 < np.mean([area_matched_iou(cam, region) for cam in maps]) < 0.2


def test_a_random_map_is_seeded_smooth_and_positive():
    first, again, other = (random_map((7, 7), (224, 224), np.random.default_rng(seed)).numpy() for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert first.min() >= 0
    assert np.abs(np.diff(first, axis=0)).max() <= 1 / 32  # a step of the grid takes 32 pixels
