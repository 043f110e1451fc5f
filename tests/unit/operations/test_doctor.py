import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
import yaml

from spectralseg import cli, grid
from spectralseg.building import model_of, without_files
from spectralseg.config import validate_config
from spectralseg.data.prepared import identity_of
from spectralseg.data.specification import read_specifications
from spectralseg.errors import InputError
from spectralseg.models._masked_autoencoder import partition
from spectralseg.operations import doctor
from spectralseg.operations.throughput import DOCTOR
from spectralseg.training.settings import settings_of


@pytest.fixture
def specifications(repository):
    return read_specifications(repository / "workflow/rules/datasets")


@pytest.fixture
def phantoms(study):
    """A study of one small phantom."""
    study["datasets"] = {"kvasir_seg": {"source": "phantom"}}
    study["grid"]["main"]["datasets"] = study["evaluation"]["noise"]["datasets"] = ["kvasir_seg"]
    return study


def levels(findings):
    return [(finding.level, finding.subject) for finding in findings]


def test_this_environment_has_no_problems(repository):
    assert levels(doctor.python()) == [("ok", "python")]
    assert "problem" not in [
        level for level, _ in levels(doctor.packages(repository / "envs/requirements.lock", recheck=True))
    ]


def test_versions_that_differ_from_the_lock_are_reported(tmp_path):
    (tmp_path / "lock").write_text("numpy==0.1\ntorch==0.2\nnot-installed==3\n")
    (finding,) = doctor.packages(tmp_path / "lock", recheck=True)
    assert (finding.level, finding.subject) == ("note", "packages")
    assert "instead of 0.1" in finding.text
    assert "not-installed" not in finding.text


@pytest.mark.parametrize("package", ["numpy", "timm", "snakemake", "opencv-python-headless", "medpy"])
def test_a_missing_package_is_a_problem(monkeypatch, tmp_path, package):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == package else "1")
    problem, note = doctor.packages(tmp_path / "none", recheck=True)
    assert (problem.level, problem.subject) == ("problem", "packages")
    assert problem.text == f"missing: {package}; pip install 'spectralseg[all,reference]'"
    assert note.level == "note"


@pytest.mark.parametrize("package", ["medpy", "onnx", "mkdocs-material", "pytest"])
def test_packages_that_a_study_does_not_need_may_be_missing(monkeypatch, tmp_path, package):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == package else "1")
    assert levels(doctor.packages(tmp_path / "none", recheck=False)) == [("note", "packages")]


def test_a_gpu_that_torch_cannot_see_is_a_problem(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setenv("SPECTRALSEG_DEVICES", "GPU-a,GPU-b")
    assert "2 device(s) are available, but torch" in str(list(doctor.devices())[-1])
    monkeypatch.setenv("SPECTRALSEG_DEVICES", "")
    (*_, finding) = doctor.devices()
    assert (finding.level, finding.subject) == ("note", "GPU")


def test_a_full_disk_is_a_problem(tmp_path, monkeypatch):
    assert levels(doctor.disk(tmp_path / "results", 0, 1)) == [("ok", "disk")]
    assert levels(doctor.disk(tmp_path / "results", 0, 10**24)) == [("problem", "disk")]
    small = shutil.disk_usage(tmp_path)._replace(total=2**26)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: small)
    if Path("/dev/shm").is_dir():
        assert ("problem", "shared memory") in levels(doctor.disk(tmp_path, 2, 0))


def test_missing_downloads_are_reported_with_their_reachability(study, specifications, tmp_path, monkeypatch):
    study["datasets"] = {
        "monuseg": {"source": "official"},
        "isic2018": {"source": "official"},
        "acdc": {"source": "path", "path": str(tmp_path / "none")},
        "btseg": {"source": "phantom"},
        "kvasir_seg": {"source": "official"},
    }
    study["grid"]["main"]["datasets"] = study["evaluation"]["noise"]["datasets"] = ["monuseg"]
    study["downloads"] = str(tmp_path / "downloads")
    config = validate_config(study, "toy.yaml", specifications)
    (tmp_path / "downloads/isic2018").mkdir(parents=True)
    (tmp_path / "downloads/isic2018/sources.json").touch()
    (tmp_path / "results/prepared/kvasir_seg").mkdir(parents=True)
    (tmp_path / "results/prepared/kvasir_seg/dataset.json").touch()
    findings = list(doctor.archives(config, specifications, tmp_path / "results"))
    assert levels(findings) == [
        ("problem", "network"),
        ("ok", "data"),
        ("problem", "data"),
        ("ok", "data"),
        ("ok", "data"),
    ]
    assert "cannot be reached" in findings[0].text
    monkeypatch.setattr(requests, "head", lambda *_, **__: None)
    findings = list(doctor.archives(config, specifications, tmp_path / "results"))
    assert (findings[0].level, findings[0].subject) == ("note", "network")


