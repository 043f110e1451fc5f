"""Prediction of probabilities by a trained model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spectralseg.building import model_of
from spectralseg.config import Architecture
from spectralseg.data import PreparedDataset
from spectralseg.errors import Diverged, InputError
from spectralseg.loading import reading
from spectralseg.preprocessing import standardise
from spectralseg.run_folder import DESCRIPTION, WEIGHTS, pretrained_files, read_weights


@dataclass(frozen=True)
class Predictor:
    """A trained model with the standardisation of its training data; ``name`` appears in error messages."""

    model: nn.Module
    mean: Tensor
    std: Tensor
    batch_size: int
    name: str = "the model"

    def standardise(self, images: NDArray[np.float32]) -> Tensor:
        """Images (B, S, S, channels) in [0, 1] to model input on the model's device."""
        return standardise(torch.from_numpy(np.ascontiguousarray(images)).to(self.mean.device), self.mean, self.std)

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (N, C, S, S) of images (N, S, S, channels) in [0, 1].

        C = 1 holds the foreground probability of binary tasks; otherwise channel 0 is the background.

        Raises:
            Diverged: a logit is not finite, which comparisons would treat as background.
        """
        batches = []
        for start in range(0, len(images), self.batch_size):
            logits = self.model(self.standardise(images[start : start + self.batch_size])).float()
            if not logits.isfinite().all():
                raise Diverged(self.name, "its logits are not finite")
            probabilities = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
            batches.append(probabilities.cpu().numpy())
        return np.concatenate(batches)

    @torch.inference_mode()
    def inner_maps(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float16]]:
        """Maps (N, S, S) that the model uses on its way, by name; none for most models.

        Pictures, such as reconstructions, are in [0, 1] and grey. Images as for a prediction.
        """
        compute = getattr(self.model, "inner_maps", None)
        if compute is None:
            return {}
        batches: list[dict[str, Tensor]] = []
        for start in range(0, len(images), self.batch_size):
            inner = compute(self.standardise(images[start : start + self.batch_size]))
            batches.append({name: self._grey(values) if values.ndim == 4 else values for name, values in inner.items()})
        return {
            name: torch.cat([batch[name] for batch in batches]).cpu().numpy().astype(np.float16) for name in batches[0]
        }

    def _grey(self, pictures: Tensor) -> Tensor:
        """Standardised pictures (B, C, S, S) as grey ones (B, S, S) in [0, 1]."""
        return (pictures.movedim(1, -1) * self.std + self.mean).clamp(0, 1).mean(-1)


def predicted_cases(
    predictor: Predictor, cases: pd.DataFrame, images: Callable[[pd.Series], NDArray[np.float32]]
) -> Iterator[tuple[pd.Series, NDArray[np.float32]]]:
    """Cases with their probabilities (N, C, S, S). A batch may hold several small cases.

    Args:
        predictor: the model.
        cases: rows of a case table.
        images: returns the images (N, S, S, channels) of a case in [0, 1]; called once for each case.

    Raises:
        Diverged: a logit is not finite; the message names the cases of the batch.
    """
    waiting: list[tuple[pd.Series, NDArray[np.float32]]] = []
    for _, case in cases.iterrows():
        waiting.append((case, images(case)))
        if sum(len(case_images) for _, case_images in waiting) >= predictor.batch_size:
            yield from _predicted(predictor, waiting)
            waiting = []
    yield from _predicted(predictor, waiting)


def _predicted(
    predictor: Predictor, waiting: Sequence[tuple[pd.Series, NDArray[np.float32]]]
) -> Iterator[tuple[pd.Series, NDArray[np.float32]]]:
    if waiting:
        try:
            probabilities = predictor(np.concatenate([images for _, images in waiting]))
        except Diverged as error:
            cases = ", ".join(str(case["case"]) for case, _ in waiting)
            raise Diverged(predictor.name, f"{error.reason} on one of the test cases {cases}") from None
        ends = np.cumsum([len(images) for _, images in waiting])
        yield from zip((case for case, _ in waiting), np.split(probabilities, ends[:-1]), strict=True)


def load_predictor(run: Path, settings: dict[str, Any], checkpoint: str, batch_size: int, device: str) -> Predictor:
    """Load the model of a run.

    Args:
        run: folder with ``model.pt``.
        settings: content of its ``run.json``.
        checkpoint: ``best`` or ``last``.
        batch_size: images per forward pass.
        device: torch device.

    Raises:
        Diverged: the run diverged.
        InputError: the weights are missing, damaged, of another run, or do not fit the architecture.
    """
    if reason := settings.get("diverged"):
        raise Diverged(run, reason)
    data = settings["data"]
    pretrained = pretrained_files(run, settings)
    with reading(run / DESCRIPTION, "the description of a finished run", "train the run again"):
        # The weights come from the run; pretrained weights might need the network.
        architecture = Architecture.model_validate({**settings["architecture"], "encoder_weights": None})
        outputs = 1 if len(data["classes"]) == 1 else len(data["classes"]) + 1
        model = model_of(architecture, data["channels"], outputs, pretrained, data["image_size"])
        mean, std = (torch.tensor(data[key], dtype=torch.float32, device=device) for key in ("mean", "std"))
    weights = read_weights(run, settings, checkpoint)
    with reading(run / WEIGHTS, "the weights that its run.json describes", "train the run again"):
        model.load_state_dict(weights)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # as images are stored
    return Predictor(model.eval(), mean, std, batch_size, str(run))


def check_trained_on(run: Path, trained: dict[str, Any], data: PreparedDataset) -> None:
    """Check that a run was trained on these files of a dataset, as other files may have another split.

    Args:
        run: the run folder.
        trained: its training data, from ``run.json``.
        data: the dataset.

    Raises:
        InputError: the run was trained on other files.
    """
    if data.info["files"] != trained["files"]:
        raise InputError(f"{run}: was trained on different data than {data.path}; train the run again")
