import numpy as np
import pytest

from spectralseg.statistics import paired_interval, random_effects
from spectralseg.statistics.pairing import Paired
from spectralseg.statistics.random_effects import across_laboratories

# combine_effects(…, method_re="iterated", use_t=True) of statsmodels 0.15.0: tau2, i2, q, mean, limits of "wls".
STATSMODELS = [
    (
        ([0.3, 0.6, -0.1, 0.9, 0.45], [0.02, 0.05, 0.03, 0.04, 0.01]),
        (0.1023424307840312, 0.752064246126004, 16.133211678832126, 0.4176631754038003, -0.03143307, 0.86675942),
    ),
    (
        ([0.012, 0.031], [1e-5, 3e-5]),
        (0.0001604999465190011, 0.8891966759002771, 9.025000000000006, 0.020973684054582258, -0.09954987, 0.14149724),
    ),
]


@pytest.mark.parametrize(("sample", "expected"), STATSMODELS)
def test_results_equal_those_of_statsmodels(sample, expected):
    result = random_effects(*sample)
    computed = (result.tau2, result.i2, result.q, result.estimate, result.low, result.high)
    assert computed == pytest.approx(expected, rel=1e-5)
    assert result.laboratories == len(sample[0])


def test_laboratories_that_agree_by_chance_do_not_narrow_the_interval():
    estimates, variances = [0.12, 0.10, 0.11], [0.01, 0.02, 0.015]
    result = random_effects(estimates, variances)
    assert (result.tau2, result.i2) == (0, 0)
    assert result.q == pytest.approx(0.01384615384615362)  # statsmodels
    assert result.estimate == pytest.approx(0.1123076923076923)
    half = 4.302652729911275 * 0.06793662204867575  # quantile of t with 2 degrees of freedom; statsmodels: fixed effect
    assert (result.low, result.high) == pytest.approx((result.estimate - half, result.estimate + half))


def test_the_prediction_interval_adds_the_variance_between_laboratories():
    result = random_effects(*STATSMODELS[0][0])
    half = 3.182446305284263 * np.sqrt(0.16175225010124825**2 + result.tau2)  # t with 3 degrees; statsmodels
    expected = (result.estimate - half, result.estimate + half)
    assert (result.prediction_low, result.prediction_high) == pytest.approx(expected, rel=1e-6)
    assert np.isnan(random_effects(*STATSMODELS[1][0]).prediction_low)


def test_unknown_errors_give_the_interval_of_the_estimates():
    result = random_effects([1.0, 2.0, 6.0], [np.nan] * 3)
    half = 4.302652729911275 * np.std([1, 2, 6], ddof=1) / np.sqrt(3)
    assert (result.low, result.high) == pytest.approx((3 - half, 3 + half))
    assert result.tau2 == pytest.approx(7)
    assert np.isnan([result.i2, result.q]).all()


def test_one_laboratory_and_no_laboratory_have_no_interval():
    single = random_effects([0.4, np.nan], [0.1, 0.1])
    assert (single.estimate, single.laboratories) == (0.4, 1)
    assert np.isnan([single.low, single.high, single.tau2, single.i2]).all()
    assert np.isnan(random_effects([], []).estimate)


def test_equal_exact_estimates_have_an_interval_without_width():
    result = random_effects([0.4, 0.4], [0, 0])
    assert result[:3] == (0.4, 0.4, 0.4)
    assert (result.tau2, result.i2) == (0, 0)


def test_equal_estimates_may_be_exact_in_one_laboratory_only():
    result = random_effects([0.4, 0.4], [0, 1])
    assert result[:3] == pytest.approx((0.4, 0.4, 0.4), abs=1e-4)
    assert (result.tau2, result.i2, result.q) == (0, 0, 0)


def test_a_shared_error_is_not_reduced_by_more_laboratories():
    many = random_effects(np.zeros(50), np.full(50, 0.01), shared=2.0)
    assert many.high == pytest.approx(np.hypot(2, 2.0096 * 0.1 / np.sqrt(50)), rel=1e-4)


