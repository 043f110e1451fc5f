"""Training batches as a pure function of (seed, iteration).

The rows of a batch and their augmentation depend on nothing else. No state of a sampler or of the augmentation has to
be saved: a resumed run gets the same batches as an uninterrupted one, with any number of worker processes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spectralseg.config import Training
from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.preprocessing import to_float
from spectralseg.seeds import seed_of
from spectralseg.training.augmentation import Albumentations, draw, move
from spectralseg.training.device_cache import DeviceCache, fits
from spectralseg.training.stop import ignore_signals

_PLANNED = 64  # iterations whose indices and augmentation draws are copied to the device together


class _Stream(Dataset[tuple[Tensor, Tensor]]):
    """Maps a position in the endless stream of samples to an augmented image and mask."""

    def __init__(self, data: PreparedDataset, training: Training, seed: int) -> None:
        self.rows = data.rows("train")
        # Read once; random rows of a memory map would be read from disk in every epoch.
        self.images, self.masks = data.images[self.rows], data.masks[self.rows]
        self.augment, self.seed = Albumentations(training), seed

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index = _index(len(self.rows), self.seed, position)
        image, mask = self.augment(
            to_float(self.images[index]), self.masks[index], _augmentation_seed(self.seed, position)
        )
        return torch.from_numpy(image), torch.from_numpy(mask)


def _index(count: int, seed: int, position: int) -> int:
    """Index, of ``count`` rows, at a position of the endless stream. Every epoch has each row once, in a new order."""
    epoch, step = divmod(position, count)
    return int(_order(count, seed, epoch)[step])


@functools.lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed_of("order", seed, epoch)).permutation(count)


def batch_of(rows: NDArray[np.int64], batch_size: int, seed: int, iteration: int) -> list[int]:
    """The rows in the batch of an iteration, counted from 0, selected from the training rows ``rows``."""
    positions = range(iteration * batch_size, (iteration + 1) * batch_size)
    return [int(rows[_index(len(rows), seed, position)]) for position in positions]


def _augmentation_seed(seed: int, position: int) -> int:
    return seed_of("augment", seed, position)


def batches(
    data: PreparedDataset, training: Training, seed: int, start: int, stop: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of iterations ``start`` .. ``stop`` - 1.

    They are on a CUDA device if ``training.resident`` is set and the images fit, otherwise on the host.

    Yields:
        Images float32 (B, S, S, channels) in [0, 1] and masks uint8 (B, S, S).

    Raises:
        InputError: there are no training cases.
    """
    rows = data.rows("train")
    if not len(rows):
        raise InputError(f"{data.path}: there are no training cases; choose another split")
    if device.type == "cuda" and training.resident and fits(data, rows, device):
        return _cached(DeviceCache(data, rows, device), training, seed, start, stop)
    return _loaded(data, training, seed, start, stop)


def _loaded(
    data: PreparedDataset, training: Training, seed: int, start: int, stop: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Load one image at a time, in worker processes if configured."""
    loader = DataLoader(
        _Stream(data, training, seed),
        batch_size=training.batch_size,
        sampler=range(start * training.batch_size, stop * training.batch_size),
        num_workers=training.workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # the default generator is that of dropout: every resume would draw from it again
        worker_init_fn=ignore_signals,
    )
    yield from loader


def _cached(data: DeviceCache, training: Training, seed: int, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Take batches from the memory of the device, without synchronisation."""
    device, size = data.images.device, training.batch_size
    for first in range(start, stop, _PLANNED):
        last = min(first + _PLANNED, stop)
        positions = range(first * size, last * size)
        indices = torch.tensor([_index(len(data), seed, position) for position in positions])
        draws = torch.tensor([draw(training, _augmentation_seed(seed, position)) for position in positions])
        if device.type == "cuda":  # copies from pinned memory are asynchronous
            indices, draws = indices.pin_memory(), draws.pin_memory()
        indices, draws = (plan.to(device, non_blocking=True) for plan in (indices, draws))
        for rows, transforms in zip(indices.split(size), draws.split(size), strict=True):
            images, masks = data[rows]
            yield move(images, masks, transforms) if training.flip or training.rotate else (images, masks)
