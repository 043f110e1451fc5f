"""What ``precision: auto`` means on a device."""

from __future__ import annotations

import torch

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_CPU_BF16 = ("avx512_bf16", "amx_bf16")  # CPU features; without them bf16 is emulated, which is slower than fp32


def resolve(precision: str, device: torch.device) -> str:
    """The precision of the forward pass on a device: ``auto`` is bf16 where the hardware computes it, else fp32.

    Returns:
        A key of :data:`AUTOCAST`.
    """
    if precision != "auto":
        return precision
    return "bf16" if _computes_bf16(device.type) else "fp32"


def _computes_bf16(kind: str) -> bool:
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and any(torch.cpu.get_capabilities().get(name) for name in _CPU_BF16)
