"""Values of one metric for a batch of cases, with the policy for missing structures, and their mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectralseg.errors import InputError
from spectralseg.metrics import averaging, overlap, policy, surface

Spacing = Sequence[float] | None
Mask = NDArray[np.bool_]

_SURFACE: Mapping[str, Callable[..., float]] = {
    "hd95": surface.hausdorff95,
    "assd": surface.average_surface_distance,
    "nsd": surface.normalized_surface_dice,
    "boundary_iou": surface.boundary_iou,
}


def check_name(metric: str) -> str:
    """The name of a metric that these adapters compute.

    Raises:
        InputError: the metric is unknown.
    """
    valid = (*averaging.OVERLAP, *_SURFACE)
    if metric not in valid:
        raise InputError(f"metric '{metric}' cannot be computed here; choose one of {', '.join(valid)}")
    return metric


def case_values(
    metric: str, predictions: Tensor, references: Tensor, spacing: Spacing, options: Mapping[str, Any]
) -> Tensor:
    """Values of each case and class, float32 (B, K), on the device of the predictions; NaN where undefined.

    Args:
        metric: see :func:`check_name`.
        predictions: boolean masks (B, K, H, W) or (B, K, D, H, W).
        references: boolean masks of the same shape.
        spacing: millimetres per axis; None measures in pixels.
        options: further arguments of the metric, such as ``tolerance`` of ``nsd``.

    Raises:
        ValueError: the shapes differ or the metric does not accept the masks, the spacing or an option.
    """
    if predictions.shape != references.shape or predictions.ndim not in (4, 5):
        shapes = f"{tuple(predictions.shape)} and {tuple(references.shape)}"
        raise ValueError(f"masks have the shapes {shapes}; pass two batches (B, K, H, W) or (B, K, D, H, W)")
    batches = [masks.detach().cpu().numpy().astype(bool) for masks in (predictions, references)]
    values = [
        [_value(metric, prediction, reference, spacing, options) for prediction, reference in zip(*case, strict=True)]
        for case in zip(*batches, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float32, device=predictions.device).reshape(predictions.shape[:2])


def _value(metric: str, prediction: Mask, reference: Mask, spacing: Spacing, options: Mapping[str, Any]) -> float:
    if metric in averaging.OVERLAP:
        value = float(averaging.OVERLAP[metric](overlap.overlap_counts(prediction, reference, 1))[0])
    else:
        value = _SURFACE[metric](prediction, reference, spacing=spacing, **options)
    case = policy.situation(int(prediction.sum()), int(reference.sum()))
    return policy.apply("sound", metric, case, value, surface.diagonal(reference.shape, spacing))[0]


def mean_of(values: Tensor, per_class: bool) -> Tensor:
    """Mean over the cases of (n, K) with a value, (K,), or the mean of these over the classes; NaN without any."""
    means = values.nanmean(0)
    return means if per_class else means.nanmean()
