"""Similarities of masks in the spatial and the spectral domain."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def probabilities_and_targets(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Foreground probabilities and one-hot targets, float32 (B, K, H, W), whatever the precision of the logits.

    Args:
        logits: (B, 1, H, W) for binary tasks (sigmoid), else (B, K + 1, H, W) (softmax; background is dropped).
        masks: integer labels (B, H, W), 0 is background.
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        return logits.sigmoid(), (masks > 0).float()[:, None]
    one_hot = functional.one_hot(masks.long(), logits.shape[1]).movedim(-1, 1)
    return logits.softmax(1)[:, 1:], one_hot[:, 1:].float()


def spectral_similarity(
    probabilities: Tensor,
    targets: Tensor,
    *,
    band: tuple[float, float] | None = None,
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
        band: keep frequencies with low <= |k| < high, in cycles per image (of its longer side); None keeps all.
        weighting: exponent a of the weights :math:`w_k = |k|^a`; 0 weighs all frequencies alike.
        method: ``auto`` uses the closed form where it is exact, ``fft`` always transforms.
        epsilon: added to numerator and denominator.

    Returns:
        Scalar in [-1, 1], computed in float32 or better. With all-zero targets it is 0 with zero gradient unless
        ``epsilon`` is positive; with all-zero targets *and* probabilities it is 0 / 0 = NaN unless ``epsilon`` is
        positive, and then 1.

    Raises:
        ValueError: the shapes differ, an option cannot be (see :func:`check_options`), or the band holds no frequency
            of images of this size.
    """
    if probabilities.shape != targets.shape:
        raise ValueError(f"shapes differ: {tuple(probabilities.shape)} and {tuple(targets.shape)}")
    check_options(band, weighting, method)
    dtype = torch.promote_types(probabilities.dtype, torch.float32)
    # Never under autocast: half-precision FFT exists for powers of two only, and the sums overflow.
    with torch.autocast(probabilities.device.type, enabled=False):
        p, y = probabilities.to(dtype), targets.to(dtype)
        if method == "auto" and band is None and weighting == 0:
            cross, energy = (y * p).sum(), (y.square() + p.square()).sum()
        else:
            transformed_p, transformed_y = torch.fft.fft2(p), torch.fft.fft2(y)
            height, width = p.shape[-2:]
            low, high = band or (0.0, math.inf)
            weights = _frequency_weights(height, width, low, high, weighting, dtype, p.device)
            pixels = height * width  # so that epsilon means the same in both forms
            cross = (weights * (transformed_y * transformed_p.conj()).real).sum() / pixels
            energy = (weights * (_power(transformed_y) + _power(transformed_p))).sum() / pixels
        return (2 * cross + epsilon) / (energy + epsilon)


def check_options(band: Sequence[float] | None, weighting: float, method: str) -> None:
    """Refuse options of :func:`spectral_similarity` that suit no image.

    Raises:
        ValueError: the band is not (low, high) with low < high, the weighting is negative or not finite, or the method
            is unknown.
    """
    if band is not None and not (len(band) == 2 and band[0] < band[1]):
        raise ValueError(f"band {band} is not (low, high) with low < high in cycles per image")
    if not 0 <= weighting < math.inf:
        raise ValueError(f"weighting {weighting} is not a finite exponent of 0 or more")
    if method not in ("auto", "fft"):
        raise ValueError(f"method '{method}' is unknown; valid: auto, fft")


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


@functools.lru_cache(maxsize=32)
def _frequency_weights(
    height: int, width: int, low: float, high: float, exponent: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Weights (H, W) of the frequencies, made once on the host, so that no step waits for a check on the device."""
    with torch.inference_mode(False):  # the cached tensor may be needed for a gradient later
        rows, columns = (  # rounded, lest a whole frequency fall on the wrong side of a limit
            (torch.fft.fftfreq(size, dtype=torch.float64, device="cpu") * size).round() * (max(height, width) / size)
            for size in (height, width)
        )
        radius = torch.hypot(rows[:, None], columns[None, :])
        weights = radius.pow(exponent) * ((radius >= low) & (radius < high))
        if not weights.any():
            raise ValueError(
                f"band ({low:g}, {high:g}) holds no frequency with a weight in images of {height} × {width} pixels, "
                f"which reach {radius.max().item():.1f} cycles per image; choose another band"
            )
        return weights.to(device, dtype)
