"""The spectral objective 1 - S, with S of Eq. (2) of the paper, and variants that do not reduce to Dice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt
from torch import Tensor

from spectralseg.objectives import _similarity
from spectralseg.objectives._objective import Objective
from spectralseg.objectives._spatial import probabilities_and_targets


class Spectral(Objective):
    r"""Mean over foreground classes of 1 - S, each S summed over the batch. Range [0, 2].

    Minimising it maximises the similarity S, as the text of the paper intends; its formula adds S to the loss instead.
    For classes that are absent from the batch, 1 - S tends to 1 with a vanishing gradient.

    Args:
        band: (low, high), frequencies low <= |k| < high in cycles per image; null is no upper limit. None is the full
            band of the paper, for which S is the squared Dice.
        weighting: exponent of the frequency weights.
        method: ``fft`` computes the transform, ``auto`` the closed form where both are equal.
        part: ``amplitude`` compares |Y| with |P|, which shifts do not change. ``phase`` compares Y / (|Y| + 1) with
            P / (|P| + 1), where 1 is the amplitude of a single pixel: the mean cosine of phase differences, except at
            frequencies of very small amplitude.
        matched: multiply the term of each class by :math:`\|\nabla_p S_{full}\| / \|\nabla_p S\|`, without gradient, so
            that its gradient is as large as that of the full band. The range is then [0, ∞).
        annuli_seed: replace the band by random annuli outside of it, with as many frequencies and as much energy in a
            typical mask, as a control.

    Raises:
        ValueError: the band is not (low, high) with low < high, ``annuli_seed`` is given without a band, or ``matched``
            with amplitude or phase.
    """

    def __init__(
        self,
        band: Sequence[float | None] | None = None,
        weighting: NonNegativeFloat = 0.0,
        method: Literal["auto", "fft"] = "auto",
        part: Literal["both", "amplitude", "phase"] = "both",
        matched: bool = False,
        annuli_seed: NonNegativeInt | None = None,
    ) -> None:
        super().__init__()
        self.band, self.weighting, self.method, self.part = band, weighting, method, part
        self.matched, self.annuli_seed = matched, annuli_seed
        self.limits = _similarity.read_band(band)
        _similarity.check_options(self.limits, weighting, method)
        if annuli_seed is not None and band is None:
            raise ValueError("annuli_seed needs a band that the annuli replace")
        if matched and part != "both":
            raise ValueError(f"matched is for part 'both', not '{part}'")
        self.full = band is None and weighting == 0 and part == "both"  # then there is nothing to match

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p, y = probabilities_and_targets(logits, masks)
        epsilon = _similarity.default_epsilon(p)
        if self.full and self.method == "auto":
            losses = 1 - _similarity.per_class(p, y, epsilon)
        else:
            weights = _similarity.response(
                p, self.limits or _similarity.EVERYTHING, self.weighting, self.annuli_seed, squared=self.matched
            )
            counts = _similarity.multiplicity(p)
            spectra = _view(p, self.part), _view(y, self.part)
            losses = 1 - _similarity.per_class(*spectra, epsilon, counts * weights)
        components = {"spectral": losses.mean()}
        if self.matched and not self.full:
            with torch.no_grad():
                one = counts.new_ones(())
                ratio = _slope(p, y, epsilon, one, one) / _slope(*spectra, epsilon, weights, counts)
                ratio = torch.nan_to_num(ratio, nan=0.0, posinf=0.0)  # of zero gradients
            losses = ratio * losses
            components["matching"] = ratio.mean()
        return losses.mean(), components


build = Spectral


def _view(maps: Tensor, part: str) -> Tensor:
    """Spectra of maps (B, K, H, W), or their part as an option of :class:`Spectral`."""
    spectrum = _similarity.transform(maps)
    if part == "both":
        return spectrum
    amplitude = spectrum.abs()
    if part == "amplitude":
        return amplitude
    return spectrum / (amplitude + 1 / math.sqrt(maps.shape[-2] * maps.shape[-1]))  # the amplitude of a single pixel


def _slope(p: Tensor, y: Tensor, epsilon: float, weights: Tensor, counts: Tensor) -> Tensor:
    r"""Norm of the gradient of S with respect to the probabilities, per class, from maps or (by Parseval) spectra.

    With Q the denominator of S and w the filter, :math:`\nabla_p S = 2 (w * y - S \, w * p) / Q`.
    """
    similarity = _similarity.per_class(p, y, epsilon, counts * weights)[:, None, None]
    energy = _similarity.cross_and_energy(p, y, counts * weights)[1] + epsilon
    residual = weights * (y - similarity * p)
    squares = (counts * _similarity.products(residual, residual)).sum((0, 2, 3))
    slope: Tensor = 2 * squares.sqrt() / energy
    return slope
