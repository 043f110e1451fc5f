"""Wheel and source distribution have all that is needed outside of a clone, and nothing that was generated in it.

The wheel is tried without extras, and with all to deploy and plan a study.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from spectralseg import __version__
from spectralseg.operations.deployment import DEPLOYED, SLURM, deploy
from tests.workflow.conftest import REPOSITORY, environment

pytestmark = [pytest.mark.slow, pytest.mark.workflow]
GENERATED = (
    "results/demo/records.parquet",
    "data/acdc/images.npy",
    ".venv/bin/python",
    ".snakemake/log/1.log",
    "src/spectralseg/__pycache__/cli.pyc",
)
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def built(target, source, folder):
    """The wheel or source distribution of some sources, built into a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the repository."""
    return built("wheel", REPOSITORY, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The source distribution of a clone in which a study has run, unpacked."""
    folder = tmp_path_factory.mktemp("sources")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    for name in filter(None, tracked.stdout.split("\0")):
        (folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, folder / "clone" / name, follow_symlinks=False)
    for name in GENERATED:
        (folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "clone" / name).write_bytes(b"generated")
    with tarfile.open(built("sdist", folder / "clone", folder / "sdist")) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"spectralseg-{__version__}"


def required(names):
    """The installed distributions that some need, with those that these need."""
    closure, todo = {}, [Requirement(name) for name in names]
    while todo:
        requirement = todo.pop()
        if requirement.name not in closure:
            closure[requirement.name] = importlib.metadata.distribution(requirement.name)
            further = map(Requirement, closure[requirement.name].requires or [])
            todo += [other for other in further if other.marker is None or other.marker.evaluate({"extra": ""})]
    return closure.values()


@pytest.fixture(scope="module")
def light(wheel, tmp_path_factory):
    """An environment with the wheel and the packages that it requires without extras, linked from this one."""
    root = tmp_path_factory.mktemp("light")
    venv.create(root, with_pip=False)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(root), "platbase": str(root)}))
    for distribution in required(PROJECT["project"]["dependencies"]):
        tops = {file.parts[0] for file in distribution.files or () if ".." not in file.parts} - {"__pycache__"}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(Path(distribution.locate_file(top)).resolve())
    zipfile.ZipFile(wheel).extractall(site)
    return root / "bin" / "python"


@pytest.fixture
def run(light, tmp_path):
    """Runs the interpreter of the light environment in an empty folder; returns the completed process."""

    def run(*arguments):
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [light, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)

    return run


def test_the_light_environment_has_no_other_package(run):
    for package in ("torch", "cv2", "matplotlib", "snakemake"):
        assert run("-c", f"import {package}").returncode == 1
    done = run("-c", "import spectralseg; print(spectralseg.__file__)")
    assert "site-packages" in done.stdout, done.stderr


def test_every_command_has_help(run):
    code = "from spectralseg import cli; print(*cli.parser()._subparsers._group_actions[0].choices)"
    for command in run("-c", code).stdout.split():
        done = run("-m", "spectralseg", command, "--help")
        assert (done.returncode, done.stderr) == (0, ""), command


def _write_masks(folder, suffix, flips):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for case in range(4):
        mask = np.zeros((24, 24), np.uint8)
        mask[4:16, 4 + case : 18] = 1
        mask ^= (rng.random(mask.shape) < flips).astype(np.uint8)
        if suffix == ".png":
            Image.fromarray(mask * 255).save(folder / f"case{case}.png")
        else:
            nibabel.save(nibabel.Nifti1Image(np.stack([mask, mask], -1), np.eye(4)), folder / f"case{case}{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".nii.gz"])
def test_folders_are_scored_and_compared(run, tmp_path, suffix):
    for name, flips in (("reference", 0), ("a", 0.02), ("b", 0.1)):
        _write_masks(tmp_path / name, suffix, flips)
    done = run(
        *("-m", "spectralseg", "score", "--reference", "reference", "--predictions", "a", "b"),
        *("--out", "records.parquet", "--report", "report"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "scores.html").is_file()
    compare = ("compare", "records.parquet", "--baseline", "a", "--out", "comparisons.parquet")
    assert run("-m", "spectralseg", *compare).returncode == 0


def test_tables_are_audited_and_intervals_computed(run, tmp_path):
    (tmp_path / "table.csv").write_text("method,DSC,IoU\na,90.0,81.8\nb,50.0,60.0\n", encoding="utf-8")
    done = run("-m", "spectralseg", "audit-table", "table.csv")
    assert (done.returncode, "b: IoU 60.0" in done.stdout) == (1, True), done.stderr
    code = "from spectralseg.statistics import paired_interval; print(paired_interval([[0.1, 0.2, 0.3]] * 3).estimate)"
    assert float(run("-c", code).stdout) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "train --config c --data d --architecture a --objective o --out out",
            "train needs torch; install it with: pip install 'spectralseg[train]'",
        ),
        (
            "fetch workflow/rules/datasets/acdc.smk --out out",  # the dataset file is in the wheel
            "fetch needs filelock; install it with: pip install 'spectralseg[data]'",
        ),
        ("report results", "report needs matplotlib; install it with: pip install 'spectralseg[report]'"),
    ],
)
def test_a_missing_extra_is_named_by_the_metadata_of_the_wheel(run, arguments, message):
    done = run("-m", "spectralseg", *arguments.split())
    assert (done.returncode, done.stderr) == (1, f"error: {message}\n")


