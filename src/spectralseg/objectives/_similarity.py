"""Similarities of masks in the spatial and the spectral domain."""

from __future__ import annotations

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
        ValueError: the shapes differ, or the method is unknown.
    """
    if probabilities.shape != targets.shape:
        raise ValueError(f"shapes differ: {tuple(probabilities.shape)} and {tuple(targets.shape)}")
    if method not in ("auto", "fft"):
        raise ValueError(f"method '{method}' is unknown; valid: auto, fft")
    dtype = torch.promote_types(probabilities.dtype, torch.float32)
    # Never under autocast: half-precision FFT exists for powers of two only, and the sums overflow.
    with torch.autocast(probabilities.device.type, enabled=False):
        p, y = probabilities.to(dtype), targets.to(dtype)
        if method == "auto" and band is None and weighting == 0:
            cross, energy = (y * p).sum(), (y.square() + p.square()).sum()
        else:
            transformed_p, transformed_y = torch.fft.fft2(p), torch.fft.fft2(y)
            weights = _frequency_weights(p, band, weighting)
            pixels = p.shape[-1] * p.shape[-2]  # so that epsilon means the same in both forms
            cross = (weights * (transformed_y * transformed_p.conj()).real).sum() / pixels
            energy = (weights * (_power(transformed_y) + _power(transformed_p))).sum() / pixels
        return (2 * cross + epsilon) / (energy + epsilon)


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


def _frequency_weights(like: Tensor, band: tuple[float, float] | None, exponent: float) -> Tensor:
    height, width = like.shape[-2:]
    options = {"device": like.device, "dtype": like.dtype}
    rows, columns = torch.fft.fftfreq(height, **options), torch.fft.fftfreq(width, **options)
    radius = torch.hypot(rows[:, None], columns[None, :]) * max(height, width)
    weights = radius**exponent if exponent else torch.ones_like(radius)
    if band is not None:
        weights = weights * ((radius >= band[0]) & (radius < band[1]))
    return weights
