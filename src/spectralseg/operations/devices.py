"""Which accelerators a process may use, found without importing torch: it fixes its choice when CUDA starts."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SIMULATED = "SPECTRALSEG_DEVICES"  # comma-separated ids that stand in for this machine's devices; empty for none

_KFD = Path("/sys/class/kfd/kfd/topology/nodes")
_GPU = re.compile(r"^GPU \d+: .*\(UUID: (GPU-[^)]+)\)")
_MIG = re.compile(r"^\s+MIG .*\(UUID: (MIG-[^)]+)\)")


@dataclass(frozen=True)
class Device:
    """One accelerator.

    Attributes:
        identity: the same for all processes of this machine, however they spell it.
        variable: the environment variable that binds a process to it; empty where there is none to choose from.
        value: what that variable must hold.
    """

    identity: str
    variable: str
    value: str


def visible_devices(environment: Mapping[str, str] = os.environ) -> list[Device]:
    """The accelerators that this process may use, in their order; empty where there are none.

    Those of NVIDIA, as far as ``CUDA_VISIBLE_DEVICES`` lets them be seen (indices, UUIDs or beginnings of UUIDs; MIG
    instances count as devices); else those of AMD under ROCm; else the one of an Apple computer.
    """
    if SIMULATED in environment:
        return _chosen(_split(environment[SIMULATED]), environment, "CUDA_VISIBLE_DEVICES")
    if nvidia := _nvidia():
        return _chosen(nvidia, environment, "CUDA_VISIBLE_DEVICES")
    if amd := _amd():
        if "ROCR_VISIBLE_DEVICES" in environment:  # what HIP counts is what this leaves
            amd = [device.identity for device in _chosen(amd, environment, "ROCR_VISIBLE_DEVICES")]
        variable = next((v for v in ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES") if v in environment), None)
        chosen = _chosen(amd, environment, variable or "HIP_VISIBLE_DEVICES")
        return [Device(d.identity, "HIP_VISIBLE_DEVICES", str(amd.index(d.identity))) for d in chosen]
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return [Device("mps", "", "")]
    return []


def assigned_by_slurm(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a SLURM job to which one device is assigned, so that there is nothing left to choose."""
    given = environment.get("CUDA_VISIBLE_DEVICES") or environment.get("ROCR_VISIBLE_DEVICES") or ""
    return "SLURM_JOB_ID" in environment and len(_split(given)) == 1


def _chosen(installed: Sequence[str], environment: Mapping[str, str], variable: str) -> list[Device]:
    """The installed devices that a variable names; all, by their ids, if it is not set."""
    if variable not in environment:
        return [Device(identity, variable, identity) for identity in installed]
    found: dict[str, Device] = {}
    for token in _split(environment[variable]):
        identity = _identity(token, installed)
        if identity is None:  # CUDA sees nothing from the first wrong entry on
            break
        found.setdefault(identity, Device(identity, variable, token))
    return list(found.values())


def _identity(token: str, installed: Sequence[str]) -> str | None:
    """The installed device that an index or the beginning of an id names, if it is exactly one.

    An index counts in the order of the driver. CUDA may count the fastest first where devices differ, so the index
    itself, not the id, is what a process is bound by.
    """
    if token.isdecimal():
        return installed[int(token)] if int(token) < len(installed) else None
    named = [identity for identity in installed if identity.startswith(token)]
    return named[0] if len(named) == 1 else None


def _nvidia() -> list[str]:
    """UUIDs of the GPUs of this machine, or of this container; of a partitioned one, those of its MIG instances."""
    if not shutil.which("nvidia-smi"):
        return _nvidia_of_the_kernel()
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):  # a driver that does not answer runs no training either
        return []
    return parse_listing(done.stdout)


def parse_listing(text: str) -> list[str]:
    """UUIDs in what ``nvidia-smi -L`` prints."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if gpu := _GPU.match(line):
            found.append([gpu[1]])
        elif instance := _MIG.match(line):
            found[-1].append(instance[1])
    return [identity for gpu, *instances in found for identity in instances or [gpu]]


def _nvidia_of_the_kernel() -> list[str]:
    """UUIDs where a container brings the driver, but not its tools; only of devices that were passed into it."""
    found = {}
    for file in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        text = file.read_text(errors="replace")
        uuid, minor = re.search(r"GPU UUID:\s+(GPU-\S+)", text), re.search(r"Device Minor:\s+(\d+)", text)
        if uuid and minor and Path(f"/dev/nvidia{minor[1]}").exists():
            found[file.parent.name] = uuid[1]
    return [found[bus] for bus in sorted(found)]


def _amd() -> list[str]:
    """Names of the GPUs that the ROCm driver lists, where torch can use them: many processors have a small GPU."""
    found = []
    for file in _KFD.glob("*/properties") if _torch_for_rocm() else ():
        with contextlib.suppress(PermissionError):  # hidden from this container
            if re.search(r"^simd_count [1-9]", file.read_text(errors="replace"), re.MULTILINE):  # else a processor
                found.append(int(file.parent.name))
    return [f"kfd-{node}" for node in sorted(found)]


def _torch_for_rocm() -> bool:
    """Whether the installed torch is built for ROCm, without importing it."""
    torch = importlib.util.find_spec("torch")
    version = Path(torch.origin).with_name("version.py") if torch and torch.origin else None
    text = version.read_text(errors="replace") if version and version.is_file() else ""
    return re.search(r"^hip\b.*= *['\"]", text, re.MULTILINE) is not None


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
