"""Training of one run: steps, validations, checkpoints, resume."""

from __future__ import annotations

import functools
import logging
import math
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from spectralseg import provenance
from spectralseg.config import Architecture, Config
from spectralseg.config import Objective as ObjectiveChoice
from spectralseg.data import PreparedDataset
from spectralseg.errors import Diverged, InputError, Interrupted
from spectralseg.files import remove_leftovers
from spectralseg.grid import Run
from spectralseg.models import build_model
from spectralseg.objectives import Combined, build_objective
from spectralseg.progress import progress_bar
from spectralseg.training import state as states
from spectralseg.training.batches import batch_of, batches, seed_of
from spectralseg.training.learner import Learner, choose_device, make_deterministic
from spectralseg.training.outputs import DESCRIPTION, HISTORY, WEIGHTS, finished, refuse_other_run, write_run
from spectralseg.training.schedule import iterations, learning_rate
from spectralseg.training.settings import settings_of
from spectralseg.training.stop import StopRequest, stop_requests
from spectralseg.training.training_log import Journal
from spectralseg.training.validation import validation_dice, validation_part

_READ_EVERY = 50  # iterations between looks at the objective, each of which makes host and device wait
_log = logging.getLogger(__name__)


def objective_of(choice: ObjectiveChoice, lam: str, outputs: int = 1, side: int | None = None) -> Combined:
    """The objective of a configuration with its λ.

    Args:
        choice: the objective in the configuration.
        lam: λ.
        outputs: channels of the logits.
        side: of the images in pixels; if given, the objective is computed once on such an image.

    Raises:
        InputError: an option is not valid, or not for images of this size.
    """
    auxiliary = build_objective(choice.auxiliary, **choice.auxiliary_options) if choice.auxiliary else None
    objective = Combined(build_objective(choice.base, **choice.base_options), auxiliary, float(lam), choice.form)
    if side is not None:
        try:
            objective.components(torch.zeros(1, outputs, side, side), torch.zeros(1, side, side, dtype=torch.long))
        except ValueError as error:
            raise InputError(f"the objective does not suit images of {side} x {side} pixels: {error}") from None
    return objective


def model_of(architecture: Architecture, channels: int, outputs: int) -> nn.Module:
    """The model of a configuration."""
    return build_model(
        architecture.model,
        channels,
        outputs,
        encoder=architecture.encoder,
        encoder_weights=architecture.encoder_weights,
        **architecture.options,
    )


def learner_of(
    config: Config, run: Run, data: PreparedDataset, device: torch.device, *, pretrained: bool = True
) -> Learner:
    """The learner of a run; its first step refuses a model that does not fit the data.

    Raises:
        InputError: the model or the objective cannot be built; the message has the key of the architecture or of the
            objective.
    """
    architecture, key = config.architectures[run.architecture], f"architectures.{run.architecture}"
    if not pretrained:
        architecture = architecture.model_copy(update={"encoder_weights": None})
    try:
        model = model_of(architecture, data.info["channels"], data.outputs).to(device)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error
    try:
        objective = objective_of(config.objectives[run.objective], run.lam, data.outputs, data.info["image_size"])
    except InputError as error:
        raise InputError(f"objectives.{run.objective}: {error}") from error
    training, info = config.training_of(run.dataset), data.info
    return Learner(model, objective, training, info["mean"], info["std"], outputs=data.outputs, name=key)


def train(
    config: Config,
    run: Run,
    data: PreparedDataset,
    out: Path,
    *,
    device_name: str = "auto",
    share: int = 1,
    deadline: float | None = None,
    keep_finished: bool = False,
) -> None:
    """Train a run and write ``model.pt``, ``run.json`` and ``history.jsonl`` into ``out``.

    A run diverges when its objective, its gradient or a logit of the validation part is not finite. Training then ends
    early and writes the same files, so that the other runs of a study go on; ``diverged`` in ``run.json`` gives the
    reason, which is None for all other runs, and nothing predicts with such a run.

    A state left by an interrupted attempt at the same settings and data is continued, to the same weights as without
    the interruption: bit by bit on a CPU with the same number of threads. SIGTERM, SIGUSR1 and SIGINT (Ctrl-C) save the
    state and stop; a second SIGINT stops at once.

    ``share`` is for the record: how many runs at most use the device at once, which their times depend on.

    ``deadline`` is a value of ``time.monotonic()`` at which the process must have ended. Training stops as early before
    it as saving needs, by how long iterations and saving have taken, but never before it has done one iteration.

    ``keep_finished``: leave a run of these settings that is complete as it is, as another process has just trained it.

    Raises:
        InputError: the dataset lacks a part, model or objective do not fit the data, or ``out`` holds another run.
        Interrupted: a signal asked to stop, or the deadline is near; the state is saved.
    """
    if keep_finished and finished(out, settings_of(config, run, data.identity)):
        _log.info("%s: was trained by another process meanwhile", out)
        return
    with stop_requests(deadline) as request:
        _train(config, run, data, out, choose_device(device_name), share, request)


