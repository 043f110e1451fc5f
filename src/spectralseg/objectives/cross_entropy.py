"""Cross-entropy: binary for one foreground class, else categorical."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from spectralseg.objectives import _spatial
from spectralseg.objectives._objective import Objective


class CrossEntropy(Objective):
    r"""Mean over pixels of :math:`-\sum_c t_c \log p_c`, in nats, over all classes including the background.

    Range [0, ∞). Empty masks are no special case.

    Args:
        label_smoothing: s of the targets :math:`t = (1 - s) y + s / (K + 1)` (Szegedy et al. 2016); with s > 0
            the minimum is above 0.
    """

    def __init__(self, label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = _spatial.cross_entropy(logits, masks, label_smoothing=self.label_smoothing)
        return loss, {"cross_entropy": loss}


build = CrossEntropy
