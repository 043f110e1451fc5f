"""The checkpoint of an unfinished run, from which training resumes.

It lies in the run folder but is not an output of the workflow, which deletes outputs before every new attempt.
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
from spectralseg.grid import folder_of
from spectralseg.loading import read_tensors, reading
from spectralseg.run_folder import write_tensors
from spectralseg.training.learner import Learner
from spectralseg.training.settings import difference

FILE = "state.pt"
_WHAT, _REMEDY = "a training checkpoint", "delete it to restart training"
_log = logging.getLogger(__name__)


@dataclass
class TrainingProgress:
    """How far a run is, besides the state of its learner.

    Attributes:
        iteration: optimizer steps done.
        loss_sum: sum of the objective since the last validation.
        loss_count: number of iterations in the sum.
        best_score: best validation score so far.
        best_iteration: its iteration.
        best: its weights.
        history: one entry per validation.
        seconds: training time, including earlier attempts.
        slowest: seconds of the longest iteration of all attempts.
    """

    iteration: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_score: float = -math.inf
    best_iteration: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    slowest: float = 0.0


def save(folder: Path, progress: TrainingProgress, learner: Learner, settings: dict[str, Any]) -> None:
    """Replace the checkpoint atomically: a process killed at any moment leaves the previous one or the new one."""
    with replacing(folder / FILE) as partial:
        write_tensors(partial, {"settings": settings, "progress": vars(progress), "learner": learner.state_dict()})


def restore(
    folder: Path, learner: Learner, settings: dict[str, Any], last: int, score: str = "validation_dice"
) -> TrainingProgress:
    """Load the checkpoint into the learner; start from zero if there is none, or one of other settings or data.

    Args:
        folder: the run folder.
        learner: gets the saved weights, optimizer state and random number generators.
        settings: everything the weights depend on.
        last: number of iterations of the run.
        score: key of the validation score in the history.

    Raises:
        InputError: the file is damaged, its values are impossible, or it is the checkpoint of another run.
    """
    path = folder / FILE
    if not path.exists():
        return TrainingProgress()
    content = read_tensors(path, _WHAT, _REMEDY, {"settings.run": dict, "progress": dict, "learner": dict})
    saved = content["settings"]
    with reading(path, _WHAT, _REMEDY):
        other = folder_of(saved["run"]) if saved["run"] != settings["run"] else None
    if other:
        raise InputError(f"{path}: is the checkpoint of another run, {other}; choose another folder or delete the file")
    if saved != settings:
        _log.warning("%s: not resumed because '%s' differs; training restarts", path, difference(saved, settings))
        return TrainingProgress()
    with reading(path, _WHAT, _REMEDY):
        progress = TrainingProgress(**content["progress"])
        _check(progress, last, score)
        learner.load_state_dict(content["learner"])
    _log.info("resume at iteration %d", progress.iteration)
    return progress


def _check(progress: TrainingProgress, last: int, score: str) -> None:
    """Raise a :class:`ValueError` if training cannot reach these values."""
    steps = [entry["iteration"] for entry in progress.history]
    scores = {entry["iteration"]: entry[score] for entry in progress.history}
    numbers = [value for entry in progress.history for value in (*entry.values(), progress.best_score)]
    best = progress.best
    possible = {
        "iteration": _is_count(progress.iteration) and progress.iteration <= last,
        "history": all(map(_is_count, steps)) and steps == sorted(set(steps)) and all(map(_is_number, numbers)),
        "loss_count": progress.loss_count == progress.iteration - (steps[-1] if steps else 0),
        "loss_sum": _is_number(progress.loss_sum),
        "best_iteration": scores.get(progress.best_iteration) == progress.best_score or not scores,
        "best_score": bool(scores) or progress.best_score < 0,
        "best": bool(best) == bool(steps) and all(isinstance(value, Tensor) for value in best.values()),
        "seconds": _is_number(progress.seconds) and progress.seconds >= 0,
        "slowest": _is_number(progress.slowest) and progress.slowest >= 0,
    }
    if wrong := [name for name, holds in possible.items() if not holds]:
        raise ValueError(f"'{wrong[0]}' is impossible for a run of {last} iterations")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
