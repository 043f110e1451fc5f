"""Training batches as a pure function of (seed, iteration).

Which rows make up a batch and how each is augmented depends on nothing else, so there is no sampler or augmentation
state to save: a resumed run, and any number of worker processes, see exactly the batches of a run never stopped.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spectralseg.config import Training
from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.training.augmentation import Albumentations, draw, move
from spectralseg.training.device_cache import Resident, fits
from spectralseg.training.stop import ignore_signals

_PLANNED = 64  # iterations whose rows and moves go to the device together


def seed_of(*keys: object) -> int:
    """A 32-bit seed from any keys, the same on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, keys)).encode()).digest()[:4], "little")


def to_float(images: NDArray[Any]) -> NDArray[np.float32]:
    """Stored unsigned integers to float32 in [0, 1]."""
    return images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max)


def standardise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """[0, 1] images (B, H, W, channels) to model input (B, channels, H, W) of zero mean and unit variance."""
    return ((images - mean) / std).movedim(-1, 1)


class _Stream(Dataset[tuple[Tensor, Tensor]]):
    """Position in the endless stream of samples -> augmented image and mask."""

    def __init__(self, data: PreparedDataset, training: Training, seed: int) -> None:
        self.rows = data.rows("train")
        # Read once: random rows of a memory map would be read from disk again in every epoch.
        self.images, self.masks = data.images[self.rows], data.masks[self.rows]
        self.augment, self.seed = Albumentations(training), seed

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index = _index(len(self.rows), self.seed, position)
        image, mask = self.augment(to_float(self.images[index]), self.masks[index], _moves_by(self.seed, position))
        return torch.from_numpy(image), torch.from_numpy(mask)


def _index(count: int, seed: int, position: int) -> int:
    """Which of ``count`` rows comes at a position of the endless stream: all once per epoch, in a new order."""
    epoch, place = divmod(position, count)
    return int(_order(count, seed, epoch)[place])


@functools.lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed_of("order", seed, epoch)).permutation(count)


def batch_of(rows: NDArray[np.int64], batch_size: int, seed: int, iteration: int) -> list[int]:
    """The rows, of these training rows, that make up the batch of an iteration, counted from 0."""
    positions = range(iteration * batch_size, (iteration + 1) * batch_size)
    return [int(rows[_index(len(rows), seed, position)]) for position in positions]


def _moves_by(seed: int, position: int) -> int:
    """Seed of the augmentation of a position."""
    return seed_of("augment", seed, position)


def batches(
    data: PreparedDataset, training: Training, seed: int, start: int, stop: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of iterations ``start`` .. ``stop`` - 1, on a CUDA device if they are to be kept there and fit, else on
    the host.

    Yields:
        Images float32 (B, S, S, channels) in [0, 1] and masks uint8 (B, S, S).

    Raises:
        InputError: there are no training cases.
    """
    rows = data.rows("train")
    if not len(rows):
        raise InputError(f"{data.path}: there are no training cases; choose another split")
    if device.type == "cuda" and training.resident and fits(data, rows, device):
        return _resident(Resident(data, rows, device), training, seed, start, stop)
    return _loaded(data, training, seed, start, stop)


def _loaded(
    data: PreparedDataset, training: Training, seed: int, start: int, stop: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """One image at a time, in worker processes if there are any."""
    loader = DataLoader(
        _Stream(data, training, seed),
        batch_size=training.batch_size,
        sampler=range(start * training.batch_size, stop * training.batch_size),
        num_workers=training.workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else the loader draws from the stream of dropout, once more after every resume
        worker_init_fn=ignore_signals,
    )
    yield from loader


def _resident(data: Resident, training: Training, seed: int, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A batch at a time from the memory of the device, which the host never waits for."""
    device, size = data.images.device, training.batch_size
    for first in range(start, stop, _PLANNED):
        last = min(first + _PLANNED, stop)
        positions = range(first * size, last * size)
        indices = torch.tensor([_index(len(data), seed, position) for position in positions])
        draws = torch.tensor([draw(training, _moves_by(seed, position)) for position in positions])
        if device.type == "cuda":  # only then is the copy one that nobody waits for
            indices, draws = indices.pin_memory(), draws.pin_memory()
        indices, draws = (plan.to(device, non_blocking=True) for plan in (indices, draws))
        for chosen, moves in zip(indices.split(size), draws.split(size), strict=True):
            images, masks = data[chosen]
            yield move(images, masks, moves) if training.flip or training.rotate else (images, masks)
