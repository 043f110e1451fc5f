"""Images kept in the memory of a device."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectralseg.data import PreparedDataset

_SHARE = 0.5  # largest fraction of the free memory of a device that images may use
_log = logging.getLogger(__name__)


class DeviceCache:
    """Rows of a prepared dataset, kept on a device as stored integers.

    Args:
        data: the dataset.
        rows: indices of the rows to keep.
        device: device to keep them on.
    """

    def __init__(self, data: PreparedDataset, rows: NDArray[np.int64], device: torch.device) -> None:
        images, masks = (torch.from_numpy(np.ascontiguousarray(array[rows])) for array in (data.images, data.masks))
        # CUDA cannot index uint16; int16 has the same bits.
        self.images = (images.view(torch.int16) if images.dtype == torch.uint16 else images).to(device)
        self.masks = masks.to(device)
        self.largest = int(np.iinfo(data.images.dtype).max)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Images float32 (B, S, S, channels) in [0, 1] and masks uint8 (B, S, S)."""
        images = self.images[rows].to(torch.int32) & self.largest
        return images.to(torch.float32) / self.largest, self.masks[rows]


def fits(data: PreparedDataset, rows: NDArray[np.int64], device: torch.device) -> bool:
    """Whether rows fit into the free memory of a CUDA device beside the model; if not, a warning is logged."""
    required: int = len(rows) * (data.images[0].nbytes + data.masks[0].nbytes)
    free, _ = torch.cuda.mem_get_info(device)
    if required <= _SHARE * free:
        return True
    _log.warning(
        "%s: %.1f GB of training images do not fit beside the model on %s, which has %.1f GB free; they are loaded "
        "batch by batch",
        *(data.path, required / 1e9, device, free / 1e9),
    )
    return False
