"""Similarities of masks in the frequency domain.

Real images have Hermitian spectra, so that half of the frequency plane suffices. Each of its frequencies counts as
often as in the full plane: twice, or once in the columns of frequency 0 and, for even widths, of the Nyquist frequency.
Transforms are orthonormal, so that energies are sums over pixels.
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
_MOST_MAPS = 1024  # images times classes in a batch, whose energies must not overflow
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
    r"""Spectral correlation coefficient, Eq. (2) of the paper: the similarity of two batches of masks.

    .. math:: S = \frac{2 \sum_k w_k \,\mathrm{Re}(Y_k \overline{P_k})}{\sum_k w_k (|Y_k|^2 + |P_k|^2)}

    with the 2-D Fourier transforms Y of the targets and P of the probabilities, summed over batch, channels and
    frequencies. Over all frequencies with equal weights it is, by Parseval's theorem, the squared-denominator soft
    Dice :math:`2 \sum yp / (\sum y^2 + \sum p^2)` (Milletari et al. 2016), value and gradient.

    Args:
        probabilities: reals (B, C, H, W), usually in [0, 1].
        targets: reals (B, C, H, W), usually 0 or 1.
        band: (low, high), frequencies low <= |k| < high in cycles per longer side of the image; None for all.
        weighting: exponent a of the weights :math:`w_k = |k|^a`; 0 gives equal weights.
        method: ``auto`` uses the closed form where it is exact, ``fft`` always the transform.
        epsilon: added to numerator and denominator.

    Returns:
        Scalar in [-1, 1], computed in float32 or better. With all-zero targets it is 0 with zero gradient unless
        ``epsilon`` is positive; with all-zero targets *and* probabilities it is 0 / 0 = NaN unless ``epsilon`` is
        positive, and then 1.

    Raises:
        ValueError: the inputs are not real tensors, the shapes differ or are not (B, C, H, W), an option is invalid
            (see :func:`check_options`), ``epsilon`` is not a finite number of 0 or more, or at this image size the
            band holds no frequency or weights overflow.

    Examples:
        >>> import torch
        >>> from spectralseg.objectives import spectral_similarity
        >>> targets = torch.zeros(1, 1, 32, 32)
        >>> targets[..., 8:24, 8:24] = 1
        >>> shifted = targets.roll(2, dims=-1)
        >>> dice = 2 * (targets * shifted).sum() / (targets.square() + shifted.square()).sum()
        >>> round(dice.item(), 4), round(spectral_similarity(shifted, targets).item(), 4)
        (0.875, 0.875)
        >>> round(spectral_similarity(shifted, targets, band=(4, 8)).item(), 4)  # of details, cycles per image
        0.1859
        >>> empty = torch.zeros(1, 1, 32, 32)
        >>> spectral_similarity(shifted, empty).item(), spectral_similarity(empty, empty).item()
        (0.0, nan)
        >>> spectral_similarity(empty, empty, epsilon=1.0).item()
        1.0
    """
    for name, maps in {"probabilities": probabilities, "targets": targets}.items():
        if not isinstance(maps, Tensor) or maps.is_complex():
            kind = maps.dtype if isinstance(maps, Tensor) else type(maps).__name__
            raise ValueError(f"{name} are of type {kind}; pass a torch.Tensor of real numbers")
    if probabilities.shape != targets.shape:
        raise ValueError(f"shapes differ: {tuple(probabilities.shape)} and {tuple(targets.shape)}")
    if probabilities.ndim != 4:
        raise ValueError(f"probabilities have the shape {tuple(probabilities.shape)}; pass (B, C, H, W)")
    check_options(band, weighting, method)
    if not isinstance(epsilon, Real) or not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon {epsilon!r} is not a finite number of 0 or more")
    limits = read_band(band) or EVERYTHING
    dtype = torch.promote_types(probabilities.dtype, torch.float32)
    # Without autocast: half-precision FFT requires powers of two, and the sums overflow.
    with torch.autocast(probabilities.device.type, enabled=False):
        p, y = probabilities.to(dtype), targets.to(dtype)
        if method == "auto" and band is None and weighting == 0:
            cross, energy = cross_and_energy(p, y)
        else:
            weights = multiplicity(p) * response(p, limits, weighting)
            cross, energy = cross_and_energy(transform(p), transform(y), weights)
        return (2 * cross.sum() + epsilon) / (energy.sum() + epsilon)


def check_options(band: Sequence[float] | None, weighting: float = 0.0, method: str = "auto") -> None:
    """Check options of :func:`spectral_similarity` that do not depend on the image size.

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
    """Convert a band of a configuration, where a null upper limit stands for infinity.

    Raises:
        ValueError: it is not (low, high) with low < high.
    """
    if band is None:
        return None
    limits = tuple(math.inf if limit is None else float(limit) for limit in band)
    check_options(limits)
    return limits[0], limits[1]


