"""The resumable state of a run.

It lives in the run folder but is no declared output of the workflow, which would delete it before every new attempt.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from spectralseg.errors import InputError
from spectralseg.files import replacing
from spectralseg.grid import Run
from spectralseg.loading import read_tensors, reading
from spectralseg.training.learner import Learner
from spectralseg.training.outputs import write_tensors
from spectralseg.training.settings import difference

FILE = "state.pt"
_WHAT, _REMEDY = "the state of an interrupted training", "delete it to train anew"
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
    with replacing(folder / FILE) as partial:
        write_tensors(partial, {"settings": settings, "progress": vars(state), "learner": learner.state_dict()})


def restore(folder: Path, learner: Learner, settings: dict[str, Any], last: int) -> State:
    """The saved state, loaded into the learner; a fresh one where there is none, or one of other settings or data.

    Args:
        folder: the run folder.
        learner: gets the saved weights, moments and random generators.
        settings: all that the weights depend on; a state of others is not resumed.
        last: iterations that the run has.

    Raises:
        InputError: the file is damaged, holds what no training can have saved, or is the state of another run.
    """
    path = folder / FILE
    if not path.exists():
        return State()
    content = read_tensors(path, _WHAT, _REMEDY, {"settings.run": dict, "progress": dict, "learner": dict})
    saved = content["settings"]
    with reading(path, _WHAT, _REMEDY):
        other = Run.of(saved["run"]).folder if saved["run"] != settings["run"] else None
    if other:
        raise InputError(f"{path}: is the state of another run, {other}; choose another folder, or delete the file")
    if saved != settings:
        _log.warning("%s: is not resumed, for '%s' differs; training starts anew", path, difference(saved, settings))
        return State()
    with reading(path, _WHAT, _REMEDY):
        state = State(**content["progress"])
        _check(state, last)
        learner.load_state_dict(content["learner"])
    _log.info("resume at iteration %d", state.iteration)
    return state


def _check(state: State, last: int) -> None:
    """Raise a :class:`ValueError` unless training can have been in a state."""
    steps = [entry["iteration"] for entry in state.history]
    scores = {entry["iteration"]: entry["validation_dice"] for entry in state.history}
    numbers = [value for entry in state.history for value in (*entry.values(), state.best_score)]
    possible = {
        "iteration": _is_count(state.iteration) and state.iteration <= last,
        "history": all(map(_is_count, steps)) and steps == sorted(set(steps)) and all(map(_is_number, numbers)),
        "loss_count": state.loss_count == state.iteration - (steps[-1] if steps else 0),
        "loss_sum": _is_number(state.loss_sum),
        "best_iteration": scores.get(state.best_iteration, -1.0) == state.best_score,
        "best": bool(state.best) == bool(steps) and all(isinstance(value, Tensor) for value in state.best.values()),
        "seconds": _is_number(state.seconds) and state.seconds >= 0,
        "slowest": _is_number(state.slowest) and state.slowest >= 0,
    }
    if wrong := [name for name, holds in possible.items() if not holds]:
        raise ValueError(f"'{wrong[0]}' is impossible for a run of {last} iterations")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