def _train(
    config: Config, run: Run, data: PreparedDataset, out: Path, device: torch.device, share: int, request: StopRequest
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in (states.FILE, WEIGHTS, DESCRIPTION, HISTORY):
        remove_leftovers(out / name)
    refuse_other_run(out, run.keys)
    training = config.training_of(run.dataset)
    make_deterministic(training.deterministic, seed_of("initialisation", run.seed))  # alike for every objective: paired
    learner = learner_of(config, run, data, device)
    settings = settings_of(config, run, data.identity)
    last = iterations(training, len(data.rows("train")))
    progress = states.restore(out, learner, settings, last)
    request.slowest = progress.slowest
    validation, batch_size = validation_part(data, device), config.evaluation.batch_size
    clock = _Clock(progress)

    def save_state() -> None:
        clock.stop()
        progress.slowest = request.slowest
        with request.saving():
            states.save(out, progress, learner, settings)

    def due() -> bool:
        now = progress.iteration
        return now == last or now % training.validate_every == 0

    def after() -> str:
        return f"after iteration {progress.iteration} of {last}"

    def validate() -> None:
        score = validation_dice(learner, validation, len(data.classes), batch_size)
        if math.isnan(score):
            raise Diverged(out, f"the logits of the validation part are not finite {after()}")
        if learner.stalled:
            raise Diverged(out, f"the gradient is not finite at any loss scale {after()}")
        _note(score, learner, progress)
        journal.scalars(progress.iteration, {"validation_dice": score})
        journal.write(progress.history)

    def interrupt() -> None:
        raise Interrupted(f"{out}: stopped by {request.reason} {after()}; run it again to continue")

    window = _Window(lambda bad: _not_finite(out, data, training.batch_size, run.seed, bad))
    diverged = None
    journal = Journal(out, tensorboard=training.tensorboard, start=progress.iteration)
    bar: tqdm[Any]
    try:
        with journal, progress_bar(desc="train", unit="it", total=last, initial=progress.iteration) as bar:
            journal.write(progress.history)  # the workflow deletes it before every attempt
            if progress.loss_count and due():  # the validation that comes after the saved state
                request.check()
                validate()
                if request.check() and progress.iteration < last:
                    save_state()
                    interrupt()
            for images, masks in batches(data, training, run.seed, progress.iteration, last, device):
                rate = learning_rate(training, progress.iteration, last)
                window.add(progress.iteration, learner.step(images, masks, rate))
                progress.iteration += 1
                bar.update()
                done, asked = progress.iteration == last, request.check()
                # Also before the first validation, whose duration is unknown: killed in it, a run resumes with it.
                first = due() and not progress.history
                save = first or asked or request.unmeasured or progress.iteration % training.save_every == 0
                if save or due() or progress.iteration % _READ_EVERY == 0:
                    losses = window.read()
                    # One after the other: any other order would round differently after a resume.
                    progress.loss_sum = functools.reduce(operator.add, losses, progress.loss_sum)
                    progress.loss_count += len(losses)
                    bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
                    journal.scalars(progress.iteration, {"objective": losses[-1], "learning_rate": rate})
                if save:
                    save_state()
                if asked and not done:
                    interrupt()
                if due():
                    validate()
    except Diverged as error:
        _log.warning("%s", error)
        diverged = error.reason
    clock.stop()
    described = {**settings, "training": training.model_dump(mode="json"), "share": share}
    _write_outputs(out, learner, progress, described, diverged)


def _note(score: float, learner: Learner, progress: states.State) -> None:
    """Add a validation to the history, and keep the weights if they are the best so far."""
    loss = progress.loss_sum / progress.loss_count
    progress.loss_sum, progress.loss_count = 0.0, 0
    progress.history.append({"iteration": progress.iteration, "loss": loss, "validation_dice": score})
    _log.info("iteration %d: loss %.4f, validation Dice %.4f", progress.iteration, loss, score)
    if score > progress.best_score:
        progress.best_score, progress.best_iteration, progress.best = score, progress.iteration, learner.weights()


def _write_outputs(
    out: Path, learner: Learner, progress: states.State, run: dict[str, Any], diverged: str | None
) -> None:
    last = learner.weights()
    best = last if progress.best_iteration == progress.iteration else progress.best
    write_run(
        out,
        {"best": best, "last": last},  # equal weights are stored once
        {
            **run,
            "precision": learner.precision,
            "iterations": progress.iteration,
            "diverged": diverged,
            "best_iteration": None if diverged else progress.best_iteration,
            "validation_dice": None if diverged else progress.best_score,
            "parameters": sum(parameter.numel() for parameter in learner.model.parameters()),
            "seconds": round(progress.seconds, 2),
            "peak_memory": provenance.peak_memory(),
            "hardware": provenance.hardware(str(learner.device)),
            "versions": provenance.versions(),
            "git": provenance.git_revision(),
        },
    )
    (out / states.FILE).unlink(missing_ok=True)


def _not_finite(out: Path, data: PreparedDataset, batch_size: int, seed: int, iteration: int) -> Diverged:
    """Says which cases were in the batch: one of them, or the learning rate, is the reason."""
    cases = ", ".join(data.describe_row(row) for row in batch_of(data.rows("train"), batch_size, seed, iteration))
    what = f"the objective or its gradient is not finite in iteration {iteration + 1}"
    return Diverged(out, f"{what}, whose batch holds the cases {cases}")


class _Window:
    """Values of the objective that stay on the device until they are read, as each reading makes the device wait."""

    def __init__(self, error: Callable[[int], Diverged]) -> None:
        self.error = error
        self.values: list[Tensor] = []
        self.first = 0

    def add(self, iteration: int, value: Tensor) -> None:
        if not self.values:
            self.first = iteration
        self.values.append(value)

    def read(self) -> list[float]:
        """The values since the last reading.

        Raises:
            Diverged: one of them is not finite.
        """
        found: list[float] = torch.stack(self.values).tolist()
        self.values = []
        for offset, value in enumerate(found):
            if not math.isfinite(value):
                raise self.error(self.first + offset)
        return found


@dataclass
class _Clock:
    """Adds the time since it was last stopped to the seconds of a run."""

    progress: states.State

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    def stop(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self.started
        self.started = now