@pytest.mark.parametrize("name", ["atlas", "orcascore", "coca"])
def test_datasets_that_cannot_be_downloaded_need_a_path(study, specifications, tmp_path, name):
    study["datasets"] = {name: {"source": "official"}}
    study["grid"]["main"]["datasets"] = study["evaluation"]["noise"]["datasets"] = [name]
    (finding,) = doctor.archives(validate_config(study, "toy.yaml"), specifications, tmp_path)
    assert (finding.level, finding.subject) == ("problem", "data")
    assert f"; register at {specifications[name].homepage}, and set 'source: path' with the 'path'" in finding.text
    with pytest.raises(InputError, match=rf"^toy\.yaml: datasets\.{name}\.source: .* has no 'sources' to download; "):
        validate_config(study, "toy.yaml", specifications)
    study["datasets"] = {name: {"source": "path", "path": "own"}}
    validate_config(study, "toy.yaml", specifications)


def test_models_that_cannot_work_are_a_problem(study, toy_specification):
    """Without prepared data or weights, and on the meta device if possible."""
    small = study["architectures"]["unet"]
    study["architectures"] = {
        "unet": small,
        "half": {**small, "model": "fpn", "options": {"upsampling": 2}},
        "heads": {**study["architectures"]["transunet"], "options": {"width": 30, "heads": 8}},
        "pooled": {"model": "deeplabv3", "encoder": "resnet18", "encoder_weights": None},
        "idle": {**small, "encoder": "tu-no_such"},
    }
    study["grid"]["main"]["architectures"] = ["unet", "half", "heads", "pooled"]
    study["training"]["batch_size"], study["image_size"] = 1, 64
    findings = list(doctor.models(validate_config(study, "toy.yaml"), {"toy": toy_specification()}))
    assert [(finding.level, finding.subject) for finding in findings] == [
        ("ok", "models"), *[("problem", "models")] * 3,
    ]  # fmt: skip
    for finding, message in zip(
        findings[1:],
        [
            r"architectures\.half: .* returns \(1, 1, 32, 32\)",
            r"architectures\.heads: model 'transunet' .* cannot be built: .*divisible",
            r"architectures\.pooled: the model cannot compute a batch of shape \(1, 3, 64, 64\) \(Expected more than 1",
        ],
        strict=True,
    ):
        assert re.match(message, finding.text)


def test_models_with_masked_autoencoders_are_built_without_their_files(pretrained_study, toy_specification):
    partition.cache_clear()
    config = validate_config(pretrained_study, "toy.yaml")
    findings = list(doctor.models(config, {"toy": toy_specification()}))
    assert [str(finding) for finding in findings if finding.level != "ok"] == []
    model = model_of(without_files(config, "control"), 3, 1)
    assert [residual_map.autoencoder.sizes for residual_map in model.maps] == [config.pretraining["untrained"].sizes]


def test_objectives_that_cannot_work_are_a_problem(study, toy_specification):
    """Without prepared data."""
    study["objectives"] |= {
        "negative": {"base": "dice", "base_options": {"smooth": -1}},
        "beyond": {"base": "bce_dice", "auxiliary": "spectral", "auxiliary_options": {"band": [500, 600]}},
    }
    study["grid"]["main"]["objectives"] = ["spatial", "negative", "beyond"]
    spatial, negative, beyond = doctor.objectives(validate_config(study, "toy.yaml"), {"toy": toy_specification()})
    assert (spatial.level, negative.level, beyond.level) == ("ok", "problem", "problem")
    assert negative.text.startswith("objectives.negative: objective 'dice': option 'smooth' cannot be -1")
    assert re.match(r"objectives\.beyond: the objective does not suit images .*band \(500, 600\)", beyond.text)


