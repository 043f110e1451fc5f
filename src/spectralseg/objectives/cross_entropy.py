"""Cross-entropy: binary for tasks with one foreground class, else categorical."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from spectralseg.objectives import _spatial
from spectralseg.objectives._combined import Objective


def build(label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> Objective:
    r"""Mean over pixels of :math:`-\sum_c t_c \log p_c`, in nats, over all classes with the background.

    Range [0, ∞). Empty masks are like any other: every pixel counts.

    Args:
        label_smoothing: s of the targets :math:`t = (1 - s) y + s / (K + 1)` (Szegedy et al. 2016); the least value is
            then above 0.
    """

    def objective(logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = _spatial.cross_entropy(logits, masks, label_smoothing=label_smoothing)
        return loss, {"cross_entropy": loss.detach()}

    return objective
