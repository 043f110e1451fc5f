"""A training step as one CUDA graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UP = 3  # steps after which buffers are allocated and algorithms selected
_log = logging.getLogger(__name__)


class CapturedStep:
    """Replays the hundreds of kernels of a step as one CUDA graph, as launching them takes longer than small batches.

    The first steps run without a graph. If the last of them makes the host wait for the device, as a distance transform
    on the host does, it cannot be captured, and all steps run without a graph. Capturing computes nothing, so the steps
    of a run are the same with and without a graph.

    Args:
        step: function of images and masks that returns a scalar on the device. All other tensors that it reads or
            writes must keep their address and shape in every step.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.step = step
        self.stream = torch.cuda.Stream()
        self.steps = 0
        self.capturable = True
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, images: Tensor, masks: Tensor) -> Tensor:
        """Run one step."""
        if self.capturable and self.steps == _WARM_UP:
            self._capture(images, masks)
        self.steps += 1
        if self.graph is None:
            return self._run_checked(images, masks) if self.steps == _WARM_UP else self._run(images, masks)
        self.images.copy_(images, non_blocking=True)
        self.masks.copy_(masks, non_blocking=True)
        self.graph.replay()
        return self.value.clone()  # the next step overwrites the value

    def _run(self, images: Tensor, masks: Tensor) -> Tensor:
        """Run the step without a graph, on the stream of the capture."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            value = self.step(images, masks)
        current.wait_stream(self.stream)
        return value

    def _run_checked(self, images: Tensor, masks: Tensor) -> Tensor:
        """Run the step without a graph, and find out whether it waits for the device."""
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                value = self._run(images, masks)
        finally:
            torch.cuda.set_sync_debug_mode(mode)
        waits = [warning for warning in caught if "synchronizing CUDA operation" in str(warning.message)]
        self.capturable = not waits
        if waits:
            _log.info("steps run without a CUDA graph, as they wait for the device in %s", waits[0].filename)
        for warning in caught:
            if warning not in waits and "synchronization debug mode" not in str(warning.message):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        return value

    def _capture(self, images: Tensor, masks: Tensor) -> None:
        device = self.stream.device
        self.images, self.masks = images.to(device, copy=True), masks.to(device, copy=True)
        self.graph = torch.cuda.CUDAGraph()
        # Allows CUDA calls of other threads during the capture, such as pinning memory for a loader.
        with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            self.value = self.step(self.images, self.masks)