def test_weights_that_are_not_in_the_cache_are_a_problem(study, tmp_path, monkeypatch):
    def fail(model, encoder, name):
        raise InputError(f"{name}: run spectralseg weights")

    monkeypatch.setattr(doctor, "_load_offline", fail)
    study["architectures"]["unet"]["encoder_weights"] = "imagenet"
    study["architectures"]["transunet"]["encoder_weights"] = str(tmp_path / "none.pt")
    findings = list(doctor.weights(validate_config(study, "toy.yaml")))
    assert levels(findings) == [("problem", "weights"), ("problem", "weights")]
    assert {"spectralseg weights" in finding.text for finding in findings} == {True, False}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({}, [("note", "SLURM")]),
        ({"sinfo": "gpu* 2 gpu:4", "sacct": ""}, [("ok", "SLURM")]),
        ({"sinfo": "all 2 (null)", "sacct": ""}, [("ok", "SLURM"), ("note", "SLURM")]),
        ({"sinfo": "gpu* 2 gpu:4"}, [("ok", "SLURM"), ("note", "SLURM")]),
    ],
    ids=["silent", "healthy", "no devices", "no accounting"],
)
def test_slurm_is_queried(monkeypatch, answers, expected):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(doctor, "_output", lambda name, *_: {"sbatch": "slurm 22", **answers}.get(name))
    assert levels(doctor.slurm()) == expected


def test_a_missing_slurm_is_not_a_problem(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert levels(doctor.slurm()) == [("note", "SLURM")]


@pytest.mark.parametrize(
    ("loading", "step", "level", "message"),
    [(0.1, 0.05, "note", "loading is the bottleneck, 2.0 times"), (0.02, 0.1, "ok", "the step is the bottleneck, 5.0")],
)
def test_the_bottleneck_is_reported(loading, step, level, message):
    seconds = {"loading": loading, "step": step, "together": loading + step}
    finding = doctor.measurement({"seconds": seconds, "device_name": "cpu", "workers": 0})
    assert finding.level == level
    assert message in finding.text


@pytest.fixture
def run(phantoms, repository, tmp_path, monkeypatch, capsys):
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(phantoms))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)

    def run(*arguments):
        datasets = str(repository / "workflow/rules/datasets")
        status = cli.main(["doctor", "toy.yaml", "--datasets", datasets, *arguments])
        return status, *capsys.readouterr()

    return run


def test_the_quick_checks_need_neither_gpu_nor_slurm(run, tmp_path):
    status, output, errors = run("--quick")
    assert (status, errors) == (0, "")
    assert "PROBLEM" not in output
    assert not (tmp_path / "results").exists()


def test_a_problem_sets_the_exit_status(run, monkeypatch):
    monkeypatch.setattr(doctor, "python", lambda: iter([doctor.Finding("problem", "python", "too old; renew it")]))
    status, output, errors = run("--quick")
    assert status == 1
    assert "PROBLEM  python: too old; renew it" in output
    assert errors.startswith("error: 1 of ")


@pytest.mark.slow
def test_disk_space_is_required_for_remaining_runs(phantoms, tmp_path):
    config = validate_config(phantoms, "toy.yaml")
    run = tmp_path / "runs" / grid.runs(config)[0].folder
    other = tmp_path / "runs" / "kvasir_seg" / "unet" / "spatial" / "lambda0" / "seed9"
    whole = doctor._required_space(config, tmp_path)
    for folder in (run, other):
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(b"0" * 1000)
    assert doctor._required_space(config, tmp_path) == whole - 1000 > 0
    (run / "model.pt").write_bytes(b"0" * (whole + 1))
    assert doctor._required_space(config, tmp_path) == 0


