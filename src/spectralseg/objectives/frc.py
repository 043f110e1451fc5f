"""Fourier ring correlation (Saxton and Baumeister 1982), which gives all scales equal weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from spectralseg.objectives import _similarity
from spectralseg.objectives._objective import Objective
from spectralseg.objectives._spatial import probabilities_and_targets


class FourierRingCorrelation(Objective):
    r"""1 - FRC, mean over rings r <= |k| < r + 1 and foreground classes.

    .. math:: FRC_r = \frac{\mathrm{Re} \sum_{k \in r} Y_k \overline{P_k}}{\sqrt{\sum |Y_k|^2 \sum |P_k|^2}},

    with sums over the batch and the ring. Eq. (2) of the paper instead weights rings by their energy, nearly all of
    which is below 8 cycles per image. Range [0, 2]. For classes that are absent from the batch, 1 - FRC tends to 1 with
    a vanishing gradient as their probability grows.

    Args:
        band: (low, high) in cycles per image, integers; null is the Nyquist frequency. None is (1, null), which leaves
            out frequency 0: an error that is constant over the image costs nothing.
        normalisation: ``correlation`` ignores amplitudes; ``sorensen`` divides by :math:`(\sum |Y_k|^2 +
            \sum |P_k|^2) / 2` instead, so that FRC is at most as large.

    Raises:
        ValueError: the band is not (low, high) with low < high in whole numbers.
    """

    def __init__(
        self,
        band: Sequence[float | None] | None = None,
        normalisation: Literal["correlation", "sorensen"] = "correlation",
    ) -> None:
        super().__init__()
        self.band, self.normalisation = band, normalisation
        self.limits = _similarity.read_band(band) or (1.0, math.inf)
        low, high = self.limits
        if not low.is_integer() or not (high.is_integer() or math.isinf(high)) or low < 0:
            raise ValueError(f"band {band} must have whole limits, as rings do")

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p, y = probabilities_and_targets(logits, masks)
        low, high = self.limits
        nyquist = max(p.shape[-2:]) // 2
        first, last = int(low), nyquist if math.isinf(high) else int(high)
        if not first < last <= nyquist:
            raise ValueError(
                f"band {self.band} is not below the Nyquist frequency of {nyquist} cycles per image; lower it"
            )
        rings = _similarity.rings(p, first, last)
        counts, floor = _similarity.multiplicity(p), _similarity.default_epsilon(p) / 2

        def sums(a: Tensor, b: Tensor) -> Tensor:
            values = (counts * _similarity.products(a, b)).sum(0).flatten(1)
            return values.new_zeros(len(values), last - first + 1).index_add(1, rings, values)[:, :-1] + floor

        transformed_p, transformed_y = _similarity.transform(p), _similarity.transform(y)
        cross = sums(transformed_y, transformed_p)
        energy_p, energy_y = sums(transformed_p, transformed_p), sums(transformed_y, transformed_y)
        whole = (energy_y * energy_p).sqrt() if self.normalisation == "correlation" else (energy_y + energy_p) / 2
        loss = 1 - (cross / whole).mean()
        return loss, {"frc": loss}


build = FourierRingCorrelation
