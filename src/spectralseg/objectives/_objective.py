"""The base class of all objectives, and the checks of their inputs."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from pydantic import ConfigDict, validate_call
from torch import Tensor, nn

_OPTIONS = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


class Objective(nn.Module, ABC):
    """A loss of logits and masks: ``loss = objective(logits, masks)``.

    Subclasses take their options as arguments of ``__init__``, keep each as an attribute of the same name, and
    implement :meth:`_compute`. Options are checked against their type hints, here and in :func:`build_objective`.

    Shapes:
        - logits: float (B, C, H, W), C = 1 for binary tasks, else C classes including the background.
        - masks: integer (B, H, W) with the labels 0..C - 1, or 0 and 1 if C = 1; on the device of the logits. Masks may
          be boolean if C is 1 or 2.
        - result: scalar, float64 for float64 logits, else float32, independent of autocast.

    NaN logits give NaN. Labels out of range raise an error on the CPU. On other devices and under ``torch.compile``
    they give a NaN value and gradient, because checking them would synchronise in every step or break the graph.

    Raises:
        ValueError: type, shape or device of logits or masks is wrong, the batch is empty, or a label is out of range.

    Examples:
        >>> import torch
        >>> from spectralseg.objectives import Objective
        >>> class SquaredError(Objective):
        ...     def __init__(self, scale: float = 1.0) -> None:
        ...         super().__init__()
        ...         self.scale = scale
        ...     def _compute(self, logits, masks):
        ...         loss = self.scale * (logits[:, 0].sigmoid() - masks).square().mean()
        ...         return loss, {"squared_error": loss}
        >>> objective = SquaredError(scale=2.0)
        >>> objective
        SquaredError(scale=2.0)
        >>> objective(torch.zeros(2, 1, 8, 8), torch.ones(2, 8, 8, dtype=torch.long))
        tensor(0.5000)
        >>> objective(torch.zeros(2, 1, 8, 8), torch.ones(2, 8, 8))
        Traceback (most recent call last):
            ...
        ValueError: masks are float32 (2, 8, 8); pass integer labels: round or threshold them
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = validate_call(config=_OPTIONS)(cls.__init__)  # type: ignore[method-assign]

    @validate_call(config=_OPTIONS)
    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise, and its unweighted components by name. Subclasses implement this method.

        Inputs are already checked and converted: float32 or float64 logits, int64 masks of valid labels, autocast off.
        """

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """The scalar to minimise."""
        return self._evaluate(logits, masks)[0]

    def components(self, logits: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """The unweighted parts of the loss by name: scalars without gradient."""
        with torch.no_grad():
            return self._evaluate(logits, masks)[1]

    def extra_repr(self) -> str:
        """The options, except those that are submodules."""
        names = [name for name in inspect.signature(type(self)).parameters if name not in self._modules]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def _evaluate(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        check_inputs(logits, masks)
        labels, nan_if_invalid = valid_labels(masks, max(2, logits.shape[1]))
        # Half precision is too coarse for sums over images, and its FFT requires powers of two.
        with torch.autocast(logits.device.type, enabled=False):
            loss, components = self._compute(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)
            if nan_if_invalid is not None:
                loss = loss * nan_if_invalid
                components = {name: part * nan_if_invalid for name, part in components.items()}
        return loss, components


def check_inputs(logits: Tensor, masks: Tensor) -> None:
    """Check type, shape and device of the inputs of an objective, but no values.

    Raises:
        ValueError: see :class:`Objective`.
    """
    for name, tensor in {"logits": logits, "masks": masks}.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} are of type {type(tensor).__name__}; pass a torch.Tensor")
    if logits.ndim != 4 or not logits.is_floating_point():
        raise ValueError(f"logits are {_described(logits)}; pass floating-point logits (B, C, H, W)")
    if logits.numel() == 0:
        raise ValueError(f"logits are {_described(logits)}, without a pixel; skip empty batches")
    if masks.is_floating_point() or masks.is_complex():
        raise ValueError(f"masks are {_described(masks)}; pass integer labels: round or threshold them")
    if masks.dtype == torch.bool and logits.shape[1] > 2:
        raise ValueError(f"masks are boolean, logits have {logits.shape[1]} classes; pass integer labels")
    expected = (logits.shape[0], *logits.shape[2:])
    if masks.shape != expected:
        raise ValueError(
            f"masks are {_described(masks)}, logits {_described(logits)}; pass masks (B, H, W), here {expected}, "
            "without a channel axis"
        )
    if masks.device != logits.device:
        raise ValueError(f"masks are on {masks.device}, logits on {logits.device}; move them to one device")


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def valid_labels(masks: Tensor, classes: int) -> tuple[Tensor, Tensor | None]:
    """int64 labels clamped to 0..``classes`` - 1, and a factor for the loss that is NaN if any label was out of range.

    The factor is None if the labels were checked here.

    Raises:
        ValueError: a label is out of range, on the CPU and outside of ``torch.compile``.
    """
    labels = masks.long()
    if masks.dtype == torch.bool:
        return labels, None
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(limit) for limit in labels.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(
                f"masks hold labels {low}..{high}; labels of logits with {classes} classes (one channel counts as two) "
                f"are 0..{classes - 1}: map or remove the others"
            )
        return labels, None
    valid = labels.clamp(0, classes - 1)
    return valid, torch.where((valid == labels).all(), 1.0, math.nan)
