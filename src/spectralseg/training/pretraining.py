"""Pretraining of a masked autoencoder on the training part of a dataset, and the scale of its residual maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectralseg.config import Config, Training
from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.grid import Autoencoder
from spectralseg.models._masked_autoencoder import (
    BANK,
    MaskedAutoencoder,
    ResidualMap,
    hidden_patches,
    partition,
    patchify,
    random_visible,
)
from spectralseg.preprocessing import to_float
from spectralseg.run_folder import PRETRAINING_KEYS, finished, write_run
from spectralseg.seeds import seed_of
from spectralseg.torch_setup import choose_device, make_deterministic
from spectralseg.training.learner import Learner
from spectralseg.training.loop import TrainingRun, prepare_folder
from spectralseg.training.precision import AUTOCAST
from spectralseg.training.settings import settings_of
from spectralseg.training.stop import StopRequest, stop_requests

_PERCENTILE = 99.0  # of the residual maps of training images, which becomes 1
_SCALED_ON = 512  # training images whose maps determine it, evenly spaced
_BATCH = 64  # images of a validation step


class MaskedLearner(Learner):
    """Trains a masked autoencoder with random masks, which come from torch's random numbers."""

    model: MaskedAutoencoder

    def optimizer_of(self, training: Training, rate: float | Tensor, fused: bool | None) -> torch.optim.Optimizer:
        """AdamW with the momenta of He et al. (2022)."""
        parameters, decay = self.model.parameters(), training.weight_decay
        return torch.optim.AdamW(parameters, rate, betas=(0.9, 0.95), weight_decay=decay, fused=fused)

    def loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """Mean squared error of hidden pixels of standardised images; masks (of labels) are ignored."""
        inputs, sizes, dtype = self.inputs(images), self.model.sizes, AUTOCAST[self.precision]
        visible = random_visible(len(inputs), sizes.patches(inputs.shape[-1]), sizes.groups, self.device)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            return self.objective(inputs, visible)


class PretrainingRun(TrainingRun):
    """The training of one masked autoencoder; see :func:`pretrain`."""

    step_name = "pretrain"
    score_name = "validation_r2"
    score_label = "validation R²"
    learner: MaskedLearner

    def __init__(
        self,
        config: Config,
        name: str,
        data: PreparedDataset,
        out: Path,
        device: torch.device,
        share: int,
        request: StopRequest,
    ) -> None:
        pretraining = config.pretraining[name]
        self.sizes, self.side, self.warmup = pretraining.sizes, int(data.info["image_size"]), pretraining.warmup
        self.sizes.patches(self.side)
        settings = settings_of(config, Autoencoder(data.name, name), data.identity)
        prepare_folder(out, settings["run"])
        training = pretraining.training(config.training_of(data.name))
        make_deterministic(training.deterministic, seed_of("pretraining", pretraining.seed))
        model = MaskedAutoencoder(data.info["channels"], self.sizes).to(device)
        learner = MaskedLearner(model, model.loss, training, data.info["mean"], data.info["std"])
        super().__init__(learner, training, settings, data, pretraining.seed, out, share, request)
        self.last = pretraining.iterations

    def learning_rate(self) -> float:
        """Learning rate of the current iteration, after a linear warm-up."""
        warmup = self.warmup * self.last
        return super().learning_rate() * min(1.0, (self.progress.iteration + 1) / max(1.0, warmup))

    @torch.inference_mode()
    def score(self) -> float:
        """R² of the hidden pixels of the validation part: 1 minus the mean squared error over the variance."""
        self.learner.model.eval()
        error, moments, count = 0.0, np.zeros(2), 0
        for start in range(0, len(self.validation), _BATCH):
            inputs = self.learner.inputs(self.validation[start : start + _BATCH][0])
            visible = partition(self.sizes.patches(self.side), self.sizes.groups)[:1].to(self.device)
            visible = visible.expand(len(inputs), -1)
            pixels = patchify(inputs, self.sizes.patch).double()
            hidden = hidden_patches(visible, pixels.shape[1])[..., None].double()
            error += float(((self.learner.model(inputs, visible) - pixels).square() * hidden).sum())
            moments += float((pixels * hidden).sum()), float((pixels.square() * hidden).sum())
            count += int(hidden.sum()) * pixels.shape[2]
        variance = moments[1] / count - (moments[0] / count) ** 2
        return float(1 - error / count / max(variance, 1e-12))

    def finish(self, diverged: str | None) -> None:
        """Write the outputs.

        Raises:
            InputError: the pretraining diverged.
        """
        if diverged:
            raise InputError(f"{self.out}: {diverged}; choose a lower 'learning_rate' under 'pretraining'")
        super().finish(None)

    def write(self, best: dict[str, Tensor], last: dict[str, Tensor], description: dict[str, Any]) -> None:
        """Write the residual map of the best weights, and its description."""
        self.learner.model.load_state_dict(best)
        residual_map = ResidualMap(self.learner.model, self.side).to(self.device).eval()
        calibrate(residual_map, self.learner, self.data)
        description["scale"] = float(residual_map.scale)
        weights = {name: value.cpu() for name, value in residual_map.state_dict().items()}
        sizes: Any = {"sizes": self.sizes.as_dict(), "channels": self.data.info["channels"], "side": self.side}
        write_run(self.out, {"best": weights, **sizes}, description)


