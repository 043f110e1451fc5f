"""A model with its objective, its optimizer and its loss scale."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spectralseg.config import Training
from spectralseg.errors import InputError
from spectralseg.preprocessing import standardise
from spectralseg.training.cuda_graph import CapturedStep
from spectralseg.training.precision import AUTOCAST, resolve

_SMALLEST_SCALE = 2.0**-24  # the loss scale starts at 2^16; below this, fp16 has no values
_log = logging.getLogger(__name__)


class Learner:
    """Trains a model: forward pass, objective, optimizer step.

    Args:
        model: the model, on the device to train on.
        objective: function of logits and masks.
        training: hyper-parameters.
        mean: mean of the training images per channel, in [0, 1].
        std: their standard deviation per channel.
        outputs: channels of the logits that the task needs: 1 for binary tasks, otherwise foreground classes + 1; None
            accepts any.
        name: name of the model in error messages.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Callable[[Tensor, Tensor], Tensor],
        training: Training,
        mean: list[float],
        std: list[float],
        *,
        outputs: int | None = None,
        name: str = "the model",
    ) -> None:
        self.outputs, self.name = outputs, name
        self._verified: set[bool] = set()  # values of model.training with which the model has returned valid logits
        self.device = next(model.parameters()).device
        self.layout = torch.channels_last if training.channels_last else torch.contiguous_format
        model.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.model, self.objective = model, objective
        self.mean, self.std = (torch.tensor(values, dtype=torch.float32, device=self.device) for values in (mean, std))
        cuda = self.device.type == "cuda"
        fused, captured = cuda and training.fused, cuda and training.fused and training.cuda_graph
        # A CUDA graph reads the learning rate from the memory of the device.
        rate = torch.tensor(training.learning_rate, device=self.device) if captured else training.learning_rate
        self.optimizer = self.optimizer_of(training, rate, fused or None)  # None: the default of torch
        self._step = CapturedStep(self._update) if captured else self._update
        self.clip, self.precision = training.gradient_clip, resolve(training.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def optimizer_of(self, training: Training, rate: float | Tensor, fused: bool | None) -> torch.optim.Optimizer:
        """The optimizer of the weights."""
        return torch.optim.SGD(
            self.model.parameters(),
            rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            fused=fused,
        )

    def loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """The objective of a batch, a scalar."""
        return self.objective(self.logits(images), masks.to(self.device, non_blocking=True))

    def inputs(self, images: Tensor) -> Tensor:
        """Model input (B, C, S, S) of images (B, S, S, channels) in [0, 1] on any device."""
        inputs = standardise(images.to(self.device, non_blocking=True), self.mean, self.std)
        return inputs.contiguous(memory_format=self.layout)  # images are stored with channels last

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, C, S, S) of images (B, S, S, channels) in [0, 1] on any device.

        Raises:
            InputError: the model does not fit the task; see :func:`first_logits`.
        """
        inputs, dtype = self.inputs(images), AUTOCAST[self.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            if self.model.training in self._verified:
                logits: Tensor = self.model(inputs)
            else:
                logits = first_logits(self.model, inputs, self.outputs, self.name)
                self._verified.add(self.model.training)
        return logits

    def step(self, images: Tensor, masks: Tensor, learning_rate: float) -> Tensor:
        """One optimizer step on a batch.

        Returns:
            The objective, a scalar on the device, without synchronisation; not finite if its gradient is not.
        """
        if not self.model.training:
            self.model.train()
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate
        return self._step(images, masks)

    def _update(self, images: Tensor, masks: Tensor) -> Tensor:
        loss = self.loss(images, masks)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.clip is not None:
            self.scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        elif not self.scaler.is_enabled():
            gradients = (parameter.grad for parameter in self.model.parameters())
            norm = nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.is_enabled():  # the scaler skips steps with such a gradient and lowers the scale
            return loss.detach()
        return torch.where(norm.isfinite(), loss.detach(), norm)

    @property
    def stalled(self) -> bool:
        """Whether fp16 training skips every step: gradients overflow even at the smallest useful loss scale."""
        return self.scaler.is_enabled() and self.scaler.get_scale() < _SMALLEST_SCALE

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights on the host."""
        return {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, including the random number generators."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "precision": self.precision,
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a :meth:`state_dict` and its precision, as ``auto`` may mean another one on this device."""
        if (precision := state.get("precision", self.precision)) != self.precision:
            _log.warning("training resumes in %s, in which it started, instead of %s", precision, self.precision)
            self.precision = precision
        self.model.load_state_dict(state["model"])
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate  # every step sets its value, but a CUDA graph needs the same tensor
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)


def first_logits(model: nn.Module, inputs: Tensor, outputs: int | None, name: str) -> Tensor:
    """Compute the logits of a batch and check that they fit the task.

    Args:
        model: the model.
        inputs: standardised images (B, channels, H, W).
        outputs: channels of the logits that the task needs; None accepts any.
        name: name of the model in the message.

    Raises:
        InputError: the model cannot compute the batch, or returns another shape than (B, outputs, H, W).
    """
    shape = tuple(inputs.shape)
    try:
        logits: Any = model(inputs)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # layers and libraries raise exceptions of any type
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{name}: the model cannot compute a batch of shape {shape} ({reason}); change its options, its encoder, "
            "'image_size' or 'batch_size'"
        ) from error
    returned = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    if outputs is not None and returned != (required := (shape[0], outputs, *shape[2:])):
        raise InputError(
            f"{name}: for images of shape {shape} the model returns {returned}, but the task needs logits of shape "
            f"{required}; correct the model or its options"
        )
    checked: Tensor = logits
    return checked
