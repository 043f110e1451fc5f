"""Training of one run: steps, validations, checkpoints, resume."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from spectralseg import provenance
from spectralseg.building import model_of, objective_of, without_files
from spectralseg.config import Config, Training
from spectralseg.data import PreparedDataset
from spectralseg.errors import Diverged, InputError, Interrupted
from spectralseg.files import remove_leftovers
from spectralseg.grid import Run
from spectralseg.progress import progress_bar
from spectralseg.run_folder import (
    DESCRIPTION,
    HISTORY,
    WEIGHTS,
    finished,
    recorded_file,
    refuse_other_pretraining,
    refuse_other_run,
    write_run,
)
from spectralseg.seeds import seed_of
from spectralseg.torch_setup import choose_device, make_deterministic
from spectralseg.training import checkpoint
from spectralseg.training.batches import Order, batches
from spectralseg.training.learner import Learner
from spectralseg.training.schedule import iterations, learning_rate
from spectralseg.training.settings import pretraining_of, settings_of
from spectralseg.training.stop import StopRequest, stop_requests
from spectralseg.training.training_log import TrainingLog
from spectralseg.training.validation import validation_dice, validation_part

_READ_EVERY = 50  # iterations; reading losses makes the host wait for the device
_log = logging.getLogger(__name__)


def learner_of(
    config: Config,
    run: Run,
    data: PreparedDataset,
    device: torch.device,
    *,
    pretrained: bool = True,
    autoencoders: Sequence[Path] = (),
) -> Learner:
    """Build the learner of a run. Its first step rejects a model that does not fit the data.

    Args:
        config: the study.
        run: one of its runs.
        data: its prepared dataset.
        device: device to train on.
        pretrained: load pretrained weights of the encoder; otherwise, no file of weights is needed.
        autoencoders: files of pretrained masked autoencoders; without them, the model gets untrained ones.

    Raises:
        InputError: the model or the objective cannot be built; the message names its key in the configuration.
    """
    architecture, key = config.architectures[run.architecture], f"architectures.{run.architecture}"
    info = data.info
    if not pretrained:
        architecture = without_files(config, run.architecture)
    try:
        model = model_of(architecture, info["channels"], data.outputs, autoencoders, info["image_size"]).to(device)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error
    try:
        objective = objective_of(config.objectives[run.objective], run.lam, data.outputs, info["image_size"])
    except InputError as error:
        raise InputError(f"objectives.{run.objective}: {error}") from error
    training = config.training_of(run.dataset)
    return Learner(model, objective, training, info["mean"], info["std"], outputs=data.outputs, name=key)


def train(
    config: Config,
    run: Run,
    data: PreparedDataset,
    out: Path,
    *,
    pretrained: Sequence[Path] = (),
    device_name: str = "auto",
    share: int = 1,
    deadline: float | None = None,
    keep_finished: bool = False,
) -> None:
    """Train a run and write ``model.pt``, ``run.json`` and ``history.jsonl`` into ``out``.

    Training resumes from the checkpoint of an interrupted attempt with the same settings and data. The weights are the
    same as without the interruption: bit by bit on a CPU with the same number of threads. SIGTERM, SIGUSR1 and SIGINT
    (Ctrl-C) save a checkpoint and stop; a second SIGINT stops immediately.

    A run diverges when its objective, its gradient or a logit of the validation part is not finite. Training then ends
    early but writes the same files, so that the other runs of a study continue. ``diverged`` in ``run.json`` holds the
    reason, or None. Diverged runs are never used for prediction.

    Args:
        config: the study.
        run: what to train.
        data: the prepared dataset of the run.
        out: the run folder.
        pretrained: files of the masked autoencoders that the architecture names, in this order.
        device_name: torch device, or ``auto``.
        share: maximal number of runs that share the device; recorded, because training times depend on it.
        deadline: value of ``time.monotonic()`` at which the process must have ended. Training stops early enough to
            save a checkpoint, as estimated from the iterations so far, but not before the first iteration.
        keep_finished: keep a complete run with the same settings, because another process has just trained it.

    Raises:
        InputError: the dataset lacks a part, model or objective do not fit the data, or ``out`` holds another run.
        Interrupted: a signal or the deadline stopped training; the checkpoint is saved.
    """
    if keep_finished and finished(out, settings_of(config, run, data.identity)):
        _log.info("%s: already trained by another process", out)
        return
    with stop_requests(deadline) as request:
        SegmentationRun(config, run, data, out, choose_device(device_name), share, request, pretrained).train()


class TrainingRun(ABC):
    """A training, from its checkpoint to its outputs.

    Args:
        learner: what is trained.
        training: hyper-parameters.
        settings: everything the weights depend on.
        data: the prepared dataset.
        seed: of order and augmentation.
        out: folder of the outputs.
        share: maximal number of processes that share the device.
        request: says when to stop.
    """

    step_name = "train"  # of the progress bar
    score_name = "validation_dice"
    score_label = "validation Dice"
    log: TrainingLog
    bar: tqdm[Any]

    def __init__(
        self,
        learner: Learner,
        training: Training,
        settings: dict[str, Any],
        data: PreparedDataset,
        seed: int,
        out: Path,
        share: int,
        request: StopRequest,
    ) -> None:
        self.learner, self.training, self.settings, self.data = learner, training, settings, data
        self.seed, self.out, self.share, self.request, self.device = seed, out, share, request, learner.device
        self.last = iterations(training, data)
        self.losses: list[Tensor] = []  # stay on the device until they are read
        self.rate = 0.0

    @abstractmethod
    def score(self) -> float:
        """The validation score, of which larger values are better; NaN if an output is not finite."""

    @abstractmethod
    def write(self, best: dict[str, Tensor], last: dict[str, Tensor], description: dict[str, Any]) -> None:
        """Write the outputs, but for the training log."""

    def train(self) -> None:
        """Train to the last iteration, or until a stop is requested."""
        self.restore()
        diverged = None
        try:
            with self.log, self.bar:
                self.log.write(self.progress.history)  # the workflow deletes the file before every attempt
                if self.progress.loss_count and self.validation_due:
                    self.make_up_validation()
                for images, masks in self.batches():
                    self.step(images, masks)
                    stop = self.request.check()
                    if self.progress.iteration % _READ_EVERY == 0:
                        self.read_losses()
                    if stop or self.checkpoint_due:
                        self.save()
                    if stop and not self.complete:
                        self.interrupt()
                    if self.validation_due:
                        self.validate()
        except Diverged as error:
            _log.warning("%s", error)
            diverged = error.reason
        self.finish(diverged)

    @property
    def complete(self) -> bool:
        """Whether the last iteration is done."""
        return self.progress.iteration == self.last

    @property
    def validation_due(self) -> bool:
        """Whether a validation follows the current iteration."""
        return self.complete or self.progress.iteration % self.training.validate_every == 0

    @property
    def checkpoint_due(self) -> bool:
        """Whether to save a checkpoint after the current iteration, even if no stop is requested."""
        # The duration of the first validation is unknown: a run that is killed in it must resume with it.
        first_validation = self.validation_due and not self.progress.history
        regular = self.progress.iteration % self.training.save_every == 0
        return first_validation or self.request.unmeasured or regular

    def restore(self) -> None:
        """Restore the checkpoint, if any, and open the training log and the progress bar."""
        self.progress = checkpoint.restore(self.out, self.learner, self.settings, self.last, self.score_name)
        self.request.slowest = self.progress.slowest
        self.validation = validation_part(self.data, self.device)
        self.timed = time.monotonic()
        start = self.progress.iteration
        self.log = TrainingLog(self.out, tensorboard=self.training.tensorboard, start=start)
        self.bar = progress_bar(desc=self.step_name, unit="it", total=self.last, initial=start)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and masks of the remaining iterations."""
        return batches(self.data, self.training, self.seed, self.progress.iteration, self.last, self.device)

    def step(self, images: Tensor, masks: Tensor) -> None:
        """One optimizer step."""
        self.rate = self.learning_rate()
        self.losses.append(self.learner.step(images, masks, self.rate))
        self.progress.iteration += 1
        self.bar.update()

    def learning_rate(self) -> float:
        """Learning rate of the current iteration."""
        return learning_rate(self.training, self.progress.iteration, self.last)

    def read_losses(self) -> None:
        """Read the losses since the last reading from the device, which makes the host wait.

        Raises:
            Diverged: one of them is not finite.
        """
        if not self.losses:
            return
        values: list[float] = torch.stack(self.losses).tolist()
        self.losses = []
        for iteration, value in enumerate(values, self.progress.iteration - len(values)):
            if not math.isfinite(value):
                raise self.not_finite(iteration)
            self.progress.loss_sum += value  # one by one: the rounding must not depend on when losses are read
        self.progress.loss_count += len(values)
        self.bar.set_postfix(loss=f"{values[-1]:.4f}", refresh=False)
        self.log.scalars(self.progress.iteration, {"objective": values[-1], "learning_rate": self.rate})

    def not_finite(self, iteration: int) -> Diverged:
        """The error for a loss that is not finite. It names the cases of the batch, one of which may be the reason."""
        rows = Order(self.data, self.training, self.seed).batch(self.training.batch_size, iteration)
        cases = ", ".join(map(self.data.describe_row, rows))
        what = f"the objective or its gradient is not finite in iteration {iteration + 1}"
        return Diverged(self.out, f"{what}, whose batch holds the cases {cases}")

    def save(self) -> None:
        """Save a checkpoint."""
        self.read_losses()
        self.add_seconds()
        self.progress.slowest = self.request.slowest
        with self.request.saving():
            checkpoint.save(self.out, self.progress, self.learner, self.settings)

    def validate(self) -> None:
        """Validate, write the training log, and keep the weights if they are the best so far.

        Raises:
            Diverged: a loss or a logit is not finite, or fp16 training skips every step.
        """
        self.read_losses()
        score = self.score()
        if math.isnan(score):
            raise Diverged(self.out, f"the logits of the validation part are not finite {self.position}")
        if self.learner.stalled:
            raise Diverged(self.out, f"the gradient is not finite at any loss scale {self.position}")
        progress, iteration = self.progress, self.progress.iteration
        loss = progress.loss_sum / progress.loss_count
        progress.loss_sum, progress.loss_count = 0.0, 0
        progress.history.append({"iteration": iteration, "loss": loss, self.score_name: score})
        _log.info("iteration %d: loss %.4f, %s %.4f", iteration, loss, self.score_label, score)
        if score > progress.best_score:
            progress.best_score, progress.best_iteration, progress.best = score, iteration, self.learner.weights()
        self.log.scalars(iteration, {self.score_name: score})
        self.log.write(progress.history)

    def make_up_validation(self) -> None:
        """Validate first where the checkpoint was saved just before a validation."""
        self.request.check()
        self.validate()
        if self.request.check() and not self.complete:
            self.save()
            self.interrupt()

    def interrupt(self) -> None:
        """End this attempt."""
        raise Interrupted(f"{self.out}: stopped by {self.request.reason} {self.position}; run it again to continue")

    @property
    def position(self) -> str:
        """The current iteration, for messages."""
        return f"after iteration {self.progress.iteration} of {self.last}"

    def add_seconds(self) -> None:
        """Add the time since the last call to the training time."""
        now = time.monotonic()
        self.progress.seconds += now - self.timed
        self.timed = now

    def finish(self, diverged: str | None) -> None:
        """Write weights and description of the run, and delete its checkpoint.

        Args:
            diverged: why the run diverged; None if it did not.
        """
        self.add_seconds()
        last = self.learner.weights()
        best = last if self.progress.best_iteration == self.progress.iteration else self.progress.best
        description = {
            **self.settings,
            "training": self.training.model_dump(mode="json"),
            "share": self.share,
            "precision": self.learner.precision,
            "iterations": self.progress.iteration,
            "diverged": diverged,
            "best_iteration": None if diverged else self.progress.best_iteration,
            self.score_name: None if diverged or not self.progress.history else self.progress.best_score,
            "parameters": sum(parameter.numel() for parameter in self.learner.model.parameters()),
            "seconds": round(self.progress.seconds, 2),
            "peak_memory": provenance.peak_memory(),
            "hardware": provenance.hardware(str(self.learner.device)),
            "versions": provenance.versions(),
            "git": provenance.git_revision(),
        }
        self.write(best, last, description)
        (self.out / checkpoint.FILE).unlink(missing_ok=True)


