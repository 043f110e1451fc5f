"""Spectra of images and masks. Frequencies are in cycles per image side; spectra are shifted, so zero is central."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]


def one_hot(labels: NDArray[np.uint8], classes: int) -> Real:
    """Foreground classes 1..K of a label map (S, S) as channels (K, S, S)."""
    channels: Real = (labels == np.arange(1, classes + 1)[:, None, None]).astype(np.float64)
    return channels


def spectrum(channels: Real) -> NDArray[np.complex128]:
    """Unnormalised two-dimensional FFT of the last two axes, shifted."""
    return np.fft.fftshift(np.fft.fft2(channels), axes=(-2, -1))


def amplitude(channels: Real) -> Real:
    """Amplitude spectrum (S, S) of channels (K, S, S): the square root of their summed power."""
    power: Real = (np.abs(spectrum(channels)) ** 2).sum(axis=0)
    return np.sqrt(power)


def log_magnitude(channels: Real) -> Real:
    """log(1 + amplitude); zeros for an empty mask."""
    return np.log1p(amplitude(channels))


def radii(side: int) -> NDArray[np.int64]:
    """Distance of each frequency from zero, rounded to whole cycles per image, (S, S)."""
    steps = np.fft.fftshift(np.fft.fftfreq(side, 1 / side))
    return np.hypot(steps[:, None], steps[None, :]).round().astype(np.int64)


def without_radial_mean(values: Real) -> Real:
    """Values (S, S) less their mean over each ring of equal rounded frequency."""
    rings = radii(len(values)).ravel()
    means = np.bincount(rings, values.ravel()) / np.bincount(rings)
    return values - means[rings].reshape(values.shape)


def correlation(first: Real, second: Real) -> float:
    """Pearson correlation of two arrays; NaN where either is constant, e.g. for an empty mask."""
    first, second = first - first.mean(), second - second.mean()
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float((first * second).sum() / norm) if norm > 1e-12 else float("nan")


def cumulative_power(channels: Real) -> Real:
    """Share of the power without the mean that lies at or below each whole frequency 0..S/2.

    The share at S/2 is less than 1 by what lies in the corners of the spectrum. Constant channels give NaN.
    """
    centred = channels - channels.mean(axis=(-2, -1), keepdims=True)
    power = amplitude(centred) ** 2
    side = power.shape[-1]
    rings = np.bincount(radii(side).ravel(), power.ravel())
    total = rings.sum()
    return rings.cumsum()[: side // 2 + 1] / total if total > 1e-12 else np.full(side // 2 + 1, np.nan)


def relative_change(before: NDArray[Any], after: NDArray[Any]) -> float:
    """‖after − before‖ / ‖before‖ with Euclidean norms over all entries; NaN where ``before`` is zero."""
    norm = float(np.linalg.norm(before))
    return float(np.linalg.norm(after - before)) / norm if norm > 0 else float("nan")
