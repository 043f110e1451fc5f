"""Similarities of masks in the frequency domain.

Real images have Hermitian spectra, so half of the plane says all. Each frequency of the half counts as often as it
stands in the whole: twice, or once in the columns of frequency 0 and, for even widths, Nyquist. Transforms are
orthonormal, so that energies are sums over pixels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Band = tuple[float, float]
_MOST_MAPS = 1024  # of a batch, images times classes, whose energies must not overflow
EVERYTHING: Band = (0.0, math.inf)


def spectral_similarity(
    probabilities: Tensor,
    targets: Tensor,
    *,
    band: Sequence[float] | None = None,
    weighting: float = 0.0,
    method: str = "auto",
    epsilon: float = 0.0,
) -> Tensor:
    r"""Spectral correlation coefficient, Eq. (2) of the paper: a similarity of two batches of masks.

    .. math:: S = \frac{2 \sum_k w_k \,\mathrm{Re}(Y_k \overline{P_k})}{\sum_k w_k (|Y_k|^2 + |P_k|^2)}

    with the 2-D Fourier transforms Y of the targets and P of the probabilities, summed over batch, channels and
    frequencies. Over all frequencies with equal weights it is, by Parseval's theorem, the squared-denominator soft
    Dice :math:`2 \sum yp / (\sum y^2 + \sum p^2)` (Milletari et al. 2016), value and gradient.

    Args:
        probabilities: reals (B, C, H, W), usually in [0, 1].
        targets: reals (B, C, H, W), usually 0 or 1.
        band: (low, high): keep frequencies with low <= |k| < high, in cycles per image (of its longer side); None keeps
            all.
        weighting: exponent a of the weights :math:`w_k = |k|^a`; 0 weighs all frequencies alike.
        method: ``auto`` uses the closed form where it is exact, ``fft`` always transforms.
        epsilon: added to numerator and denominator.

    Returns:
        Scalar in [-1, 1], computed in float32 or better. With all-zero targets it is 0 with zero gradient unless
        ``epsilon`` is positive; with all-zero targets *and* probabilities it is 0 / 0 = NaN unless ``epsilon`` is
        positive, and then 1.

    Raises:
        ValueError: the shapes differ or are not (B, C, H, W), an option cannot be (see :func:`check_options`), or the
            band holds no frequency of images of this size, or weights of images of this size overflow.
    """
    if probabilities.shape != targets.shape:
        raise ValueError(f"shapes differ: {tuple(probabilities.shape)} and {tuple(targets.shape)}")
    if probabilities.ndim != 4:
        raise ValueError(f"probabilities have the shape {tuple(probabilities.shape)}; pass (B, C, H, W)")
    check_options(band, weighting, method)
    limits = read_band(band) or EVERYTHING
    dtype = torch.promote_types(probabilities.dtype, torch.float32)
    # Never under autocast: half-precision FFT exists for powers of two only, and the sums overflow.
    with torch.autocast(probabilities.device.type, enabled=False):
        p, y = probabilities.to(dtype), targets.to(dtype)
        if method == "auto" and band is None and weighting == 0:
            cross, energy = cross_and_energy(p, y)
        else:
            weights = multiplicity(p) * response(p, limits, weighting)
            cross, energy = cross_and_energy(transform(p), transform(y), weights)
        return (2 * cross.sum() + epsilon) / (energy.sum() + epsilon)


def check_options(band: Sequence[float] | None, weighting: float = 0.0, method: str = "auto") -> None:
    """Refuse options of :func:`spectral_similarity` that suit no image.

    Raises:
        ValueError: the band is not (low, high) with low < high, the weighting is negative or not finite, or the method
            is unknown.
    """
    if band is not None:
        numbers = isinstance(band, Iterable) and all(isinstance(limit, Real) for limit in band)
        if not (numbers and len(band) == 2 and band[0] < band[1]):
            raise ValueError(f"band {band} is not (low, high) with numbers low < high in cycles per image")
    if not isinstance(weighting, Real) or not 0 <= weighting < math.inf:
        raise ValueError(f"weighting {weighting} is not a finite exponent of 0 or more")
    if method not in ("auto", "fft"):
        raise ValueError(f"method '{method}' is unknown; valid: auto, fft")


def read_band(band: Sequence[float | None] | None) -> Band | None:
    """A band as a configuration gives it, where null as the upper limit means none.

    Raises:
        ValueError: it is not (low, high) with low < high.
    """
    if band is None:
        return None
    limits = tuple(math.inf if limit is None else float(limit) for limit in band)
    check_options(limits)
    return limits[0], limits[1]


def default_epsilon(maps: Tensor) -> float:
    """A millionth of the pixels of an image: decides nothing but what empty masks cost."""
    return 1e-6 * maps.shape[-2] * maps.shape[-1]


def transform(maps: Tensor) -> Tensor:
    """Orthonormal spectra (B, K, H, W // 2 + 1) of real maps (B, K, H, W)."""
    spectra: Tensor = torch.fft.rfft2(maps, norm="ortho")
    return spectra


def products(one: Tensor, other: Tensor) -> Tensor:
    """Re(one · conj(other)), element by element."""
    if one.is_complex() and other.is_complex():
        return one.real * other.real + one.imag * other.imag
    return one * other


def cross_and_energy(predicted: Tensor, target: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The sums of Eq. (2) per channel, (K,): Re Σ w y conj(p) and Σ w (|y|² + |p|²), of spectra, amplitudes or maps."""

    def total(values: Tensor) -> Tensor:
        return (values if weights is None else weights * values).sum((0, 2, 3))

    return total(products(target, predicted)), total(products(target, target)) + total(products(predicted, predicted))


def per_class(predicted: Tensor, target: Tensor, epsilon: float, weights: Tensor | None = None) -> Tensor:
    """S of Eq. (2) per channel, (K,)."""
    cross, energy = cross_and_energy(predicted, target, weights)
    return (2 * cross + epsilon) / (energy + epsilon)


def multiplicity(maps: Tensor) -> Tensor:
    """How often the columns of the half plane stand in the whole, (W // 2 + 1,)."""
    return _multiplicity(maps.shape[-1], maps.dtype, maps.device)


def response(
    maps: Tensor, band: Band, exponent: float = 0.0, annuli_seed: int | None = None, squared: bool = False
) -> Tensor:
    """Weights |k|^exponent of the frequencies in a band and 0 of others, on the half plane, (H, W // 2 + 1).

    With a seed, random annuli take the place of the band: see :func:`random_annuli`. ``squared``: the caller also sums
    with squared weights, which must not overflow either.

    Raises:
        ValueError: images of this size have no frequency in the band, or no annuli like it, or sums with the weights
            would overflow.
    """
    return _response(*maps.shape[-2:], band, exponent, annuli_seed, squared, maps.dtype, maps.device)


def rings(maps: Tensor, low: int, high: int) -> Tensor:
    """For every frequency of the half plane, flattened, its ring low, ..., high - 1 counted from 0.

    Ring r holds r <= |k| < r + 1. What lies in no ring has the number high - low.
    """
    return _rings(*maps.shape[-2:], low, high, maps.device)


# Tables are made once, on the host, so that no step waits for a check on the device; and outside inference mode, as
# they may be needed for a gradient later.


@functools.lru_cache(maxsize=32)
def _multiplicity(width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        counts = torch.full((width // 2 + 1,), 2.0)
        counts[0] = 1
        if width % 2 == 0:
            counts[-1] = 1
        return counts.to(device, dtype)


@functools.lru_cache(maxsize=32)
def _response(
    height: int,
    width: int,
    band: Band,
    exponent: float,
    annuli_seed: int | None,
    squared: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    radius = radii(height, width)
    inside = (radius >= band[0]) & (radius < band[1])
    if not (inside & ((radius > 0) | (exponent == 0))).any():
        raise ValueError(
            f"band ({band[0]:g}, {band[1]:g}) holds no frequency with a weight in images of {height} × {width} pixels, "
            f"which reach {radius.max():.1f} cycles per image; choose another band"
        )
    if annuli_seed is not None:
        inside = np.isin(np.floor(radius), random_annuli(height, width, band, annuli_seed))
    largest = radius[inside].max()
    # Energies of two maps in [0, 1] are at most twice their pixels.
    limit = torch.finfo(dtype).max / (2 * height * width * _MOST_MAPS)
    if largest > 0 and (1 + squared) * exponent * math.log(largest) > math.log(limit):
        raise ValueError(
            f"weighting {exponent:g} gives frequencies of up to {largest:.1f} cycles per image weights that overflow "
            f"{str(dtype).removeprefix('torch.')}; lower it"
        )
    weights = np.where(inside, np.where(inside, radius, 1) ** exponent, 0.0)
    with torch.inference_mode(False):
        return torch.from_numpy(weights[:, : width // 2 + 1]).to(device, dtype)


@functools.lru_cache(maxsize=32)
def _rings(height: int, width: int, low: int, high: int, device: torch.device) -> Tensor:
    numbers = np.floor(radii(height, width))[:, : width // 2 + 1].ravel().astype(np.int64)
    with torch.inference_mode(False):
        return torch.from_numpy(np.where((numbers >= low) & (numbers < high), numbers - low, high - low)).to(device)


def radii(height: int, width: int) -> NDArray[np.float64]:
    """|k| of all frequencies (H, W), in cycles per longer side of the image; exact where they are whole numbers."""
    rows, columns = (np.rint(np.fft.fftfreq(size) * size) * (max(height, width) / size) for size in (height, width))
    radius: NDArray[np.float64] = np.hypot(rows[:, None], columns[None, :])
    whole = np.rint(radius)
    return np.where(np.abs(radius - whole) < 1e-9, whole, radius)


def random_annuli(height: int, width: int, band: Band, seed: int) -> list[int]:
    """Radii r of random annuli r <= |k| < r + 1 outside a band, a control for it.

    Together they have as many frequencies as the band, and as much energy, to 5 %, under :math:`|Y_k|^2 ∝ |k|^{-3}`,
    the law of masks with piecewise smooth boundaries. The mean is in neither.

    Raises:
        ValueError: none were found in 1000 draws.
    """
    radius = radii(height, width)
    numbers = np.floor(radius).astype(int)
    energies = np.maximum(radius, 1) ** -3.0
    inside = (radius >= max(band[0], 1)) & (radius < band[1])
    wanted = np.array([inside.sum(), energies[inside].sum()])
    sizes = np.stack([np.bincount(numbers.ravel()), np.bincount(numbers.ravel(), energies.ravel())], axis=1)
    candidates = np.setdiff1d(np.flatnonzero(sizes[:, 0]), np.append(numbers[inside], 0))
    rng = np.random.default_rng(seed)
    for _ in range(1000):
        chosen, total = [], np.zeros(2)
        for ring in rng.permutation(candidates):
            if np.all(total + sizes[ring] <= 1.05 * wanted):
                chosen.append(int(ring))
                total += sizes[ring]
        if chosen and np.all(total >= 0.95 * wanted):
            return sorted(chosen)
    raise ValueError(
        f"images of {height} × {width} pixels have no annuli outside band ({band[0]:g}, {band[1]:g}) with as many "
        "frequencies and as much energy; choose another band or larger images"
    )
