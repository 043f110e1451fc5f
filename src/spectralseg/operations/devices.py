"""Accelerators that a process may use, detected without torch, which selects its devices when CUDA starts."""

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

# Environment variable: comma-separated ids that replace the devices of this machine; empty for none.
SIMULATED = "SPECTRALSEG_DEVICES"

_KFD = Path("/sys/class/kfd/kfd/topology/nodes")
_GPU = re.compile(r"^GPU \d+: .*\(UUID: (GPU-[^)]+)\)")
_MIG = re.compile(r"^\s+MIG .*\(UUID: (MIG-[^)]+)\)")


@dataclass(frozen=True)
class Device:
    """One accelerator.

    Attributes:
        identity: id of the device, the same for all processes of this machine.
        variable: environment variable that binds a process to the device; empty if there is only one device.
        value: value of that variable for this device.
    """

    identity: str
    variable: str
    value: str


def visible_devices(environment: Mapping[str, str] = os.environ) -> list[Device]:
    """The accelerators that this process may use, in their order; empty if there are none.

    These are the NVIDIA devices that ``CUDA_VISIBLE_DEVICES`` selects by indices, UUIDs or prefixes of UUIDs, where MIG
    instances count as devices; otherwise AMD devices under ROCm; otherwise the GPU of an Apple computer.
    """
    if SIMULATED in environment:
        return _selected(_split(environment[SIMULATED]), environment, "CUDA_VISIBLE_DEVICES")
    if nvidia := _nvidia():
        return _selected(nvidia, environment, "CUDA_VISIBLE_DEVICES")
    if amd := _amd():
        if "ROCR_VISIBLE_DEVICES" in environment:  # HIP counts the devices that this variable selects
            amd = [device.identity for device in _selected(amd, environment, "ROCR_VISIBLE_DEVICES")]
        variable = next((v for v in ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES") if v in environment), None)
        selected = _selected(amd, environment, variable or "HIP_VISIBLE_DEVICES")
        return [Device(d.identity, "HIP_VISIBLE_DEVICES", str(amd.index(d.identity))) for d in selected]
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return [Device("mps", "", "")]
    return []


def cpu_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def assigned_by_slurm(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a SLURM job with exactly one assigned device."""
    assigned = environment.get("CUDA_VISIBLE_DEVICES") or environment.get("ROCR_VISIBLE_DEVICES") or ""
    return "SLURM_JOB_ID" in environment and len(_split(assigned)) == 1


def _selected(installed: Sequence[str], environment: Mapping[str, str], variable: str) -> list[Device]:
    """The installed devices that an environment variable selects; all if it is not set."""
    if variable not in environment:
        return [Device(identity, variable, identity) for identity in installed]
    selected: dict[str, Device] = {}
    for token in _split(environment[variable]):
        identity = _identity(token, installed)
        if identity is None:  # CUDA ignores everything from the first invalid entry on
            break
        selected.setdefault(identity, Device(identity, variable, token))
    return list(selected.values())


def _identity(token: str, installed: Sequence[str]) -> str | None:
    """The installed device with an index or a prefix of an id; None if there is not exactly one.

    An index counts in the order of the driver. CUDA may count the fastest device first, so a process is bound by the
    index itself, not by the id.
    """
    if token.isdecimal():
        return installed[int(token)] if int(token) < len(installed) else None
    matches = [identity for identity in installed if identity.startswith(token)]
    return matches[0] if len(matches) == 1 else None


def _nvidia() -> list[str]:
    """UUIDs of the GPUs of this machine or container; for a partitioned GPU, those of its MIG instances."""
    if not shutil.which("nvidia-smi"):
        return _nvidia_from_proc()
    try:
        process = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):  # training cannot use a driver that does not answer
        return []
    return parse_listing(process.stdout)


def parse_listing(text: str) -> list[str]:
    """UUIDs in the output of ``nvidia-smi -L``."""
    gpus: list[list[str]] = []
    for line in text.splitlines():
        if gpu := _GPU.match(line):
            gpus.append([gpu[1]])
        elif instance := _MIG.match(line):
            gpus[-1].append(instance[1])
    return [identity for gpu, *instances in gpus for identity in instances or [gpu]]


def _nvidia_from_proc() -> list[str]:
    """UUIDs in a container with the driver but without its tools; only of devices that are passed into it."""
    uuids = {}
    for file in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        text = file.read_text(errors="replace")
        uuid, minor = re.search(r"GPU UUID:\s+(GPU-\S+)", text), re.search(r"Device Minor:\s+(\d+)", text)
        if uuid and minor and Path(f"/dev/nvidia{minor[1]}").exists():
            uuids[file.parent.name] = uuid[1]
    return [uuids[bus] for bus in sorted(uuids)]


def _amd() -> list[str]:
    """Ids of the GPUs of the ROCm driver, if torch is built for ROCm: many CPUs have a small integrated GPU."""
    nodes = []
    for file in _KFD.glob("*/properties") if _torch_for_rocm() else ():
        with contextlib.suppress(PermissionError):  # not visible in this container
            if re.search(r"^simd_count [1-9]", file.read_text(errors="replace"), re.MULTILINE):  # a CPU has none
                nodes.append(int(file.parent.name))
    return [f"kfd-{node}" for node in sorted(nodes)]


def _torch_for_rocm() -> bool:
    """Whether the installed torch is built for ROCm, detected without importing it."""
    torch = importlib.util.find_spec("torch")
    version = Path(torch.origin).with_name("version.py") if torch and torch.origin else None
    text = version.read_text(errors="replace") if version and version.is_file() else ""
    return re.search(r"^hip\b.*= *['\"]", text, re.MULTILINE) is not None


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
