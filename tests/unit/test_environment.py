"""The lock file, the environments derived from it, and the isolation of tests from SLURM."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from tests.conftest import SLURM_COMMANDS, hide_slurm


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def pins(repository):
    lines = (repository / "envs" / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_conda_environment_and_container_are_derived_from_the_lock(repository, pins):
    done = subprocess.run(
        [sys.executable, repository / "envs" / "derive.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    environment = yaml.safe_load((repository / "envs" / "environment.yaml").read_text(encoding="utf-8"))
    assert dict(line.split("==") for line in environment["dependencies"][-1]["pip"]) == pins


def test_workarounds_for_the_slurm_executor_are_of_its_version(repository, pins):
    text = (repository / "workflow" / "rules" / "common" / "slurm_executor.smk").read_text(encoding="utf-8")
    (version,) = re.findall(r"snakemake-executor-plugin-slurm (\d[\d.]*\d)", text)
    assert version == pins["snakemake-executor-plugin-slurm"], "check whether the workarounds are still needed"


@pytest.fixture(scope="module")
def docs_pins(repository):
    """Versions and checksums of the packages that build the documentation site."""
    text = (repository / "envs" / "docs.lock").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line.split() for line in text.splitlines()]
    return {name: (version, checksums) for pin, *checksums in lines for name, version in [pin.split("==")]}


def names_of(requirements):
    return {canonical(re.match(r"[\w.-]+", requirement).group()) for requirement in requirements}


def test_every_dependency_is_pinned(repository, pins, docs_pins):
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [
        *project["dependencies"],
        *(name for extra, names in extras.items() if extra != "docs" for name in names),
    ]
    own = {"spectralseg"}  # extras that include others
    assert names_of(requirements) - own <= {canonical(name) for name in pins}
    assert names_of(extras["docs"]) <= docs_pins.keys()


def test_the_site_is_built_with_the_versions_of_the_lock_file(pins, docs_pins):
    locked = {canonical(name): version for name, version in pins.items()}
    shared = docs_pins.keys() & locked.keys()
    assert {name: docs_pins[name][0] for name in shared} == {name: locked[name] for name in shared}
    assert "pyyaml" in shared


def test_the_packages_of_the_site_are_installed_with_checksums(repository, docs_pins):
    for _, checksums in docs_pins.values():
        assert checksums
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", checksum) for checksum in checksums)
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    assert "--no-deps --require-hashes --requirement envs/docs.lock" in makefile


def test_torch_and_torchvision_match(pins):
    assert (pins["torch"], pins["torchvision"]) == ("2.13.0", "0.28.0")
    assert pins["albumentations"] == "2.0.8", "the last release under the MIT licence"


def test_the_lock_names_no_index_and_no_local_file(repository):
    text = (repository / "envs" / "requirements.lock").read_text(encoding="utf-8")
    assert "--" not in text
    assert "://" not in text
    assert "+cpu" not in text


def test_the_lock_with_checksums_has_the_same_versions(repository, pins):
    text = (repository / "envs" / "hashes.lock").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert dict(line[0].split("==") for line in lines) == {
        name: version for name, version in pins.items() if name not in ("torch", "torchvision")
    }
    assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", digest) for line in lines for digest in line[1:])
    assert all(len(line) > 1 for line in lines)
    assert "://" not in text


def test_environments_are_installed_with_checksums(repository):
    for file in ("Makefile", "envs/Containerfile"):
        text = (repository / file).read_text(encoding="utf-8")
        assert "--no-deps --require-hashes --requirement envs/hashes.lock" in text


@pytest.mark.slow
def test_torchvision_imports_with_this_torch():
    done = subprocess.run(
        [sys.executable, "-c", "import spectralseg.models, torchvision, timm"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_tests_find_no_slurm_on_this_machine():
    assert [command for command in sorted(SLURM_COMMANDS) if shutil.which(command)] == []


def test_hiding_slurm_keeps_all_other_commands(tmp_path, monkeypatch):
    login_node, other = tmp_path / "bin", tmp_path / "other"
    for folder, names in {login_node: ("sinfo", "squeue", "mine"), other: ("yours",)}.items():
        folder.mkdir()
        for name in names:
            (folder / name).touch(mode=0o755)
    path = f"{login_node}{os.pathsep}{other}"
    monkeypatch.setenv("PATH", path)
    restore = hide_slurm()
    assert (shutil.which("sinfo"), shutil.which("squeue")) == (None, None)
    assert Path(shutil.which("mine")).resolve() == login_node / "mine"
    assert shutil.which("yours") == str(other / "yours")
    linked = Path(shutil.which("mine")).parent
    restore()
    assert os.environ["PATH"] == path
    assert not linked.exists()
    assert (login_node / "mine").exists()
