"""Makes torchvision importable with a torch build that does not match its compiled operators.

The torchvision of the package index is compiled for CUDA. With a CPU-only torch, its library does not load and the
import fails with "operator torchvision::nms does not exist". This package never calls these operators, so declaring
their schemas is enough.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path

import torch

_SCHEMAS = ("nms", "qnms")
_declared: list[torch.library.Library] = []  # declarations end with the lifetime of the object


def ensure_operators() -> None:
    """Declare the schemas that the import of torchvision needs if its operators do not load. Idempotent."""
    if _declared or "torchvision" in sys.modules or _operators_load():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _SCHEMAS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)


def _operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # the import will report that torchvision is missing
    for library in Path(spec.origin).parent.glob("_C*"):
        with contextlib.suppress(OSError):
            torch.ops.load_library(library)
    return hasattr(torch.ops.torchvision, "nms")
