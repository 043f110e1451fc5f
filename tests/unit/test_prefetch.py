import hashlib

import pytest
import torch
from safetensors.torch import save_file
from tests.standins.faults import Fault, serving

from spectralseg import cli, prefetch
from spectralseg.config import validate_config
from spectralseg.data.downloads import https
from spectralseg.errors import InputError
from spectralseg.models import build_model

CONTENT = b"archive"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(https, "PAUSES", (0.0,))


@pytest.fixture
def no_weights(monkeypatch):
    """Requests for weights, recorded instead of downloaded; those of resnet34 fail."""
    requests = []

    def build(name, in_channels, classes, *, encoder, encoder_weights):
        requests.append((name, encoder, encoder_weights))
        if encoder == "resnet34":
            raise InputError("weights of 'resnet34' are not in the cache")

    monkeypatch.setattr("spectralseg.models.build_model", build)
    return requests


def test_all_files_are_downloaded_and_all_failures_reported(tmp_path, study, toy_specification, no_weights, caplog):
    caplog.set_level("INFO")
    with serving(CONTENT) as server:
        source = {"file": "a.txt", "url": server.url, "sha256": hashlib.sha256(CONTENT).hexdigest()}
        specifications = {
            name: toy_specification(name=name, sources=[source]) for name in ("first", "toy", "second", "third")
        }
        study["downloads"] = str(tmp_path)
        study["datasets"] |= {name: {"source": "official"} for name in ("first", "second", "third")}
        study["datasets"]["third"]["mirrors"] = [server.url.rpartition("/")[0]]
        options = study["architectures"]["unet"]
        study["architectures"] |= {
            "one": {**options, "encoder": "resnet34", "encoder_weights": "imagenet"},
            "two": {**options, "encoder": "resnet18", "encoder_weights": "imagenet"},
            "own": {**options, "encoder": "resnet18", "encoder_weights": "encoder.pth"},
        }
        server.faults.append(Fault(status=404))
        with pytest.raises(InputError, match=r"^2 downloads failed: .*first/a\.txt.*404.* \| weights of 'resnet34'"):
            prefetch.prefetch(validate_config(study, "toy.yaml"), specifications)
    assert [(tmp_path / name / "a.txt").exists() for name in specifications] == [False, False, True, True]
    assert no_weights == [("unet", "resnet18", "imagenet"), ("unet", "resnet34", "imagenet")]
    assert "toy: source 'phantom' needs no download" in caplog.text


def test_the_command_reads_configuration_and_dataset_files(repository, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    assert cli.main(["prefetch", "--config", "config/demo.yaml"]) == 0
    assert cli.main(["prefetch", "--config", "config/absent.yaml"]) == 1
    assert "config/absent.yaml" in capsys.readouterr().err


def test_missing_weights_without_a_network_are_reported_with_a_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert cli.main(["weights", "resnet18", "imagenet"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "weights 'imagenet' of encoder 'resnet18' are not in the cache" in error
    assert "run 'spectralseg weights resnet18 imagenet --model unet' where there is a network" in error


def test_weights_in_the_cache_need_no_network(tmp_path, monkeypatch):
    """The cache has the layout of huggingface_hub."""
    from segmentation_models_pytorch.encoders import encoders  # after spectralseg.models, which prepares torchvision

    folder = tmp_path / "models--smp-hub--resnet18.imagenet"
    revision = encoders["resnet18"]["pretrained_settings"]["imagenet"]["revision"]
    (folder / "snapshots" / revision).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    state = build_model("unet", 3, 1, encoder="resnet18").encoder.state_dict()
    state = {name: torch.full_like(value, 0.5) for name, value in state.items()}
    save_file(state, folder / "snapshots" / revision / "model.safetensors")
    (folder / "snapshots" / revision / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = build_model("unet", 3, 1, encoder="resnet18", encoder_weights="imagenet")
    assert (model.encoder.conv1.weight == 0.5).all()
