"""Spectra of images and masks, and their agreement.

Frequencies are in cycles per image side. Spectra are shifted, so that zero is in the centre. Images are square. Unless
stated otherwise, arrays are float64 and may have leading axes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]

# Rings low <= r < high. At a side of 224 the middle band has wavelengths of 28 to 7 pixels.
BANDS = {"low": (0, 8), "mid": (8, 32), "high": (32, math.inf)}


def one_hot(labels: NDArray[np.uint8], classes: int) -> Real:
    """Foreground classes 1..K of label maps (..., S, S) as channels (..., K, S, S)."""
    channels: Real = (labels[..., None, :, :] == np.arange(1, classes + 1)[:, None, None]).astype(np.float64)
    return channels


def spectrum(channels: Real) -> NDArray[np.complex128]:
    """Unnormalised two-dimensional FFT of the last two axes, shifted."""
    return np.fft.fftshift(np.fft.fft2(channels), axes=(-2, -1))


def amplitude(channels: Real) -> Real:
    """Amplitude spectrum (..., S, S) of channels (K, ..., S, S): the square root of their summed power."""
    power: Real = (np.abs(spectrum(channels)) ** 2).sum(axis=0)
    return np.sqrt(power)


def log_magnitude(channels: Real) -> Real:
    """log(1 + amplitude); zeros for an empty mask."""
    return np.log1p(amplitude(channels))


def radii(side: int) -> Real:
    """Distance |k| of each frequency from zero in cycles per image, (S, S)."""
    steps = np.rint(np.fft.fftshift(np.fft.fftfreq(side, 1 / side)))
    distances: Real = np.hypot(steps[:, None], steps[None, :])
    return distances


def ring_numbers(side: int) -> NDArray[np.int64]:
    """Number r of the ring r <= |k| < r + 1 of each frequency, (S, S), as in the objective ``frc`` and its bands."""
    return np.floor(radii(side)).astype(np.int64)


def ring_sums(values: Real) -> Real:
    """Sums (..., R) of values (..., S, S) over the rings 0..R - 1, corners included."""
    order, starts = _rings(values.shape[-1])
    return np.add.reduceat(values.reshape(*values.shape[:-2], -1)[..., order], starts, axis=-1)


def without_radial_mean(values: Real) -> Real:
    """Values (..., S, S) minus their mean over each ring."""
    numbers = ring_numbers(values.shape[-1])
    means = ring_sums(values) / np.bincount(numbers.ravel())
    return values - means[..., numbers]


def correlation(first: Real, second: Real) -> Any:
    """Pearson correlation (...) over the last two axes; NaN where either is constant, e.g. for an empty mask."""
    first, second = (values - values.mean(axis=(-2, -1), keepdims=True) for values in (first, second))
    norm = np.linalg.norm(first, axis=(-2, -1)) * np.linalg.norm(second, axis=(-2, -1))
    return _ratio((first * second).sum(axis=(-2, -1)), norm, norm > 1e-12)


def cumulative_power(channels: Real) -> Real:
    """Fraction of the power of channels (K, S, S), without their mean, at or below each whole frequency 0..S/2.

    The fraction at S/2 is below 1 because of the corners of the spectrum. Constant channels give NaN.
    """
    centred = channels - channels.mean(axis=(-2, -1), keepdims=True)
    side = centred.shape[-1]
    power = np.bincount(np.ceil(radii(side)).astype(np.int64).ravel(), amplitude(centred).ravel() ** 2)
    total, count = power.sum(), side // 2 + 1
    return power.cumsum()[:count] / total if total > 1e-12 else np.full(count, np.nan)


def relative_change(before: NDArray[Any], after: NDArray[Any]) -> float:
    """‖after − before‖ / ‖before‖ with Euclidean norms over all entries; NaN if ``before`` is zero."""
    norm = float(np.linalg.norm(before))
    return float(np.linalg.norm(after - before)) / norm if norm > 0 else float("nan")


class CrossSpectra(NamedTuple):
    """Real part of the cross-spectrum of two masks and the power of each, (..., S, S)."""

    cross: Real
    first: Real
    second: Real


def cross_spectra(pairs: Iterable[tuple[Real, Real]]) -> CrossSpectra:
    """Cross-spectra of pairs of masks (..., S, S), summed over the pairs; the leading axes of a pair may broadcast.

    The pairs are the slices of a case. By Parseval's theorem, the sum over slices equals the sum over the third axis of
    the three-dimensional transform: a ring stands for a cylinder, and an image is a volume of one slice.

    Raises:
        ValueError: there are no pairs.
    """
    spectra = functools.reduce(
        lambda total, pair: CrossSpectra(*(a + b for a, b in zip(total, pair, strict=True))),
        (_cross(spectrum(first), spectrum(second)) for first, second in pairs),
        CrossSpectra(*np.zeros((3, 1))),
    )
    if spectra.cross.ndim < 2:
        raise ValueError("there are no masks to compare")
    return spectra


def similarity(spectra: CrossSpectra) -> Any:
    """Eq. (2) of the paper, (...) in [-1, 1]: twice the cross-spectrum over the sum of the powers.

    By Parseval's theorem, equal to the squared-denominator Dice of the masks. NaN where both are empty.
    """
    cross, energy = (part.sum(axis=(-2, -1)) for part in (spectra.cross, spectra.first + spectra.second))
    return _ratio(2 * cross, energy, energy > 0)


def band_similarity(spectra: CrossSpectra) -> Real:
    """:func:`similarity` within each of :data:`BANDS`, (..., 3); NaN for bands without power.

    The full similarity is their mean, weighted by :func:`band_shares` of the joint power.
    """
    cross, energy = (_band_sums(ring_sums(part)) for part in (spectra.cross, spectra.first + spectra.second))
    values: Real = _ratio(2 * cross, energy, energy > 0)
    return values


def band_shares(power: Real) -> Real:
    """Fractions (..., 3) of power (..., S, S) in each of :data:`BANDS`, corners included; NaN without power."""
    bands = _band_sums(ring_sums(power))
    total = bands.sum(axis=-1, keepdims=True)
    shares: Real = _ratio(bands, total, np.broadcast_to(total > 0, bands.shape))
    return shares


def fourier_ring_correlation(spectra: CrossSpectra) -> Real:
    r"""Correlation of two masks in each of the rings 0..S/2, (..., S // 2 + 1) in [-1, 1].

    .. math:: \mathrm{FRC}_r = \frac{\sum_{k \in r} \mathrm{Re}(Y_k \overline{P_k})}
        {\sqrt{\sum_{k \in r} |Y_k|^2 \sum_{k \in r} |P_k|^2}}

    (Saxton and Baumeister 1982). NaN where a ring of either mask has no power beyond rounding.
    """
    cross, first, second = (ring_sums(part) for part in spectra)
    enough = (first > _rounding(first)) & (second > _rounding(second))
    curve: Real = _ratio(cross, np.sqrt(first) * np.sqrt(second), enough)
    return curve[..., : spectra.cross.shape[-1] // 2 + 1]


def band_means(curve: Real) -> Real:
    """Means (..., 3) of a curve over rings (..., S // 2 + 1) within each of :data:`BANDS`.

    All defined rings have equal weight, except ring 0, which is excluded: it holds only the mean and is 1 for any two
    masks. NaN if no ring remains.
    """
    rings = np.arange(curve.shape[-1])
    inside = np.array([(low <= rings) & (rings < high) & (rings > 0) for low, high in BANDS.values()])
    values, counted = curve[..., None, :], np.isfinite(curve)[..., None, :] & inside
    count = counted.sum(axis=-1)
    means: Real = _ratio(np.where(counted, values, 0).sum(axis=-1), count, count > 0)
    return means


def magnitude_correlation(spectra: CrossSpectra, *, detrended: bool = False) -> Any:
    """Pearson correlation (...) of log(1 + amplitude); NaN where a mask is empty.

    It ignores phase: a mask correlates perfectly with a shifted copy of itself. ``detrended`` first subtracts the mean
    of each ring, because the decay with frequency makes any two masks correlate.
    """
    first, second = (np.log1p(np.sqrt(power)) for power in (spectra.first, spectra.second))
    if detrended:
        first, second = without_radial_mean(first), without_radial_mean(second)
    return correlation(first, second)


def _cross(first: NDArray[np.complex128], second: NDArray[np.complex128]) -> CrossSpectra:
    return CrossSpectra((first * second.conj()).real, np.abs(first) ** 2, np.abs(second) ** 2)


@functools.lru_cache(maxsize=8)
def _rings(side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the frequencies sorted by ring, and the start of each ring in them."""
    numbers = ring_numbers(side).ravel()
    order = numbers.argsort(kind="stable")
    return order, np.searchsorted(numbers[order], np.arange(numbers.max() + 1))


def _band_sums(rings: Real) -> Real:
    frequencies = np.arange(rings.shape[-1])
    inside = [(low <= frequencies) & (frequencies < high) for low, high in BANDS.values()]
    return np.stack([rings[..., band].sum(axis=-1) for band in inside], axis=-1)


def _rounding(rings: Real) -> Real:
    """Power that a ring may have from rounding errors of the transform."""
    limit: Real = 1e-20 * rings.sum(axis=-1, keepdims=True)
    return limit


def _ratio(above: Any, below: Any, defined: Any) -> Any:
    return np.divide(above, below, out=np.full(np.shape(defined), np.nan), where=defined)[()]
