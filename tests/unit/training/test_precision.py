import platform

import pytest
import torch

from spectralseg.training.precision import resolve

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx512_f": True, "avx512_bf16": False}, "fp32")],
)
def test_auto_is_bf16_on_cpus_that_support_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve("auto", CPU) == precision
    assert resolve("fp16", CPU) == "fp16"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other CPUs have other instructions")
def test_torch_knows_the_names_of_the_cpu_features():
    assert {"avx512_bf16", "amx_bf16"} <= set(torch.cpu.get_capabilities())


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_on_gpus_that_do_not_emulate_it(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert resolve("auto", torch.device("cuda")) == ("bf16" if native else "fp32")


def test_auto_is_fp32_on_other_devices():
    assert resolve("auto", torch.device("mps")) == "fp32"
