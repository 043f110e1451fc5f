"""Paths and values with any characters: every command receives them as they are, and none is run."""

import copy
import re

import pytest

from tests.standins import commands

from .conftest import REPOSITORY, TINY, snakemake, write_config
from .test_docs import copy_repository

pytestmark = pytest.mark.workflow

NASTY = """it's "here" $(touch PWNED) `touch PWNED`; touch PWNED & é λ #"""
RULES = {"fetch", "weights", "phantom", "prepare", "leakage", "card", "train", "evaluate", "collect", "compare"}


def nasty_study():
    """Every source of raw files, and metacharacters in every value that may hold any."""
    study = copy.deepcopy(TINY)
    (architecture,) = study["architectures"].values()
    study["downloads"] = f"downloads {NASTY}"
    study["datasets"] |= {
        "kvasir_seg": {"source": "path", "path": f"raw {NASTY}", "split": f"split {NASTY}.csv"},
        "isic2018": {"source": "official", "mirrors": ["https://example.org/$(touch${IFS}PWNED)'\"`;&"]},
    }
    study["architectures"] = {
        "unet": {**architecture, "encoder_weights": f"weights {NASTY}.pt"},
        "other": {**architecture, "encoder": "resnet18", "encoder_weights": "imagenet"},
    }
    study["grid"]["main"]["architectures"] = ["unet", "other"]
    return study


def test_values_and_paths_may_hold_any_characters(tmp_path):
    directory, repository = tmp_path / f"directory {NASTY}", tmp_path / f"repository {NASTY}"
    directory.mkdir()
    copy_repository(repository)
    study = nasty_study()
    raw = directory / study["datasets"]["kvasir_seg"]["path"]
    raw.mkdir()
    (raw / "1.png").touch()
    (directory / study["datasets"]["kvasir_seg"]["split"]).write_text("case,part\n1,train\n")
    (directory / study["architectures"]["unet"]["encoder_weights"]).write_text("weights")
    stand_ins = commands.install(tmp_path / "bin")
    config = write_config(directory, study, f"study {NASTY}.yaml")
    snakemake(directory, "--cores", 2, "--configfile", config, repository=repository, **stand_ins, LC_ALL="C")

    assert not [*tmp_path.rglob("PWNED"), *REPOSITORY.rglob("PWNED")]
    called = commands.calls(tmp_path / "bin")
    programs = {call[1] for call in called if call[0] == "spectralseg"}
    assert programs == RULES | {"claims", "report"}
    assert "papermill" in {call[0] for call in called}
    words = {word for call in called for word in call}
    assert {study["datasets"]["kvasir_seg"][key] for key in ("path", "split")} <= words
    assert study["datasets"]["isic2018"]["mirrors"][0] in words
    assert f"{study['downloads']}/isic2018" in words
    assert any(word.endswith(f"{repository.name}/workflow/rules/datasets/kvasir_seg.smk") for word in words)


def test_every_value_in_a_shell_command_is_quoted():
    """Also those whose values cannot be nasty today. Numbers of threads and redirections are Snakemake's own."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in REPOSITORY.glob("workflow/rules/**/*.smk"))
    shells = re.findall(r"(?:shell:|^NOTEBOOK = \()((?:\s+[\"'].*[\"'])+)", text, re.MULTILINE)
    assert len(shells) >= len(RULES) + 3
    fields = {field for shell in shells for field in re.findall(r"\{(.*?)\}", shell)}
    assert {field for field in fields if not field.endswith(":q")} == {"threads"}
    assert not re.search(r"\$\(|`", "".join(shells))


@pytest.mark.parametrize("place", ["repository", "downloads", "path"])
def test_braces_in_paths_are_refused_in_one_sentence(tmp_path, place):
    study, repository = copy.deepcopy(TINY), REPOSITORY
    if place == "repository":
        repository = tmp_path / "a {b}"
        copy_repository(repository)
    elif place == "downloads":
        study["downloads"] = "a {b}"
    else:
        study["datasets"]["kvasir_seg"] = {"source": "path", "path": "a {b}"}
    config = write_config(tmp_path, study)
    done = snakemake(tmp_path, "--dry-run", "--cores", 1, "--configfile", config, repository=repository, check=False)
    assert done.returncode == 1
    text = done.stdout + done.stderr
    assert "braces" in text
    assert "Traceback" not in text