def default_epsilon(maps: Tensor) -> float:
    """A millionth of the pixels of an image: it only matters for empty masks."""
    return 1e-6 * maps.shape[-2] * maps.shape[-1]


def transform(maps: Tensor) -> Tensor:
    """Orthonormal spectra (B, K, H, W // 2 + 1) of real maps (B, K, H, W)."""
    spectra: Tensor = torch.fft.rfft2(maps, norm="ortho")
    return spectra


def products(a: Tensor, b: Tensor) -> Tensor:
    """Re(a · conj(b)), element-wise."""
    if a.is_complex() and b.is_complex():
        return a.real * b.real + a.imag * b.imag
    return a * b


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
    """How often each column of the half plane occurs in the full plane, (W // 2 + 1,)."""
    return _multiplicity(maps.shape[-1], maps.dtype, maps.device)


def response(
    maps: Tensor, band: Band, exponent: float = 0.0, annuli_seed: int | None = None, squared: bool = False
) -> Tensor:
    """Weights on the half plane, (H, W // 2 + 1): |k|^exponent inside a band, 0 outside.

    With ``annuli_seed``, random annuli replace the band, see :func:`random_annuli`. With ``squared``, squared weights
    are checked for overflow, too.

    Raises:
        ValueError: at this image size the band holds no frequency, there are no matching annuli, or weighted sums
            would overflow.
    """
    return _response(*maps.shape[-2:], band, exponent, annuli_seed, squared, maps.dtype, maps.device)


def rings(maps: Tensor, low: int, high: int) -> Tensor:
    """Ring index, from 0, of every frequency of the flattened half plane, for the rings low, ..., high - 1.

    Ring r holds r <= |k| < r + 1. Frequencies outside all rings have the index high - low.
    """
    return _rings(*maps.shape[-2:], low, high, maps.device)


# Tables are cached and computed on the host, so that no step synchronises with the device. They are created outside of
# inference mode, because later steps may need gradients.


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
    # The energy of two maps in [0, 1] is at most twice their number of pixels.
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
    """|k| of all frequencies (H, W) in cycles per longer side of the image; integers are exact."""
    rows, columns = (np.rint(np.fft.fftfreq(size) * size) * (max(height, width) / size) for size in (height, width))
    radius: NDArray[np.float64] = np.hypot(rows[:, None], columns[None, :])
    whole = np.rint(radius)
    return np.where(np.abs(radius - whole) < 1e-9, whole, radius)


def random_annuli(height: int, width: int, band: Band, seed: int) -> list[int]:
    """Radii r of random annuli r <= |k| < r + 1 outside a band, as a control for it.

    Together they match the band within 5 % in number of frequencies and in energy under :math:`|Y_k|^2 ∝ |k|^{-3}`, the
    spectrum of masks with piecewise smooth boundaries. Neither includes frequency 0.

    Raises:
        ValueError: 1000 draws gave no match.
    """
    radius = radii(height, width)
    numbers = np.floor(radius).astype(int)
    energies = np.maximum(radius, 1) ** -3.0
    inside = (radius >= max(band[0], 1)) & (radius < band[1])
    target = np.array([inside.sum(), energies[inside].sum()])
    sizes = np.stack([np.bincount(numbers.ravel()), np.bincount(numbers.ravel(), energies.ravel())], axis=1)
    candidates = np.setdiff1d(np.flatnonzero(sizes[:, 0]), np.append(numbers[inside], 0))
    rng = np.random.default_rng(seed)
    for _ in range(1000):
        selected, total = [], np.zeros(2)
        for ring in rng.permutation(candidates):
            if np.all(total + sizes[ring] <= 1.05 * target):
                selected.append(int(ring))
                total += sizes[ring]
        if selected and np.all(total >= 0.95 * target):
            return sorted(selected)
    raise ValueError(
        f"images of {height} × {width} pixels have no annuli outside band ({band[0]:g}, {band[1]:g}) with as many "
        "frequencies and as much energy; choose another band or larger images"
    )
