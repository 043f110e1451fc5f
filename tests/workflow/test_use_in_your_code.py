"""The code of the page on the use in other training loops runs as printed."""

import importlib.util
import re

import pytest
import torch

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "use-in-your-code.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
pytestmark = pytest.mark.slow


def run_section(name, capsys, **variables):
    """Run the code of a section with a loader of two batches; returns its variables and what it prints."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(4, 64, 64, dtype=torch.long)
    masks[:, 16:48, 20:44] = 1
    images = masks[:, None] + 0.1 * torch.randn(4, 1, 64, 64, generator=generator)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, masks), batch_size=2)
    torch.manual_seed(0)
    variables["loader"] = loader
    for code in re.findall(r"```python\n(.*?)```", SECTIONS[name], re.DOTALL):
        exec(code, variables)
    return variables, capsys.readouterr().out


def test_a_pytorch_loop(capsys):
    variables, printed = run_section("PyTorch", capsys)
    assert torch.isfinite(variables["loss"])
    assert set(variables["parts"]) == {"cross_entropy", "dice", "spectral"}
    values = [line.split() for line in printed.splitlines()[1:]]
    assert len(values) == 2
    assert all(0 <= float(dice) <= 1 for dice, _ in values)


def test_a_monai_loop(capsys):
    variables, printed = run_section("MONAI", capsys)
    assert torch.isfinite(variables["loss"])
    assert 0 <= float(printed.removeprefix("HD95 in mm: ")) <= 1.4 * 64 * 2**0.5 + 1e-3
    assert variables["distance"].get_buffer() is None


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="Lightning is not installed")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_lightning_module(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from spectralseg import models  # noqa: F401  # makes torchvision importable, which Lightning imports

    variables, printed = run_section("Lightning", capsys)
    dsc = float(printed.splitlines()[-1].removeprefix("DSC: "))
    assert 0 <= dsc <= 1
    assert variables["trainer"].state.finished
