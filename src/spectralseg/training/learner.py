"""A model and everything that changes while it learns."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectralseg.config import Training
from spectralseg.errors import InputError
from spectralseg.objectives import Objective
from spectralseg.training.batches import standardise
from spectralseg.training.capture import CapturedStep

_SMALLEST_SCALE = 2.0**-24  # the loss scale starts at 2^16; below this, fp16 has no values
_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Learner:
    """Model, objective, optimizer, loss scale.

    Args:
        model: on the device that it learns on.
        objective: of logits and masks.
        training: hyper-parameters.
        mean: of the training images per channel, in [0, 1].
        std: likewise.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, training: Training, mean: list[float], std: list[float]
    ) -> None:
        self.device = next(model.parameters()).device
        self.layout = torch.channels_last if training.channels_last else torch.contiguous_format
        model.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.model, self.objective = model, objective
        self.mean, self.std = (torch.tensor(values, dtype=torch.float32, device=self.device) for values in (mean, std))
        cuda = self.device.type == "cuda"
        fused, captured = cuda and training.fused, cuda and training.fused and training.cuda_graph
        # A graph reads the learning rate from the memory of the device.
        rate = torch.tensor(training.learning_rate, device=self.device) if captured else training.learning_rate
        self.optimizer = torch.optim.SGD(
            model.parameters(),
            rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            fused=fused or None,  # else what torch takes by itself
        )
        self._step = CapturedStep(self._update) if captured else self._update
        self.clip, self.dtype = training.gradient_clip, _AUTOCAST[training.precision]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=training.precision == "fp16")

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, C, S, S) of images (B, S, S, channels) in [0, 1] on any device."""
        inputs = standardise(images.to(self.device, non_blocking=True), self.mean, self.std)
        inputs = inputs.contiguous(memory_format=self.layout)  # images come with channels last
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            logits: Tensor = self.model(inputs)
        return logits

    def step(self, images: Tensor, masks: Tensor, learning_rate: float) -> Tensor:
        """One optimizer step on a batch.

        Returns:
            The objective as a scalar on the device, which nothing waits for; not finite if its gradient is not.
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
        loss, _ = self.objective(self.logits(images), masks.to(self.device, non_blocking=True))
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
        if self.scaler.is_enabled():  # a step with such a gradient is left out, and the scale lowered
            return loss.detach()
        return torch.where(norm.isfinite(), loss.detach(), norm)

    @property
    def stalled(self) -> bool:
        """Whether fp16 has skipped every step of late: gradients overflow at the smallest useful loss scale, too."""
        return self.scaler.is_enabled() and self.scaler.get_scale() < _SMALLEST_SCALE

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights on the host."""
        return {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, the generator of dropout included."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.model.load_state_dict(state["model"])
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate  # every step sets its value; where it lies must stay
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes CUDA, then Apple's MPS, then the CPU; any other name is taken as it is.

    Raises:
        InputError: there is no such device.
    """
    if name != "auto":
        try:
            return torch.zeros(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"device '{name}' cannot be used ({str(error).splitlines()[0]}); try auto or cpu"
            ) from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def make_deterministic(level: str, seed: int) -> None:
    """Seed all generators, and choose between fast and repeatable algorithms for this process.

    Args:
        level: ``off``, ``warn`` (repeatable where there is such an algorithm) or ``strict`` (an error elsewhere).
        seed: of the initial weights and of dropout; augmentation has streams of its own.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that draw from it
    torch.manual_seed(seed)
    if level != "off":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(level != "off", warn_only=level == "warn")
    torch.backends.cudnn.benchmark = level == "off"
    # A debugging aid that costs a tenth of the step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