def test_datasets_and_published_numbers_are_in_the_wheel(run):
    code = """
from pathlib import Path
from spectralseg.data.specification import read_specifications
from spectralseg.papers import published_tables
from spectralseg.repository import repository_path
print(len(read_specifications(repository_path("workflow/rules/datasets"))))
print(len(published_tables(repository_path("config/published"))))
"""
    datasets = list((REPOSITORY / "workflow" / "rules" / "datasets").glob("*.smk"))
    tables = list((REPOSITORY / "config" / "published").glob("*/table_*.csv"))
    assert run("-c", code).stdout.split() == [str(len(datasets)), str(len(tables))]


def test_a_deployed_study_is_planned_with_the_wheel(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    variables = environment(PYTHONPATH=str(tmp_path / "installed"))
    options = {"env": variables, "capture_output": True, "text": True, "check": False}
    init = [sys.executable, "-m", "spectralseg", "init", "study"]
    done = subprocess.run(init, cwd=tmp_path, **options)
    assert done.returncode == 0, done.stderr
    study = tmp_path / "study"
    assert all((study / name).exists() for name in DEPLOYED)
    assert (study / SLURM / "config.yaml").is_file()
    assert f"spectralseg[all,reference]=={__version__}" in (study / "README.md").read_text(encoding="utf-8")
    # From here on, Snakemake needs the deployed files only.
    shutil.rmtree(tmp_path / "installed" / "spectralseg" / "repository_files")
    plan = ["snakemake", "--dry-run", "--configfile", "config/demo.yaml"]
    done = subprocess.run(plan, cwd=study, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "This was a dry-run" in done.stdout
    # Snakemake prints its own path, which is in the clone where .venv is.
    printed = "".join(
        line for line in (done.stdout + done.stderr).splitlines() if not line.strip().startswith("Command: ")
    )
    assert str(REPOSITORY) not in printed


@pytest.mark.parametrize("remote", [False, True], ids=["folder", "repository"])
def test_the_workflow_is_a_module_of_another_one(tmp_path, remote):
    source = tmp_path / "source"
    deploy(source)
    place = f'"{source}/Snakefile"'
    if remote:
        git = ["git", "-C", source, "-c", "user.name=test", "-c", "user.email=test@example.org"]
        for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=Deploy"]):
            subprocess.run([*git, *command], check=True)
        revision = subprocess.run(
            [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip()
        place = f'gitfile("{source}", path="workflow/Snakefile", commit="{revision}")'
    (tmp_path / "Snakefile").write_text(
        f"module spectralseg:\n    snakefile: {place}\n    config: config\n\nuse rule * from spectralseg\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        ["snakemake", "--dry-run", "--configfile", source / "config" / "demo.yaml"],
        cwd=tmp_path,
        env=environment(XDG_CACHE_HOME=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rule phantom:" in done.stdout


def test_the_source_distribution_has_no_generated_files(sources):
    assert not [name for name in GENERATED if (sources / name).exists()]
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "envs/requirements.lock", "tests/conftest.py", "docs/api.md"):
        assert (sources / name).read_bytes() == (REPOSITORY / name).read_bytes()


def test_the_source_distribution_builds_the_same_wheel(sources, wheel, tmp_path):
    rebuilt = built("wheel", sources, tmp_path)
    assert rebuilt.name == wheel.name
    with zipfile.ZipFile(rebuilt) as first, zipfile.ZipFile(wheel) as second:
        assert set(first.namelist()) == set(second.namelist())
        assert {file.filename: file.CRC for file in first.infolist()} == {
            file.filename: file.CRC for file in second.infolist()
        }
