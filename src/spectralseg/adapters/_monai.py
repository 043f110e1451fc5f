"""Metrics as those of MONAI."""

from __future__ import annotations

from typing import Any

import torch
from monai.metrics.metric import CumulativeIterationMetric
from torch import Tensor

from spectralseg.adapters._cases import Spacing, case_values, check_metric, mean_of


class MonaiMetric(CumulativeIterationMetric):
    """Mean of a metric over cases, then over classes, as a ``monai.metrics.CumulativeIterationMetric``.

    Args:
        metric: as for :class:`TorchMetric`.
        spacing: millimetres per axis, for all calls that have none of their own; None measures in pixels.
        per_class: whether :meth:`aggregate` returns the mean of each class, float32 (K,), instead of a scalar.
        options: further arguments of the metric.

    A call takes ``y_pred`` and ``y`` as MONAI's metrics do: binary masks (B, C, H, W), or (B, C, D, H, W) of volumes,
    or lists of them without the batch axis; ``spacing`` may follow. C = 1 is the foreground; of C > 1, the first is
    background. It returns the values of the batch, float32 (B, K). Missing structures, undefined values and errors are
    those of :class:`TorchMetric`; MONAI's own metrics leave empty references out, and their mean without any value is
    0.

    Examples:
        >>> import torch
        >>> from spectralseg.adapters import MonaiMetric
        >>> y = torch.zeros(2, 1, 8, 8)
        >>> y[0, :, 2:6, 2:6] = 1  # the second case is empty
        >>> dsc = MonaiMetric("dsc")
        >>> dsc(y_pred=torch.zeros(2, 1, 8, 8), y=y)
        tensor([[0.],
                [1.]])
        >>> dsc.aggregate()
        tensor(0.5000)
        >>> dsc.reset()
    """

    def __init__(self, metric: str, *, spacing: Spacing = None, per_class: bool = False, **options: Any) -> None:
        super().__init__()
        self.metric, self.spacing = check_metric(metric, options), spacing
        self.per_class, self.options = per_class, options

    @property
    def undefined(self) -> Tensor:
        """Number of cases without a value, int64 (K,)."""
        return self._values().isnan().sum(0)

    def aggregate(self) -> Tensor:
        """The mean over all cases since the last reset."""
        return mean_of(self._values(), self.per_class)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **spacing: Spacing) -> Tensor:
        if y is None:
            raise ValueError("y is None; pass the reference masks")
        masks = [part[:, 1:] if part.shape[1] > 1 else part for part in (y_pred, y)]
        return case_values(self.metric, masks[0], masks[1], **{"spacing": self.spacing} | spacing, options=self.options)

    def _values(self) -> Tensor:
        buffer: Tensor | None = self.get_buffer()  # type: ignore[no-untyped-call]
        return torch.empty(0, 1) if buffer is None else buffer
