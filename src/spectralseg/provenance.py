"""Provenance of results: versions, source revision, hardware and memory."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import spectralseg

_PACKAGES = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "albumentations", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that affect results."""
    installed = {"python": platform.python_version(), "spectralseg": spectralseg.__version__}
    for name in _PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "absent"
    return installed


def git_revision() -> dict[str, Any]:
    """Commit of the source tree and whether it has uncommitted changes; empty outside a git checkout."""
    folder = Path(spectralseg.__file__).parent

    def git(*arguments: str) -> str:
        process = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return process.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.CalledProcessError):
        return {}


def hardware(device: str) -> dict[str, Any]:
    """Host, processor and accelerator."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "device_name": name,
    }


def processor() -> str:
    """Name of the processor."""
    try:
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def peak_memory() -> dict[str, float]:
    """Peak memory of this process in MiB: resident, and on the CUDA device if one was used."""
    import resource
    import sys

    import torch

    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    peak = {"resident_mib": round(resident, 1)}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        peak["cuda_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return peak
