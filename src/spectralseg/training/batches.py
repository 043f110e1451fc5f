"""Training batches as a pure function of (seed, iteration).

Which rows make up a batch and how each is augmented depends on nothing else, so there is no sampler or augmentation
state to save: a resumed run, and any number of worker processes, see exactly the batches of a run never stopped.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spectralseg.config import Training
from spectralseg.data import PreparedDataset
from spectralseg.errors import InputError
from spectralseg.training.interruption import ignore_signals


def seed_of(*keys: object) -> int:
    """A 32-bit seed from any keys, the same on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, keys)).encode()).digest()[:4], "little")


def to_float(images: NDArray[Any]) -> NDArray[np.float32]:
    """Stored unsigned integers to float32 in [0, 1]."""
    return images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max)


def standardise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """[0, 1] images (B, H, W, channels) to model input (B, channels, H, W) of zero mean and unit variance."""
    return ((images - mean) / std).movedim(-1, 1)


def augmentation(training: Training) -> Any:
    """Flips and rotations, as the paper names them; masks by nearest neighbour, borders filled with 0.

    Returns:
        An ``albumentations.Compose``.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for a newer version
    import albumentations as A  # evaluation, which needs only the conversions above, is spared the import

    transforms: list[Any] = []
    if training.flip:
        transforms += [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]
    if training.rotate:
        limit = (-training.rotate, training.rotate)
        transforms.append(A.Rotate(limit=limit, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=0, p=0.5))
    return A.Compose(transforms)


class _Stream(Dataset[tuple[Tensor, Tensor]]):
    """Position in the endless stream of samples -> augmented image and mask."""

    def __init__(self, data: PreparedDataset, training: Training, seed: int) -> None:
        self.rows = data.rows("train")
        if not len(self.rows):
            raise InputError(f"{data.path}: there are no training cases; choose another split")
        # Read once: random rows of a memory map would be read from disk again in every epoch.
        self.images, self.masks = data.images[self.rows], data.masks[self.rows]
        self.augment, self.seed = augmentation(training), seed

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index = _index(len(self.rows), self.seed, position)
        # One stream for all transforms: set_random_seed would give each the same draws, so that all act or none.
        seed = seed_of("augment", self.seed, position)
        self.augment.set_random_state(np.random.default_rng(seed), random.Random(seed))
        pair = self.augment(image=to_float(self.images[index]), mask=self.masks[index])
        return torch.from_numpy(np.ascontiguousarray(pair["image"])), torch.from_numpy(
            np.ascontiguousarray(pair["mask"])
        )


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


def batches(
    data: PreparedDataset, training: Training, seed: int, start: int, stop: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of iterations ``start`` .. ``stop`` - 1.

    Yields:
        Images float32 (B, S, S, channels) in [0, 1] and masks uint8 (B, S, S).
    """
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
