"""A training step as one CUDA graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UP = 3  # steps until buffers exist and algorithms are chosen
_log = logging.getLogger(__name__)


class CapturedStep:
    """Launches the hundreds of kernels of a step at once, which otherwise takes longer than small batches compute.

    The first steps run kernel by kernel. The last of them is watched: where it makes the host wait for the device, as
    a distance transform on the host does, no graph can hold it, and all steps stay as they are. Capturing computes
    nothing, so that a run has the same steps with and without a graph.

    Args:
        step: function of images and masks that returns a scalar on the device. All else that it reads or writes must
            stay where it is in the memory of the device, and be of the same shape, in every step.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.step = step
        self.stream = torch.cuda.Stream()
        self.steps = 0
        self.capturable = True
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, images: Tensor, masks: Tensor) -> Tensor:
        """One step, as ``step`` does it."""
        if self.capturable and self.steps == _WARM_UP:
            self._capture(images, masks)
        self.steps += 1
        if self.graph is None:
            return self._watched(images, masks) if self.steps == _WARM_UP else self._aside(images, masks)
        self.images.copy_(images, non_blocking=True)
        self.masks.copy_(masks, non_blocking=True)
        self.graph.replay()
        return self.value.clone()  # the next step overwrites it

    def _aside(self, images: Tensor, masks: Tensor) -> Tensor:
        """Run the step on the stream of the capture."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            value = self.step(images, masks)
        current.wait_stream(self.stream)
        return value

    def _watched(self, images: Tensor, masks: Tensor) -> Tensor:
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                value = self._aside(images, masks)
        finally:
            torch.cuda.set_sync_debug_mode(before)
        waits = [one for one in caught if "synchronizing CUDA operation" in str(one.message)]
        self.capturable = not waits
        if waits:
            _log.info("steps run kernel by kernel, as they wait for the device in %s", waits[0].filename)
        for one in caught:
            if one not in waits and "synchronization debug mode" not in str(one.message):
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return value

    def _capture(self, images: Tensor, masks: Tensor) -> None:
        device = self.stream.device
        self.images, self.masks = images.to(device, copy=True), masks.to(device, copy=True)
        self.graph = torch.cuda.CUDAGraph()
        # Other threads, such as one that pins memory for a loader, may go on meanwhile.
        with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            self.value = self.step(self.images, self.masks)
