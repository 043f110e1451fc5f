"""One lock, and what is derived from it."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def pins(repository):
    lines = (repository / "envs" / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_conda_environment_and_container_follow_from_the_lock(repository, pins):
    done = subprocess.run(
        [sys.executable, repository / "envs" / "derive.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    environment = yaml.safe_load((repository / "envs" / "environment.yaml").read_text(encoding="utf-8"))
    assert dict(line.split("==") for line in environment["dependencies"][-1]["pip"]) == pins


def test_every_dependency_is_pinned(repository, pins):
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {canonical(re.match(r"[\w.-]+", requirement).group()) for requirement in wanted}
    assert names <= {canonical(name) for name in pins}


def test_torch_and_torchvision_belong_together(pins):
    assert (pins["torch"], pins["torchvision"]) == ("2.13.0", "0.28.0")
    assert pins["albumentations"] == "2.0.8", "the last release under the MIT licence"


def test_the_lock_names_no_index_and_no_local_file(repository):
    text = (repository / "envs" / "requirements.lock").read_text(encoding="utf-8")
    assert "--" not in text
    assert "://" not in text
    assert "+cpu" not in text


def test_torchvision_can_be_imported_beside_this_torch():
    done = subprocess.run(
        [sys.executable, "-c", "import spectralseg.models, torchvision, timm"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
