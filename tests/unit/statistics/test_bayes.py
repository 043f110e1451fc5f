import itertools

import numpy as np
import pytest

from spectralseg.statistics.bayes import bayesian_signed_rank


def plain(values, rope, samples=4000):
    """Sample by sample, as printed in Benavoli et al. 2017."""
    z = [*values, 0.0]
    counts = [0, 0, 0]
    for weights in np.random.default_rng(7).dirichlet([1.0] * len(values) + [0.6], samples):
        shares = [0.0, 0.0, 0.0]
        for (wi, zi), (wj, zj) in itertools.product(zip(weights, z, strict=True), repeat=2):
            shares[0 if zi + zj < -2 * rope else 2 if zi + zj > 2 * rope else 1] += wi * wj
        counts[int(np.argmax(shares))] += 1
    return [count / samples for count in counts]


@pytest.mark.parametrize("values", [(0.01, 0.02, -0.004, 0.007, 0.03, 0.0), (-0.02, 0.02, 0.001)])
def test_equals_the_published_sampler(values):
    assert bayesian_signed_rank(values, rope=0.005) == pytest.approx(plain(values, 0.005), abs=0.03)


def test_clear_cases():
    assert bayesian_signed_rank(np.full(8, 0.05)).better > 0.99
    assert bayesian_signed_rank(np.full(8, -0.05)).worse > 0.99
    assert bayesian_signed_rank(np.full(8, 0.001)).equivalent > 0.99


def test_the_other_direction_is_the_mirror_image():
    values = np.random.default_rng(0).normal(0.005, 0.01, 8)
    one, other = bayesian_signed_rank(values), bayesian_signed_rank(-values)
    assert (one.worse, one.equivalent, one.better) == pytest.approx(
        (other.better, other.equivalent, other.worse), abs=0.01
    )


def test_probabilities_add_up_and_few_datasets_leave_doubt():
    result = bayesian_signed_rank([0.01, -0.01])
    assert sum(result) == pytest.approx(1)
    assert max(result) < 0.9


def test_undefined_differences_are_ignored():
    assert bayesian_signed_rank([0.1, np.nan, 0.2]) == bayesian_signed_rank([0.1, 0.2])
    assert np.isnan(bayesian_signed_rank([np.nan])).all()


def test_negative_regions_are_refused():
    with pytest.raises(ValueError, match=r"rope -0\.1"):
        bayesian_signed_rank([0.1], rope=-0.1)
