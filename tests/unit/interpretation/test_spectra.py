import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectralseg.interpretation import spectra
from spectralseg.objectives import spectral_similarity

SIDES = [16, 31, 72, 96]


def masks(side, count=2, classes=2, seed=0):
    """Random rectangles, one per slice and class."""
    rng = np.random.default_rng(seed)
    channels = np.zeros((count, classes, side, side))
    for plane in channels.reshape(-1, side, side):
        top, left = rng.integers(0, side // 2, 2)
        height, width = rng.integers(side // 8 + 1, side // 2, 2)
        plane[top : top + height, left : left + width] = 1
    return channels


def of(first, second):
    return spectra.cross_spectra([(first, second)])


def brute_force_rings(first, second, radius):
    """Reference implementation of FRC of two masks (S, S) on one ring, from the definition of the transform."""
    side = len(first)
    index = np.arange(side)
    wave = np.exp(-2j * np.pi * np.outer(index, index) / side)
    y, p = wave @ first @ wave, wave @ second @ wave
    cross = left = right = 0.0
    for row in range(side):
        for column in range(side):
            k = np.hypot(*(n if n < (side + 1) // 2 else n - side for n in (row, column)))
            if radius <= k < radius + 1:
                cross += (y[row, column] * p[row, column].conjugate()).real
                left += abs(y[row, column]) ** 2
                right += abs(p[row, column]) ** 2
    return cross / np.sqrt(left * right)


class TestNumerics:
    def test_one_hot_of_one_map_and_of_a_stack(self):
        labels = np.array([[[0, 1], [2, 3]], [[3, 3], [0, 1]]], np.uint8)
        assert (spectra.one_hot(labels[0], 2) == [[[0, 1], [0, 0]], [[0, 0], [1, 0]]]).all()
        assert (spectra.one_hot(labels, 2) == np.stack([spectra.one_hot(plane, 2) for plane in labels])).all()

    def test_ring_sums_keep_everything(self):
        values = np.random.default_rng(0).random((2, 3, 31, 31))
        sums = spectra.ring_sums(values)
        assert sums.shape == (2, 3, spectra.ring_numbers(31).max() + 1)
        assert np.allclose(sums.sum(-1), values.sum((-2, -1)))
        expected = np.bincount(spectra.ring_numbers(31).ravel(), values[1, 2].ravel())
        assert np.allclose(sums[1, 2], expected)

    def test_detrending_leaves_no_radial_mean(self):
        values = np.random.default_rng(0).random((2, 16, 16))
        rest = spectra.without_radial_mean(values)
        rings = spectra.ring_numbers(16)
        assert all(np.abs(rest[:, rings == radius].mean(1)).max() < 1e-12 for radius in np.unique(rings))
        assert np.allclose(rest[1], spectra.without_radial_mean(values[1]))

    def test_correlation_is_that_of_numpy_for_every_item(self):
        rng = np.random.default_rng(0)
        first, second = rng.random((2, 3, 8, 8)), rng.random((2, 3, 8, 8))
        first[1, 2] = 4.0
        result = spectra.correlation(first, second)
        assert np.isnan(result[1, 2])
        for i, j in [(0, 0), (0, 2), (1, 1)]:
            assert result[i, j] == pytest.approx(np.corrcoef(first[i, j].ravel(), second[i, j].ravel())[0, 1])
        assert f"{spectra.correlation(first[0, 0], second[0, 0]):.3f}"  # a scalar that can be formatted

    def test_cumulative_power_of_a_wave(self):
        wave = np.cos(2 * np.pi * 4 * np.arange(32) / 32)[None, None, :] * np.ones((1, 32, 1))
        shares = spectra.cumulative_power(wave + 3)
        assert shares[3] == pytest.approx(0, abs=1e-12)
        assert shares[4] == pytest.approx(1)
        assert np.isnan(spectra.cumulative_power(np.ones((1, 32, 32)))).all()

    def test_cumulative_power_counts_what_lies_at_or_below(self):
        """A diagonal wave of 3 and 3 cycles has 4.24."""
        rows, columns = np.mgrid[:32, :32]
        shares = spectra.cumulative_power(np.cos(2 * np.pi * 3 * (rows + columns) / 32)[None])
        assert shares[4] == pytest.approx(0, abs=1e-12)
        assert shares[5] == pytest.approx(1)


class TestTranslation:
    """Log-magnitudes ignore phase, so a shifted mask correlates perfectly; FRC and S do not."""

    @pytest.mark.parametrize("detrended", [False, True])
    def test_the_magnitude_correlation_of_a_shifted_mask_is_one(self, detrended):
        mask = masks(72)[0]
        shifted = np.roll(mask, (25, -17), axis=(-2, -1))
        assert np.allclose(spectra.magnitude_correlation(of(mask, shifted), detrended=detrended), 1)
        assert (spectra.similarity(of(mask, shifted)) < 0.6).all()
        assert (spectra.band_means(spectra.fourier_ring_correlation(of(mask, shifted)))[:, 1:] < 0.5).all()

    def test_log_magnitude_images_of_a_shifted_mask_correlate_perfectly(self):
        mask = masks(32)[0, :1]
        shifted = np.roll(mask, 5, axis=2)
        first, second, nothing = (spectra.log_magnitude(image) for image in (mask, shifted, 0 * mask))
        assert spectra.correlation(first, second) == pytest.approx(1)
        assert np.isnan(spectra.correlation(first, nothing))

    def test_the_ring_correlation_of_a_shifted_mask_is_the_mean_cosine_of_its_phase(self):
        """Shift theorem: the ring correlation is the mean of cos(2πkd/S), weighted by power."""
        side, distance = 64, 3
        mask = masks(side, 1, 1)[0, 0]
        curve = spectra.fourier_ring_correlation(of(mask, np.roll(mask, distance, axis=1)))
        power = np.abs(np.fft.fft2(mask)) ** 2
        frequency = np.fft.fftfreq(side, 1 / side)
        cosine = np.cos(2 * np.pi * distance * frequency / side)[None, :]
        rings = np.floor(np.hypot(frequency[:, None], frequency))
        for radius in range(side // 2 + 1):
            ring = rings == radius
            assert curve[radius] == pytest.approx((power * cosine)[ring].sum() / power[ring].sum(), abs=1e-9)

    def test_the_magnitude_correlation_prefers_a_disjoint_mask_to_a_good_one(self):
        rows, columns = np.mgrid[:224, :224]
        disc, smaller = (1.0 * (np.hypot(rows - 100, columns - 90) < radius) for radius in (30, 28))
        moved, good = of(np.roll(disc, 80, axis=1), disc), of(smaller, disc)
        assert spectra.similarity(moved) == pytest.approx(0, abs=1e-9)
        assert spectra.similarity(good) > 0.9
        assert spectra.magnitude_correlation(moved) == pytest.approx(1)
        assert spectra.magnitude_correlation(good) < 0.5

    def test_the_radial_trend_makes_unrelated_masks_correlate(self):
        rows, columns = np.mgrid[:96, :96]
        disc = 1.0 * (np.hypot(rows - 30, columns - 40) < 14)
        square = 1.0 * ((np.abs(rows - 60) < 11) & (np.abs(columns - 45) < 19))
        plain, detrended = (spectra.magnitude_correlation(of(disc, square), detrended=way) for way in (False, True))
        assert plain > 0.5
        assert detrended < plain - 0.2


class TestRingCorrelation:
    @pytest.mark.parametrize("side", SIDES)
    def test_equal_masks_have_one_at_every_frequency(self, side):
        curve = spectra.fourier_ring_correlation(of(masks(side), masks(side)))
        assert curve.shape == (2, 2, side // 2 + 1)
        assert np.allclose(curve, 1)

    @pytest.mark.parametrize("side", [12, 15])
    def test_curves_equal_the_definition(self, side):
        first, second = masks(side, 1, 1, seed=1)[0, 0], np.random.default_rng(0).random((side, side))
        curve = spectra.fourier_ring_correlation(of(first, second))
        for radius in range(side // 2 + 1):
            assert curve[radius] == pytest.approx(brute_force_rings(first, second, radius), abs=1e-9)

    def test_a_stack_is_its_items(self):
        first, second = masks(48, 3, 2), masks(48, 3, 2, seed=5)
        together = spectra.fourier_ring_correlation(of(first, second))
        for n in range(3):
            for k in range(2):
                assert np.allclose(together[n, k], spectra.fourier_ring_correlation(of(first[n, k], second[n, k])))

    def test_values_are_in_range_and_ignore_the_scale(self):
        first, second = masks(48), np.random.default_rng(0).random((2, 2, 48, 48))
        curve = spectra.fourier_ring_correlation(of(first, second))
        assert np.abs(curve).max() <= 1 + 1e-12
        assert np.allclose(curve, spectra.fourier_ring_correlation(of(first, 0.01 * second)))

    def test_an_empty_mask_is_undefined_and_a_constant_one_has_ring_zero_only(self):
        mask = masks(32)[0]
        assert np.isnan(spectra.fourier_ring_correlation(of(mask, 0 * mask))).all()
        curve = spectra.fourier_ring_correlation(of(mask, np.full_like(mask, 0.3)))
        assert np.allclose(curve[:, 0], 1)
        assert np.isnan(curve[:, 1:]).all()

    def test_band_means_count_defined_rings_alike_and_never_ring_zero(self):
        curve = np.full(113, 0.5)
        curve[0], curve[3], curve[40] = 1.0, np.nan, 0.0
        assert np.allclose(spectra.band_means(curve), [0.5, 0.5, 0.5 * 80 / 81])
        assert np.isnan(spectra.band_means(np.full(113, np.nan))).all()
        assert np.isnan(spectra.band_means(np.ones(17))).tolist() == [False, False, True]


class TestSimilarity:
    @settings(max_examples=25)
    @given(st.sampled_from(SIDES), st.integers(0, 1000))
    def test_it_is_the_squared_dice_and_the_sum_of_its_bands_weighted_by_energy(self, side, seed):
        first, second = np.random.default_rng(seed).random((2, 2, side, side)), masks(side, seed=seed)
        cross = of(first, second)
        expected = 2 * (first * second).sum((-2, -1)) / (first**2 + second**2).sum((-2, -1))
        assert np.allclose(spectra.similarity(cross), expected)
        shares = spectra.band_shares(cross.first + cross.second)
        assert np.allclose(shares.sum(-1), 1)
        assert np.allclose((shares * np.nan_to_num(spectra.band_similarity(cross))).sum(-1), expected)

    def test_bands_are_those_of_the_objective(self):
        first, second = np.random.default_rng(0).random((2, 3, 96, 96)), masks(96, 2, 3)
        similarities = spectra.band_similarity(spectra.cross_spectra(zip(first, second, strict=True)))
        for k in range(3):
            p, y = torch.from_numpy(first[:, k : k + 1]), torch.from_numpy(second[:, k : k + 1])
            for number, band in enumerate([(0, 8), (8, 32), (32, 1000)]):
                assert similarities[k, number] == pytest.approx(spectral_similarity(p, y, band=band).item(), rel=1e-9)

    def test_with_the_ring_correlation_it_differs_by_the_means_of_the_powers(self):
        """S = FRC · geometric / arithmetic mean, ring by ring."""
        spectra_pair = of(masks(72), masks(72, seed=3))
        cross, first, second = (spectra.ring_sums(part)[..., :37] for part in spectra_pair)
        expected = 2 * cross / (first + second)
        ratio = 2 * np.sqrt(first * second) / (first + second)
        assert np.allclose(spectra.fourier_ring_correlation(spectra_pair) * ratio, expected)

    def test_equal_masks_one_disjoint_masks_zero_empty_masks_undefined(self):
        mask, other, empty = np.zeros((3, 32, 32))
        mask[4:10, 4:10] = other[20:25, 8:12] = 1
        assert spectra.similarity(of(mask, mask)) == pytest.approx(1)
        assert spectra.similarity(of(mask, other)) == pytest.approx(0, abs=1e-12)
        assert spectra.similarity(of(mask, empty)) == 0
        assert np.isnan(spectra.similarity(of(empty, empty)))
        assert np.isnan(spectra.band_shares(of(empty, empty).first)).all()


class TestCases:
    def test_the_slices_of_a_volume_are_its_three_dimensional_transform(self):
        first, second = masks(24, 6, 1)[:, 0], masks(24, 6, 1, seed=2)[:, 0]
        cross = spectra.cross_spectra(zip(first, second, strict=True))
        volume, other = (np.fft.fftshift(np.fft.fftn(planes), axes=(1, 2)) for planes in (first, second))
        assert np.allclose(cross.cross, (volume * other.conj()).real.sum(0) / 6)
        assert np.allclose(cross.first, (np.abs(volume) ** 2).sum(0) / 6)

    def test_pairs_broadcast(self):
        first, second = masks(16, 3, 2), masks(16, 1, 2, seed=1)
        cross = spectra.cross_spectra([(first, second)])
        assert cross.cross.shape == (3, 2, 16, 16)
        assert cross.second.shape == (1, 2, 16, 16)
        assert spectra.similarity(cross).shape == (3, 2)
        assert spectra.magnitude_correlation(cross, detrended=True).shape == (3, 2)
        assert spectra.fourier_ring_correlation(cross).shape == (3, 2, 9)
        alone = spectra.fourier_ring_correlation(of(first[2, 1], second[0, 1]))
        assert np.allclose(spectra.fourier_ring_correlation(cross)[2, 1], alone, equal_nan=True)

    def test_no_masks_are_an_error(self):
        with pytest.raises(ValueError, match="no masks"):
            spectra.cross_spectra([])
