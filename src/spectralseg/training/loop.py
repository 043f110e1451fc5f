"""Training of one run: fixed iterations, validation, resume."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from spectralseg import provenance
from spectralseg.config import Architecture, Config, Training
from spectralseg.config import Objective as ObjectiveChoice
from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.files import replacing, write_json
from spectralseg.grid import Run
from spectralseg.models import build_model
from spectralseg.objectives import Combined, build_objective
from spectralseg.training import state as states
from spectralseg.training.batches import batches, seed_of, standardise, to_float

_log = logging.getLogger(__name__)


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


def objective_of(choice: ObjectiveChoice, lam: str) -> Combined:
    """The objective of a configuration with its λ."""
    auxiliary = build_objective(choice.auxiliary, **choice.auxiliary_options) if choice.auxiliary else None
    return Combined(build_objective(choice.base, **choice.base_options), auxiliary, float(lam), choice.form)


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


def learning_rate(training: Training, iteration: int) -> float:
    """Learning rate of an iteration, counted from 0."""
    if training.schedule == "constant":
        return training.learning_rate
    return float(training.learning_rate * (1 - iteration / training.iterations) ** 0.9)


def settings_of(config: Config, run: Run, data: PreparedDataset) -> dict[str, Any]:
    """All that the weights of a run depend on, as plain values."""
    return {
        "run": run.keys,
        "architecture": config.architectures[run.architecture].model_dump(mode="json"),
        "objective": config.objectives[run.objective].model_dump(mode="json"),
        "training": config.training.model_dump(mode="json"),
        "data": {
            "name": data.name,
            "source": data.info["source"],
            "classes": data.classes,
            "channels": data.info["channels"],
            "image_size": data.info["image_size"],
            "mean": data.info["mean"],
            "std": data.info["std"],
            "files": data.info["files"],
        },
    }


def train(config: Config, run: Run, data: PreparedDataset, out: Path, *, device_name: str = "auto") -> None:
    """Train a run and write ``model.pt``, ``run.json`` and ``history.jsonl`` into ``out``.

    A state left by an interrupted attempt at the same settings is continued.

    Raises:
        InputError: the dataset lacks a part, or the objective is no longer finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    training, device = config.training, choose_device(device_name)
    settings = settings_of(config, run, data)
    fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    torch.use_deterministic_algorithms(True, warn_only=True)
    # A debugging aid that costs a tenth of the step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed_of("initialisation", run.seed))  # the same start for every objective: seeds are paired
    model = model_of(config.architectures[run.architecture], data.info["channels"], data.outputs).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the batches come in this layout
    objective = objective_of(config.objectives[run.objective], run.lam)
    optimizer = torch.optim.SGD(
        model.parameters(),
        training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    progress = states.restore(out, model, optimizer, fingerprint)
    mean = torch.tensor(data.info["mean"], dtype=torch.float32, device=device)
    std = torch.tensor(data.info["std"], dtype=torch.float32, device=device)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bf16")

    loss_sum = torch.tensor(progress.loss_sum, device=device)
    bar = tqdm(total=training.iterations, initial=progress.iteration, desc="train", unit="it", mininterval=2)
    for images, masks in batches(data, training, run.seed, progress.iteration):
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training, progress.iteration)
        with autocast:
            logits = model(standardise(images.to(device, non_blocking=True), mean, std))
        loss, _ = objective(logits, masks.to(device, non_blocking=True))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss_sum += loss.detach()  # stays on the device: reading it back would stall the step
        progress.loss_count += 1
        progress.iteration += 1
        bar.update()

        last = progress.iteration == training.iterations
        if last or progress.iteration % training.validate_every == 0:
            mean_loss = float(loss_sum) / progress.loss_count
            loss_sum, progress.loss_count = torch.zeros_like(loss_sum), 0
            if not np.isfinite(mean_loss):
                raise InputError(
                    f"{out}: the objective is not finite before iteration {progress.iteration}; lower 'learning_rate'"
                )
            score = validation_dice(model, data, mean, std, config.evaluation.batch_size)
            progress.history.append({"iteration": progress.iteration, "loss": mean_loss, "validation_dice": score})
            _log.info("iteration %d: loss %.4f, validation Dice %.4f", progress.iteration, mean_loss, score)
            if score > progress.best_score:
                progress.best_score, progress.best_iteration = score, progress.iteration
                progress.best = {name: value.cpu().clone() for name, value in model.state_dict().items()}
        if not last and progress.iteration % training.save_every == 0:
            progress.loss_sum = float(loss_sum)
            progress.seconds += time.monotonic() - started
            started = time.monotonic()
            states.save(out, progress, model, optimizer, fingerprint)
    bar.close()

    with replacing(out / "history.jsonl") as partial:
        partial.write_text("".join(json.dumps(entry) + "\n" for entry in progress.history))
    last_weights = {name: value.cpu() for name, value in model.state_dict().items()}
    best = last_weights if progress.best_iteration == training.iterations else progress.best
    with replacing(out / "model.pt") as partial:
        torch.save({"best": best, "last": last_weights}, partial)  # equal weights are stored once
    write_json(
        out / "run.json",
        {
            **settings,
            "fingerprint": fingerprint,
            "best_iteration": progress.best_iteration,
            "validation_dice": progress.best_score,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "seconds": round(progress.seconds + time.monotonic() - started, 2),
            "peak_memory": provenance.peak_memory(),
            "hardware": provenance.hardware(str(device)),
            "versions": provenance.versions(),
            "git": provenance.git_revision(),
        },
    )
    (out / states.FILE).unlink(missing_ok=True)


@torch.inference_mode()
def validation_dice(model: nn.Module, data: PreparedDataset, mean: Tensor, std: Tensor, batch_size: int) -> float:
    """Dice pooled over the validation part, mean over foreground classes; in [0, 1].

    Pooling needs no rule for slices without a class. A class absent from both prediction and reference counts 1.

    Raises:
        InputError: there is no validation part.
    """
    rows = data.rows("validation")
    if not len(rows):
        raise InputError(f"{data.path}: there are no validation cases; add training cases or raise 'validation'")
    model.eval()
    classes = len(data.classes)
    overlap, total = torch.zeros(classes), torch.zeros(classes)
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        images = torch.from_numpy(to_float(data.images[chosen])).to(mean.device)
        logits = model(standardise(images, mean, std))
        predicted = (logits[:, 0] > 0).long() if classes == 1 else logits.argmax(1)
        reference = torch.from_numpy(np.asarray(data.masks[chosen])).to(mean.device)
        for k in range(classes):
            p, y = predicted == k + 1, reference == k + 1
            overlap[k] += (p & y).sum().cpu()
            total[k] += p.sum().cpu() + y.sum().cpu()
    return float(torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones(classes)).mean())
