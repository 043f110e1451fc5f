import importlib.util
import platform
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from spectralseg.operations import devices
from spectralseg.operations.devices import assigned_by_slurm, parse_listing, visible_devices

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 3g.20gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA A100 (PCIe) (UUID: GPU-0e64e7ed-ba8d-1a60-8d53-a1b29a59a1a0)
"""


def test_the_listing_of_the_driver_has_gpus_and_mig_instances():
    assert parse_listing(LISTING) == [
        "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
        "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
        "GPU-0e64e7ed-ba8d-1a60-8d53-a1b29a59a1a0",
    ]
    assert parse_listing("No devices were found\n") == []


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (None, [("GPU-a1", "GPU-a1"), ("GPU-a2", "GPU-a2"), ("GPU-b1", "GPU-b1")]),
        ("2,0", [("GPU-b1", "2"), ("GPU-a1", "0")]),
        ("GPU-b", [("GPU-b1", "GPU-b")]),
        ("GPU-a", []),
        ("0,-1,2", [("GPU-a1", "0")]),
        ("1,GPU-a2,1", [("GPU-a2", "1")]),
        ("7", []),
        ("", []),
        ("NoDevFiles", []),
        (" 1 , 2 ", [("GPU-a2", "1"), ("GPU-b1", "2")]),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(variable, expected):
    environment = {"SPECTRALSEG_DEVICES": "GPU-a1,GPU-a2,GPU-b1"}
    if variable is not None:
        environment["CUDA_VISIBLE_DEVICES"] = variable
    visible = visible_devices(environment)
    assert [(device.identity, device.value) for device in visible] == expected
    assert {device.variable for device in visible} <= {"CUDA_VISIBLE_DEVICES"}


@pytest.mark.parametrize(
    ("environment", "assigned"),
    [
        ({}, False),
        ({"CUDA_VISIBLE_DEVICES": "0"}, False),
        ({"SLURM_JOB_ID": "1"}, False),
        ({"SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "3"}, True),
        ({"SLURM_JOB_ID": "1", "ROCR_VISIBLE_DEVICES": "3"}, True),
        ({"SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "0,1"}, False),
    ],
)
def test_a_single_visible_device_is_assigned_by_slurm(environment, assigned):
    assert assigned_by_slurm(environment) is assigned


def test_nvidia_smi_is_used_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    answer = subprocess.CompletedProcess([], 0, stdout=LISTING)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert [device.value for device in visible_devices({"CUDA_VISIBLE_DEVICES": "1,GPU-0e"})] == ["1", "GPU-0e"]


def test_a_driver_that_does_not_answer_means_no_devices(monkeypatch):
    def fail(*_, **__):
        raise subprocess.CalledProcessError(9, "nvidia-smi")

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(devices, "_amd", lambda: [])
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert visible_devices({}) == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, [("kfd-1", "0"), ("kfd-2", "1"), ("kfd-4", "2")]),
        ({"HIP_VISIBLE_DEVICES": "2,0"}, [("kfd-4", "2"), ("kfd-1", "0")]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [("kfd-2", "1")]),
        ({"ROCR_VISIBLE_DEVICES": "2,1"}, [("kfd-4", "0"), ("kfd-2", "1")]),
        ({"ROCR_VISIBLE_DEVICES": "2,1", "HIP_VISIBLE_DEVICES": "1"}, [("kfd-2", "1")]),
    ],
)
def test_amd_devices_are_numbered_as_hip_counts_them(monkeypatch, environment, expected):
    monkeypatch.setattr(devices, "_nvidia", lambda: [])
    monkeypatch.setattr(devices, "_amd", lambda: ["kfd-1", "kfd-2", "kfd-4"])
    visible = visible_devices(environment)
    assert [(device.identity, device.value) for device in visible] == expected
    assert {device.variable for device in visible} == {"HIP_VISIBLE_DEVICES"}


@pytest.fixture
def nodes_of_amd(tmp_path, monkeypatch):
    """A CPU, a GPU that is hidden from this container, and two visible GPUs, as listed by the ROCm driver."""
    for node, units in {0: 0, 1: 60, 2: 304, 10: 304}.items():
        (tmp_path / str(node)).mkdir()
        (tmp_path / str(node) / "properties").write_text(f"cpu_cores_count 8\nsimd_count {units}\nmem_banks_count 1\n")
    read = Path.read_text

    def refuse(path, *arguments, **options):
        if path == tmp_path / "1" / "properties":
            raise PermissionError(1, "Operation not permitted", str(path))
        return read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(devices, "_KFD", tmp_path)
    monkeypatch.setattr(devices, "_nvidia", lambda: [])


def torch_with(monkeypatch, folder, hip):
    (folder / "version.py").write_text(f"cuda: Optional[str] = None\nhip: Optional[str] = {hip!r}\nrocm = None\n")
    torch_spec = SimpleNamespace(origin=str(folder / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: torch_spec)


def test_amd_devices_that_a_container_hides_do_not_count(nodes_of_amd, monkeypatch, tmp_path):
    torch_with(monkeypatch, tmp_path, "6.4.43482")
    assert [device.identity for device in visible_devices({})] == ["kfd-2", "kfd-10"]


def test_amd_devices_need_a_torch_built_for_rocm(nodes_of_amd, monkeypatch, tmp_path):
    torch_with(monkeypatch, tmp_path, None)
    assert visible_devices({}) == []


def test_an_apple_computer_has_one_device(monkeypatch):
    monkeypatch.setattr(devices, "_nvidia", lambda: [])
    monkeypatch.setattr(devices, "_amd", lambda: [])
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert [(device.identity, device.variable) for device in visible_devices({})] == [("mps", "")]
