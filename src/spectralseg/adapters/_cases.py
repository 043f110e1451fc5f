"""Values of one metric for a batch of cases, with the policy for missing structures, and their mean."""

from __future__ import annotations

import inspect
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


def check_metric(metric: str, options: Mapping[str, Any]) -> str:
    """The name of a metric that these adapters compute with these options.

    Raises:
        InputError: the metric is unknown, or its options are.
    """
    valid = (*averaging.OVERLAP, *_SURFACE)
    if metric not in valid:
        raise InputError(f"metric '{metric}' cannot be computed here; choose one of {', '.join(valid)}")
    accepted = list(inspect.signature(_SURFACE[metric]).parameters.values()) if metric in _SURFACE else []
    accepted = [parameter for parameter in accepted[2:] if parameter.name != "spacing"]
    names = {parameter.name for parameter in accepted}
    required = {parameter.name for parameter in accepted if parameter.default is parameter.empty}
    if wrong := sorted(set(options) - names | required - set(options)):
        raise InputError(
            f"metric '{metric}': option '{wrong[0]}' is {'unknown' if wrong[0] in options else 'missing'}; its options "
            f"are: {', '.join(sorted(names)) or 'none'}"
        )
    return metric


def check_values(name: str, labels: Tensor, highest: int) -> None:
    """Refuse probabilities, logits and labels without a class, which would be scored as other masks.

    Raises:
        ValueError: a value is not a whole number from 0 to ``highest``.
    """
    if not labels.numel():
        return
    fractions = labels.is_floating_point() and bool((labels != labels.round()).any())  # also NaN
    if fractions or labels.min() < 0 or labels.max() > highest:
        raise ValueError(f"{name} have values other than the labels 0 to {highest}; apply a threshold or argmax first")


def case_values(
    metric: str, predictions: Tensor, references: Tensor, spacing: Spacing, options: Mapping[str, Any]
) -> Tensor:
    """Values of each case and class, float32 (B, K), on the device of the predictions; NaN where undefined.

    Args:
        metric: see :func:`check_metric`.
        predictions: binary masks (B, K, H, W) or (B, K, D, H, W).
        references: binary masks of the same shape.
        spacing: millimetres per axis; None measures in pixels.
        options: further arguments of the metric, such as ``tolerance`` of ``nsd``.

    Raises:
        ValueError: the shapes differ, a mask has other values than 0 and 1, or the metric does not accept the spacing
            or the value of an option.
    """
    if predictions.shape != references.shape or predictions.ndim not in (4, 5):
        shapes = f"{tuple(predictions.shape)} and {tuple(references.shape)}"
        raise ValueError(f"masks have the shapes {shapes}; pass two batches (B, K, H, W) or (B, K, D, H, W)")
    for name, masks in (("predictions", predictions), ("references", references)):
        check_values(name, masks, 1)
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
