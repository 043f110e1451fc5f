"""The torch device of a process, its random seeds and its deterministic mode."""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from spectralseg.errors import InputError


def choose_device(name: str = "auto") -> torch.device:
    """Choose the device to compute on.

    Args:
        name: a torch device; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

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
    """Seed all random number generators of this process, and choose between fast and deterministic algorithms.

    Args:
        level: ``off``, ``warn`` (deterministic where torch has such an algorithm) or ``strict`` (an error elsewhere).
        seed: of the initial weights and of dropout; augmentation has its own streams.
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