def test_outdated_and_left_out_runs_are_reported(phantoms, tmp_path):
    config = validate_config(phantoms, "toy.yaml")
    first, second = grid.runs(config)
    for run in (first, second, dataclasses.replace(first, seed=9)):
        (tmp_path / "runs" / run.folder).mkdir(parents=True)
        for name in ("model.pt", "history.jsonl"):
            (tmp_path / "runs" / run.folder / name).touch()
    data = {**identity_of({}), "name": "kvasir_seg", "image_size": 64, "source": "phantom"}
    described = {**settings_of(config, first, data), "seconds": 1.0}
    (tmp_path / "runs" / first.folder / "run.json").write_text(json.dumps(described))
    (tmp_path / "runs" / second.folder / "run.json").write_text("{")
    outdated, unreadable, left_out = doctor.trained_runs(config, tmp_path)
    assert (outdated.level, unreadable.level, left_out.level) == ("note", "problem", "note")
    assert f"1 outdated, first {first.folder}: 'data.image_size' differs" in outdated.text
    assert f"{second.folder}/run.json: cannot be read as JSON" in unreadable.text
    assert left_out.text == "Left out, as the configuration does not name them: 1 run."


def test_masked_autoencoders_are_checked_as_runs_are(pretrained_study, tmp_path):
    config = validate_config(pretrained_study, "toy.yaml")
    whole = doctor._required_space(config, tmp_path)
    for name in ("half", "untrained", "other"):
        (tmp_path / "pretraining/toy" / name).mkdir(parents=True)
        for file in ("model.pt", "history.jsonl", "map_quality.csv", "residual_maps.png"):
            (tmp_path / "pretraining/toy" / name / file).touch()
    data = {**identity_of({}), "name": "toy", "image_size": 64, "source": "phantom"}
    described = {**settings_of(config, grid.Autoencoder("toy", "half"), data), "seconds": 1.0}
    (tmp_path / "pretraining/toy/half/run.json").write_text(json.dumps(described))
    (tmp_path / "pretraining/toy/untrained/run.json").write_text("{")
    outdated, unreadable, left_out = doctor.trained_runs(config, tmp_path)
    assert levels([outdated, unreadable]) == [("note", "autoencoders"), ("problem", "autoencoders")]
    assert "1 outdated, first pretraining/toy/half: 'data.image_size' differs" in outdated.text
    assert "pretraining/toy/untrained/run.json: cannot be read as JSON" in unreadable.text
    assert left_out.text == "Left out, as the configuration does not name them: 1 autoencoder."
    used = sum(file.stat().st_size for file in tmp_path.glob("pretraining/toy/[hu]*/*"))
    assert doctor._required_space(config, tmp_path) == whole - used > 0


def test_a_dataset_prepared_with_other_settings_is_reported(phantoms, specifications, tmp_path):
    folder = tmp_path / "prepared" / "kvasir_seg"
    folder.mkdir(parents=True)
    for size, level in ((32, "ok"), (64, "note")):
        (folder / "dataset.json").write_text(json.dumps({"image_size": size, "source": "phantom"}))
        (finding,) = doctor.archives(validate_config(phantoms, "toy.yaml"), specifications, tmp_path)
        assert (finding.level, "'image_size' differs" in finding.text) == (level, level == "note")


def test_weights_are_checked_without_a_network(phantoms, specifications, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for _ in doctor.examine(validate_config(phantoms, "toy.yaml"), specifications, tmp_path, None):
        assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.slow
def test_the_measurement_separates_loading_and_step_and_is_saved_for_plans(run, tmp_path):
    status, output, _ = run("--seconds", "0.3", "--json")
    assert status == 0
    seconds = json.loads(output)["speed"]["seconds"]
    assert all(seconds[key] > 0 for key in ("loading", "step", "together"))
    assert json.loads((tmp_path / "results/toy" / DOCTOR).read_text())["seconds"] == seconds
    assert {"ok", "note"} >= {finding["level"] for finding in json.loads(output)["findings"]}


def test_a_command_that_hangs_or_fails_has_no_output(monkeypatch):
    def fail(*_, **__):
        raise subprocess.TimeoutExpired("sinfo", 30)

    assert doctor._output("no-such-command-here") is None
    monkeypatch.setattr(subprocess, "run", fail)
    assert doctor._output("sinfo") is None
