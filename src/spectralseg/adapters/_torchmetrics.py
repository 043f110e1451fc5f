"""Metrics as torchmetrics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from spectralseg.adapters._cases import Spacing, case_values, check_metric, check_values, mean_of
from spectralseg.metrics._arguments import count
from spectralseg.metrics.catalogue import metric_of


class TorchMetric(Metric):
    """Mean of a metric over cases, then over classes, as a ``torchmetrics.Metric``.

    Args:
        metric: ``dsc``, ``iou``, ``sensitivity``, ``specificity``, ``accuracy``, ``hd95``, ``assd``, ``nsd`` (with the
            option ``tolerance``) or ``boundary_iou``.
        classes: number of foreground classes K.
        spacing: millimetres per axis, for all updates that have none of their own; None measures in pixels.
        per_class: whether :meth:`compute` returns the mean of each class, float32 (K,), instead of a scalar.
        options: further arguments of the metric.

    ``update(preds, target, spacing=None)`` takes integer labels (B, H, W), or (B, D, H, W) of volumes, where 0 is
    background. Missing structures have the values of the protocol ``sound``: a missed structure has Dice 0 and the
    image diagonal as distance, an empty prediction for an empty reference Dice 1 and distance 0. Undefined values, such
    as the sensitivity without a reference, are left out of the mean; :attr:`undefined` counts them. Without any value
    the mean is NaN.

    Raises:
        InputError: the metric is unknown, or its options are.
        ValueError: the number of classes is not 1 or more, the shapes are not those of labels, a value is not a
            label from 0 to K, or the metric rejects the spacing or the value of an option.

    Examples:
        >>> import torch
        >>> from spectralseg.adapters import TorchMetric
        >>> target = torch.zeros(2, 8, 8, dtype=torch.long)
        >>> target[0, 2:6, 2:6] = 1  # the second case is empty
        >>> hd95 = TorchMetric("hd95", classes=1, spacing=(2.5, 1.0))
        >>> hd95.update(target.roll(1, dims=1), target)
        >>> hd95.compute()  # mean of 2.5 mm and 0 mm
        tensor(1.2500)
        >>> TorchMetric("sensitivity", classes=2, per_class=True)(target, target)
        tensor([1., nan])
    """

    is_differentiable = False
    full_state_update = False
    values: list[Tensor]

    def __init__(
        self,
        metric: str,
        classes: int,
        *,
        spacing: Spacing = None,
        per_class: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.metric, self.classes, self.spacing = check_metric(metric, options), count("classes", classes), spacing
        self.per_class, self.options = per_class, options
        self.add_state("values", default=[], dist_reduce_fx="cat")

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Whether larger values are better."""
        return metric_of(self.metric).higher_is_better

    @property
    def undefined(self) -> Tensor:
        """Number of cases without a value, int64 (K,)."""
        return self._values().isnan().sum(0)

    def update(self, preds: Tensor, target: Tensor, spacing: Spacing = None) -> None:
        """Add a batch of labels; see the class."""
        if preds.shape != target.shape or preds.ndim not in (3, 4):
            shapes = f"{tuple(preds.shape)} and {tuple(target.shape)}"
            raise ValueError(f"labels have the shapes {shapes}; pass two batches (B, H, W) or (B, D, H, W)")
        for name, labels in (("preds", preds), ("target", target)):
            check_values(name, labels, self.classes)
        masks = [torch.stack([labels == k for k in range(1, self.classes + 1)], 1) for labels in (preds, target)]
        spacing = self.spacing if spacing is None else spacing
        self.values.append(case_values(self.metric, masks[0], masks[1], spacing, self.options))

    def compute(self) -> Tensor:
        """The mean over all cases since the last reset."""
        return mean_of(self._values(), self.per_class)

    def _values(self) -> Tensor:
        if isinstance(self.values, Tensor):  # joined over processes
            return self.values
        return torch.cat([torch.empty(0, self.classes, device=self.device), *self.values])