def test_limits_scale_with_the_unit():
    one, other = random_effects([1, 2, 4], [0.1] * 3), random_effects([100, 200, 400], [1000] * 3)
    assert [value / 100 for value in other[:5]] == pytest.approx(list(one[:5]))
    assert other.tau2 == pytest.approx(1e4 * one.tau2)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 2], [1]), {}, "2 estimates and 1 variances"),
        (([1, 2], [1, -1]), {}, "variance is negative"),
        (([1, 2], [1, 1]), {"level": 1}, "level 1 is not between 0 and 1"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        random_effects(*arguments, **options)


def differences(array, cases=None):
    """Paired differences (classes, seeds, cases) of two methods; each case is a group of its own."""
    names = [range(size) for size in array.shape]
    labels = cases or [f"c{number:03d}" for number in names[2]]
    axes = (np.array([f"k{k}" for k in names[0]]), np.array(names[1]), np.array(labels, object))
    return Paired(array, np.isfinite(array), *axes, axes[2], unpaired=0)


def simulated(rng, laboratories, *, between, patients, seeds=3, cases=30, shared=True):
    """Laboratories that differ by a standard deviation of ``between``; patients by one of ``patients``."""
    of_cases = rng.normal(0, patients, (laboratories, cases))
    of_cases[:] = of_cases[0] if shared else of_cases
    return [
        differences(
            rng.normal(0, between)
            + rng.normal(0, 0.3, (1, seeds, 1))
            + of_cases[laboratory]
            + rng.normal(0, 0.5, (1, seeds, cases)),
            [f"{'' if shared else laboratory}c{number:03d}" for number in range(cases)],
        )
        for laboratory in range(laboratories)
    ]


def test_the_estimate_is_the_mean_of_laboratories_of_equal_size():
    rng = np.random.default_rng(0)
    samples = simulated(rng, 3, between=1, patients=0.5)
    result = across_laboratories(samples)
    assert result.estimate == pytest.approx(np.mean([sample.values.mean() for sample in samples]))
    assert result.low < result.estimate < result.high


def test_laboratories_with_the_same_patients_share_their_error():
    """The same differences between patients, once of the same patients and once of others."""
    rng = np.random.default_rng(1)
    array = rng.normal(0, 1, (1, 1, 20)) + rng.normal(0, 0.001, (2, 4, 20))
    same = across_laboratories([differences(part[None]) for part in array])
    others = [differences(part[None], [f"{n}-{case}" for case in range(20)]) for n, part in enumerate(array)]
    error = array[0, 0].std(ddof=1) / np.sqrt(20)
    expected = paired_interval(array[0, :1])
    assert same.high - same.low == pytest.approx(expected.high - expected.low, rel=0.01), "as of one laboratory"
    assert across_laboratories(others).high - same.estimate == pytest.approx(12.706 * error / np.sqrt(2), rel=0.02)


def test_the_variance_of_seeds_is_pooled_over_laboratories():
    arrays = [np.array([[-1.0, 1.0]]).T, np.array([[-2.0, 2.0]]).T]  # (seeds, 1)
    result = across_laboratories([differences(np.repeat(array, 2, 1)[None]) for array in arrays])
    half = 12.706204736432095 * np.sqrt((2 + 8) / 2 / 2 / 2)  # mean of the variances, two seeds, two laboratories
    assert result.high - result.low == pytest.approx(2 * half)


def test_single_seeds_leave_heterogeneity_undetermined():
    rng = np.random.default_rng(2)
    result = across_laboratories([differences(rng.normal(0, 1, (1, 1, 10))) for _ in range(3)])
    assert np.isnan(result.i2)
    assert result.tau2 > 0


def test_classes_and_cases_of_some_laboratories_only_are_used():
    rng = np.random.default_rng(3)
    first, second = rng.normal(0, 1, (2, 3, 8)), rng.normal(0, 1, (1, 3, 5))
    second[0, :, 2] = np.nan
    result = across_laboratories([differences(first), differences(second)])
    assert np.isfinite(result[:3]).all()


@pytest.mark.slow
@pytest.mark.parametrize("laboratories", [2, 3, 6])
@pytest.mark.parametrize(
    ("between", "patients", "shared"), [(0, 1, True), (0.3, 1, True), (1, 0.3, True), (0.3, 0.5, False)]
)
def test_the_interval_covers_the_truth(laboratories, between, patients, shared):
    rng = np.random.default_rng(4)
    options = {"between": between, "patients": patients, "shared": shared, "cases": 25}
    samples = [across_laboratories(simulated(rng, laboratories, **options)) for _ in range(200)]
    assert np.mean([result.low <= 0 <= result.high for result in samples]) > 0.92
