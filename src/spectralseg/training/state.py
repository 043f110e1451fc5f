"""The resumable state of a run.

It lives in the run folder but is no declared output of the workflow, which would delete it before every new attempt.
"""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from spectralseg.errors import InputError
from spectralseg.files import replacing
from spectralseg.training.learner import Learner
from spectralseg.training.settings import difference

FILE = "state.pt"
_log = logging.getLogger(__name__)


@dataclass
class State:
    """Progress besides the learner's.

    Attributes:
        iteration: optimizer steps done.
        loss_sum: sum of the objective since the last validation.
        loss_count: how many iterations are in it.
        best_score: best validation Dice so far.
        best_iteration: when it was reached.
        best: the weights at that time.
        history: one entry per validation.
        seconds: time spent in earlier attempts.
        slowest: seconds of the longest iteration in them.
    """

    iteration: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_score: float = -1.0
    best_iteration: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    slowest: float = 0.0


def save(folder: Path, state: State, learner: Learner, settings: dict[str, Any]) -> None:
    """Write the state atomically: a kill at any moment leaves the previous one or this one."""
    write(folder / FILE, {"settings": settings, "progress": vars(state), "learner": learner.state_dict()})


def write(path: Path, content: dict[str, Any]) -> None:
    """``torch.save``, complete or not at all."""
    with replacing(path) as partial, partial.open("wb") as stream:
        try:
            torch.save(content, stream)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides that the disk is full
                raise error.__context__ from None
            raise


def restore(folder: Path, learner: Learner, settings: dict[str, Any]) -> State:
    """The saved state, loaded into the learner; a fresh one where there is none, or one of other settings or data.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return State()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        saved, progress, learned = content["settings"], content["progress"], content["learner"]
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError):
        raise InputError(f"{path}: is no state of an interrupted training; delete it to train anew") from None
    if saved != settings:
        _log.warning("%s: is not resumed, for '%s' differs; training starts anew", path, difference(saved, settings))
        return State()
    try:
        state = State(**progress)
        learner.load_state_dict(learned)
    except (RuntimeError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: is of another version of this program; delete it to train anew") from None
    _log.info("resume at iteration %d", state.iteration)
    return state
