"""Training batches as a pure function of (seed, iteration).

The rows of a batch and their augmentation depend on nothing else. No state of a sampler or of the augmentation has to
be saved: a resumed run gets the same batches as an uninterrupted one, with any number of worker processes.
"""

from __future__ import annotations

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

_IN_MEMORY = 4e9  # bytes of training images and masks that every process keeps, about 25,000 slices of 224 pixels
_PLANNED = 64  # iterations whose indices and augmentation draws are copied to the device together


class Order:
    """The endless stream of training images, as indices into the training rows of a dataset.

    An epoch has each image once, in a new order. With ``training.foreground_share`` it has all images with a
    foreground class, and of the others a new random choice that leaves this share of foreground images; all of them, if
    there are fewer.

    Args:
        data: the dataset.
        training: hyper-parameters.
        seed: of the order.

    Raises:
        InputError: there are no training cases.
    """

    def __init__(self, data: PreparedDataset, training: Training, seed: int) -> None:
        self.rows, self.seed = data.rows("train"), seed
        if not len(self.rows):
            raise InputError(f"{data.path}: there are no training cases; choose another split")
        self.always, self.others = np.arange(len(self.rows)), np.empty(0, np.int64)
        chosen = 0
        if training.foreground_share is not None:
            foreground = np.array([data.masks[row].any() for row in self.rows])  # preparation refuses a dataset without
            self.always, self.others = np.flatnonzero(foreground), np.flatnonzero(~foreground)
            chosen = min(len(self.others), round(len(self.always) * (1 / training.foreground_share - 1)))
        self.epoch_length = len(self.always) + chosen
        self._epoch, self._indices = -1, self.always

    def __getitem__(self, position: int) -> int:
        epoch, step = divmod(position, self.epoch_length)
        if epoch != self._epoch:
            self._epoch, self._indices = epoch, self._shuffled(epoch)
        return int(self._indices[step])

    def batch(self, batch_size: int, iteration: int) -> list[int]:
        """The rows of the dataset in the batch of an iteration, counted from 0."""
        positions = range(iteration * batch_size, (iteration + 1) * batch_size)
        return [int(self.rows[self[position]]) for position in positions]

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.default_rng(seed_of("order", self.seed, epoch))
        others = random.permutation(self.others)[: self.epoch_length - len(self.always)]
        return random.permutation(np.concatenate([self.always, others]))


class _Stream(Dataset[tuple[Tensor, Tensor]]):
    """Maps a position in the endless stream of samples to an augmented image and mask."""

    def __init__(self, data: PreparedDataset, training: Training, seed: int) -> None:
        self.order, self.augment = Order(data, training, seed), Albumentations(training)
        self.images, self.masks, self.places = data.images, data.masks, self.order.rows
        if len(self.places) * (self.images[0].nbytes + self.masks[0].nbytes) <= _IN_MEMORY:
            # Read once; random rows of a memory map would be read from disk in every epoch.
            self.images, self.masks = self.images[self.places], self.masks[self.places]
            self.places = np.arange(len(self.places))

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        place = self.places[self.order[position]]
        image, mask = self.augment(
            to_float(self.images[place]), np.array(self.masks[place]), _augmentation_seed(self.order.seed, position)
        )
        return torch.from_numpy(image), torch.from_numpy(mask)


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
        InputError: see :class:`Order`.
    """
    if device.type == "cuda" and training.resident:
        order = Order(data, training, seed)
        if fits(data, order.rows, device):
            return _cached(DeviceCache(data, order.rows, device), order, training, start, stop)
    return _loaded(_Stream(data, training, seed), training, start, stop)


def _loaded(stream: _Stream, training: Training, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Load one image at a time, in worker processes if configured."""
    loader = DataLoader(
        stream,
        batch_size=training.batch_size,
        sampler=range(start * training.batch_size, stop * training.batch_size),
        num_workers=training.workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # the default generator is that of dropout: every resume would draw from it again
        worker_init_fn=ignore_signals,
    )
    yield from loader


def _cached(
    data: DeviceCache, order: Order, training: Training, start: int, stop: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Take batches from the memory of the device, without synchronisation."""
    device, size = data.images.device, training.batch_size
    for first in range(start, stop, _PLANNED):
        last = min(first + _PLANNED, stop)
        positions = range(first * size, last * size)
        indices = torch.tensor([order[position] for position in positions])
        draws = torch.tensor([draw(training, _augmentation_seed(order.seed, position)) for position in positions])
        if device.type == "cuda":  # copies from pinned memory are asynchronous
            indices, draws = indices.pin_memory(), draws.pin_memory()
        indices, draws = (plan.to(device, non_blocking=True) for plan in (indices, draws))
        for rows, transforms in zip(indices.split(size), draws.split(size), strict=True):
            images, masks = data[rows]
            yield move(images, masks, transforms) if training.flip or training.rotate else (images, masks)
