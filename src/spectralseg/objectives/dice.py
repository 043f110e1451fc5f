"""Soft Dice loss, with the denominators of Drozdzal et al. (2016) or of V-Net (Milletari et al. 2016)."""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor

from spectralseg.objectives import _spatial
from spectralseg.objectives._objective import Objective


class Dice(Objective):
    r"""Mean of 1 - D over the foreground classes.

    .. math:: D = \frac{2 \sum yp + s}{\sum y^q + \sum p^q + s}.

    Range [0, 1]. For absent classes, s keeps a gradient that removes false positives. With s = 0 there is none, and the
    value is 0 / 0 = NaN if all probabilities are 0, too.

    Args:
        denominator: ``linear`` (q = 1) or ``squared`` (q = 2), which is Eq. (2) of the paper over all frequencies.
        per_image: average D over images; otherwise compute it over the batch.
        background: count the background as a class.
        smooth: s, in pixels.
        smooth_share: added to s, as a share of the pixels of an image. With squared denominators, ``smooth`` 0 and
            ``smooth_share`` 1e-6, the objective equals ``spectral`` at any image size, bit for bit for one class.
    """

    def __init__(
        self,
        denominator: _spatial.Denominator = "linear",
        per_image: bool = False,
        background: bool = False,
        smooth: NonNegativeFloat = 1.0,
        smooth_share: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        self.denominator, self.per_image, self.background = denominator, per_image, background
        self.smooth, self.smooth_share = smooth, smooth_share

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p, y = _spatial.probabilities_and_targets(logits, masks, self.background)
        s = self.smooth + self.smooth_share * p.shape[-2] * p.shape[-1]
        loss = 1 - _spatial.dice(p, y, denominator=self.denominator, per_image=self.per_image, smooth=s)
        return loss, {"dice": loss}


build = Dice