class SegmentationRun(TrainingRun):
    """The training of one run; see :func:`train`."""

    def __init__(
        self,
        config: Config,
        run: Run,
        data: PreparedDataset,
        out: Path,
        device: torch.device,
        share: int,
        request: StopRequest,
        pretrained: Sequence[Path] = (),
    ) -> None:
        prepare_folder(out, run.keys)
        training = config.training_of(run.dataset)
        # Equal for all objectives of a seed, whose runs are compared as pairs.
        make_deterministic(training.deterministic, seed_of("initialisation", run.seed))
        self.pretrained = pretrained_by_name(config, run, data, pretrained)
        learner = learner_of(config, run, data, device, autoencoders=pretrained)
        settings = settings_of(config, run, data.identity)
        super().__init__(learner, training, settings, data, run.seed, out, share, request)
        self.validation_batch_size = config.evaluation.batch_size

    def score(self) -> float:
        """Dice of the validation part."""
        return validation_dice(self.learner, self.validation, len(self.data.classes), self.validation_batch_size)

    def write(self, best: dict[str, Tensor], last: dict[str, Tensor], description: dict[str, Any]) -> None:
        """Write weights and description of the run."""
        if self.pretrained:
            description["pretrained"] = [recorded_file(file, self.out) for file in self.pretrained.values()]
        write_run(self.out, {"best": best, "last": last}, description)  # equal weights are stored once


def prepare_folder(out: Path, keys: Mapping[str, Any]) -> None:
    """Make the folder of a training, without temporary files of killed processes.

    Raises:
        InputError: it holds another run.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (checkpoint.FILE, WEIGHTS, DESCRIPTION, HISTORY):
        remove_leftovers(out / name)
    refuse_other_run(out, keys)


def pretrained_by_name(config: Config, run: Run, data: PreparedDataset, files: Sequence[Path]) -> dict[str, Path]:
    """Files of the masked autoencoders of a run, by their name in the configuration.

    Raises:
        InputError: a file is missing or superfluous, or was pretrained on other data than those of the run.
    """
    names = config.architectures[run.architecture].pretrained
    if len(names) != len(files):
        raise InputError(
            f"architecture '{run.architecture}' uses {len(names)} masked autoencoders, but --pretrained gives "
            f"{len(files)}; give the files of {', '.join(names) or 'none'}"
        )
    for name, file in zip(names, files, strict=True):
        refuse_other_pretraining(file, name, data, pretraining_of(config, run.dataset, name))
    return dict(zip(names, files, strict=True))