def pretrain(
    config: Config,
    name: str,
    data: PreparedDataset,
    out: Path,
    *,
    device_name: str = "auto",
    share: int = 1,
    deadline: float | None = None,
    keep_finished: bool = False,
) -> None:
    """Train a masked autoencoder on the training part of a dataset, without labels and without test images.

    Writes ``model.pt``, ``run.json`` and ``history.jsonl`` into ``out``; the description holds the checksums of the
    dataset with its split. Interruptions and resuming are as in :func:`spectralseg.training.loop.train`.

    Args:
        config: the study.
        name: of the pretraining in the configuration.
        data: the prepared dataset.
        out: folder of the outputs.
        device_name: torch device, or ``auto``.
        share: maximal number of processes that share the device.
        deadline: value of ``time.monotonic()`` at which the process must have ended.
        keep_finished: keep a complete pretraining with the same settings.

    Raises:
        InputError: the dataset lacks a part, the sizes do not fit it, ``out`` holds another run, or training diverged.
        Interrupted: a signal or the deadline stopped training; the checkpoint is saved.
    """
    settings = settings_of(config, Autoencoder(data.name, name), data.identity)
    if keep_finished and finished(out, settings, PRETRAINING_KEYS):
        return
    with stop_requests(deadline) as request:
        PretrainingRun(config, name, data, out, choose_device(device_name), share, request).train()


def calibrate(residual_map: ResidualMap, learner: Learner, data: PreparedDataset) -> None:
    """Set the scale of a residual map, and its bank of maps of other cases, from the training part of a dataset.

    The scale is the 99th percentile of the maps of up to 512 training images, evenly spaced over the part.
    """
    rows = evenly_spaced(data.rows("train"), _SCALED_ON)
    maps = np.concatenate([_raw_map(residual_map, learner, data, row) for row in rows])
    residual_map.scale.fill_(max(float(np.percentile(maps, _PERCENTILE)), 1e-6))
    chosen = np.linspace(0, len(maps) - 1, BANK).round().astype(int)
    scaled = np.clip(maps[chosen] / float(residual_map.scale), 0, 1)
    residual_map.bank.copy_(torch.from_numpy((scaled * 255).round().astype(np.uint8)))


def evenly_spaced(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most ``count`` of the rows, evenly spaced."""
    return rows if len(rows) <= count else rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]


def _raw_map(residual_map: ResidualMap, learner: Learner, data: PreparedDataset, row: int) -> NDArray[np.float32]:
    """Residual map (1, S, S) of a row of a dataset, without scale."""
    inputs = learner.inputs(torch.from_numpy(to_float(data.images[row : row + 1])))
    raw: NDArray[np.float32] = residual_map.raw(inputs)[:, 0].cpu().numpy()
    return raw
