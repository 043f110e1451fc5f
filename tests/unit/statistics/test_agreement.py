"""Agreement against analyses of variance by least squares, published values and tables of counts."""

import math

import numpy as np
import pytest
from scipy import stats

from spectralseg.statistics.agreement import contributions, intraclass_correlation, weighted_kappa

# Four judges rate six targets: Shrout and Fleiss 1979, table 2.
SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def ratings(seed, n=20, k=2):
    rng = np.random.default_rng(seed)
    spread, noise, bias = rng.uniform(0.2, 5, 3)
    return spread * rng.normal(size=(n, 1)) + noise * rng.normal(size=(n, k)) + bias * np.arange(k) + 3


def squares(values):
    """Mean squares of a two-way analysis of variance, from residuals of nested linear models."""
    n, k = values.shape
    rows, columns = np.kron(np.eye(n), np.ones((k, 1))), np.kron(np.ones((n, 1)), np.eye(k))

    def residual(*designs):
        design = np.hstack([np.ones((n * k, 1)), *designs])
        fitted = design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
        return ((values.ravel() - fitted) ** 2).sum()

    total, both = residual(), residual(rows, columns)
    return (
        (total - residual(rows)) / (n - 1),
        (total - residual(columns)) / (k - 1),
        both / ((n - 1) * (k - 1)),
    )


def by_variance_components(values):
    """ICC(A,1) and its interval from variance components, as Shrout and Fleiss 1979 print them."""
    n, k = values.shape
    bms, jms, ems = squares(values)
    case, judge, error = (bms - ems) / k, (jms - ems) / n, ems
    icc = case / (case + judge + error)
    ratio = jms / ems
    numerator = (n - 1) * (k - 1) * (k * icc * ratio + n * (1 + (k - 1) * icc) - k * icc) ** 2
    freedom = numerator / ((n - 1) * k**2 * icc**2 * ratio**2 + (n * (1 + (k - 1) * icc) - k * icc) ** 2)
    upper, lower = stats.f.ppf(0.975, n - 1, freedom), stats.f.ppf(0.975, freedom, n - 1)
    low = n * (bms - upper * ems) / (upper * (k * jms + (k * n - k - n) * ems) + n * bms)
    high = n * (lower * bms - ems) / (k * jms + (k * n - k - n) * ems + n * lower * bms)
    return icc, low, high


class TestIntraclassCorrelation:
    @pytest.mark.parametrize("seed", range(30))
    def test_it_equals_the_ratio_of_variance_components(self, seed):
        values = ratings(seed, n=3 + seed, k=2 + seed % 3)
        assert intraclass_correlation(values) == pytest.approx(by_variance_components(values))

    def test_it_equals_the_published_example(self):
        assert intraclass_correlation(SHROUT_FLEISS) == pytest.approx((0.290, 0.019, 0.761), abs=5e-4)

    def test_a_bias_lowers_absolute_agreement(self):
        values = np.repeat(ratings(1)[:, :1], 2, axis=1)
        assert intraclass_correlation(values) == pytest.approx((1, 1, 1))
        assert intraclass_correlation(values + np.array([0, 5])).estimate < 0.9

    def test_the_interval_covers_the_truth(self):
        rng, covered = np.random.default_rng(0), []
        for _ in range(500):
            values = rng.normal(0, 2, (30, 1)) + np.array([0, 1]) + rng.normal(0, 1, (30, 2))
            interval = intraclass_correlation(values)
            covered.append(interval.low <= 4 / (4 + 1 + 0.5) <= interval.high)
        assert 0.9 < np.mean(covered) <= 1

    def test_a_lower_level_gives_a_narrower_interval(self):
        wide, narrow = (intraclass_correlation(ratings(2), level=level) for level in (0.95, 0.5))
        assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high

    @pytest.mark.parametrize("values", [np.ones((2, 2)), np.ones((5, 2)), [[1, 2], [3, math.nan], [4, 5]]])
    def test_it_is_undefined_without_information(self, values):
        assert all(map(math.isnan, intraclass_correlation(values)))

    @pytest.mark.parametrize(
        ("values", "options"), [(np.ones(4), {}), (np.ones((4, 1)), {}), (np.ones((4, 2)), {"level": 1})]
    )
    def test_wrong_arguments_are_refused(self, values, options):
        with pytest.raises(ValueError, match=r"the ratings have the shape|level 1 is not between"):
            intraclass_correlation(values, **options)


def kappa_of_counts(first, second):
    """Weighted kappa from the table of counts, as textbooks print it."""
    categories = int(max(*first, *second)) + 1
    table = np.zeros((categories, categories))
    np.add.at(table, (first, second), 1)
    weights = 1 - np.abs(np.subtract.outer(np.arange(categories), np.arange(categories))) / (categories - 1)
    chance = np.outer(table.sum(1), table.sum(0)) / table.sum()
    observed, expected = ((weights * part).sum() / table.sum() for part in (table, chance))
    return (observed - expected) / (1 - expected)


class TestKappa:
    @pytest.mark.parametrize("seed", range(20))
    def test_it_equals_the_table_of_counts(self, seed):
        rng = np.random.default_rng(seed)
        first = rng.integers(0, 5, 40)
        second = np.clip(first + rng.integers(-1, 2, 40), 0, 4)
        assert weighted_kappa(np.stack([first, second], 1)) == pytest.approx(kappa_of_counts(first, second))

    def test_limits(self):
        assert weighted_kappa([[1, 1], [2, 2], [5, 5]]) == 1
        assert math.isnan(weighted_kappa([[3, 3], [3, 3]]))
        assert math.isnan(weighted_kappa(np.empty((0, 2))))
        with pytest.raises(ValueError, match="pass two columns"):
            weighted_kappa([1, 2])


class TestContributions:
    @pytest.mark.parametrize("statistic", [lambda v: intraclass_correlation(v).estimate, weighted_kappa])
    def test_their_mean_is_the_statistic(self, statistic):
        values = ratings(3, 40)
        assert contributions(statistic, values).mean() == pytest.approx(statistic(values))

    def test_those_of_a_mean_are_the_values(self):
        values = ratings(4)
        assert contributions(lambda v: float(v[:, 0].mean()), values) == pytest.approx(values[:, 0])

    def test_their_variance_is_that_of_the_statistic(self):
        def statistic(values):
            return intraclass_correlation(values).estimate

        rng, estimates, errors = np.random.default_rng(5), [], []
        for _ in range(200):
            case = rng.normal(0, 2, (60, 1))
            values = case + rng.normal(0, 1, (60, 2))
            estimates.append(statistic(values))
            errors.append(contributions(statistic, values).std(ddof=1) / math.sqrt(60))
        assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.15)

    def test_they_are_undefined_where_the_statistic_is(self):
        assert np.isnan(contributions(weighted_kappa, np.ones((5, 2)))).all()
        assert np.isnan(contributions(weighted_kappa, [[1, 2], [2, 1]])).all()
        # Without its first case, all ratings are equal.
        assert np.isnan(contributions(weighted_kappa, [[1, 2], [3, 3], [3, 3], [3, 3]])).all()
