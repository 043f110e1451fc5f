"""The resumable state of a run.

It lives in the run folder but is no declared output of the workflow, which would delete it before every new attempt.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from spectralseg.files import replacing

FILE = "state.pt"
_log = logging.getLogger(__name__)


@dataclass
class State:
    """Progress besides model and optimizer.

    Attributes:
        iteration: optimizer steps done.
        loss_sum: sum of the objective since the last validation.
        loss_count: how many iterations are in it.
        best_score: best validation Dice so far.
        best_iteration: when it was reached.
        best: the weights at that time.
        history: one entry per validation.
        seconds: time spent in earlier attempts.
    """

    iteration: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_score: float = -1.0
    best_iteration: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def save(folder: Path, state: State, model: nn.Module, optimizer: Optimizer, fingerprint: str) -> None:
    """Write the state atomically: a kill at any moment leaves the previous one or this one."""
    content = {
        "fingerprint": fingerprint,
        "progress": vars(state),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with replacing(folder / FILE) as partial:
        torch.save(content, partial)


def restore(folder: Path, model: nn.Module, optimizer: Optimizer, fingerprint: str) -> State:
    """The saved state, loaded into model and optimizer; a fresh one if there is none or it is of another setting."""
    path = folder / FILE
    if not path.is_file():
        return State()
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["fingerprint"] != fingerprint:
        _log.warning("%s belongs to other settings or data; training starts anew", path)
        return State()
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    torch.set_rng_state(content["torch_rng"])
    if torch.cuda.is_available() and content["cuda_rng"]:
        torch.cuda.set_rng_state_all(content["cuda_rng"])
    state = State(**content["progress"])
    _log.info("resume at iteration %d", state.iteration)
    return state
