"""Lets torchvision be imported beside a torch build that its compiled operators do not fit.

The package index's torchvision is compiled for CUDA. Beside a CPU-only torch its library does not load, and the import
then fails with "operator torchvision::nms does not exist", although nothing here ever calls those operators. Declaring
their schemas is enough for the import.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path

import torch

_SCHEMAS = ("nms", "qnms")
_declared: list[torch.library.Library] = []  # a library's declarations live as long as the object


def ensure_operators() -> None:
    """Declare the schemas that torchvision's import needs, if its own operators do not load. Idempotent."""
    if _declared or "torchvision" in sys.modules or _operators_load():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _SCHEMAS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)


def _operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # nothing to mend: the import will say that torchvision is missing
    for library in Path(spec.origin).parent.glob("_C*"):
        with contextlib.suppress(OSError):
            torch.ops.load_library(library)
    return hasattr(torch.ops.torchvision, "nms")
