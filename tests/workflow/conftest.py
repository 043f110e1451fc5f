"""Runs Snakemake in a temporary directory, on a study small enough to finish in seconds."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]

TINY = {
    "name": "tiny",
    "image_size": 32,
    "validation": 0.3,
    "datasets": {
        "kvasir_seg": {"source": "phantom", "allow_partial": True, "phantom": {"cases": 6, "side": 48}},
        "polypgen": {"source": "phantom", "allow_partial": True, "phantom": {"cases": 6, "side": 48}},
    },
    "architectures": {
        "unet": {
            "model": "unet",
            "encoder": "tu-test_resnet.r160_in1k",
            "encoder_weights": None,
            "options": {"decoder_channels": [8, 8, 8, 8, 8]},
        }
    },
    "objectives": {"spatial": {"base": "bce_dice"}, "spatial_spectral": {"base": "bce_dice", "auxiliary": "spectral"}},
    "grid": {
        "main": {
            "datasets": ["kvasir_seg"],
            "architectures": ["unet"],
            "objectives": ["spatial", "spatial_spectral"],
            "lambdas": ["0.2"],
            "seeds": [0],
        }
    },
    "training": {"iterations": 6, "batch_size": 2, "learning_rate": 0.05, "validate_every": 3, "save_every": 2},
    "evaluation": {
        "noise": {"datasets": ["kvasir_seg"], "corruptions": {"gaussian": ["0.01"]}},
        "recheck": 0,  # it imports medpy and MONAI
    },
    "tables": ["table_3", "summary"],
    "figures": ["figure_5"],
    "studies": ["study_equation_2"],
}


def environment(**extra):
    """The environment of a user: this interpreter's commands first, no configuration of Snakemake's."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "XDG_CONFIG_HOME": "/nonexistent", **extra}


def snakemake(directory, *arguments, check=True, repository=REPOSITORY, **options):
    """Run Snakemake on the workflow of a repository and return the finished process."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", repository / "Snakefile", "--directory", directory]
    done = subprocess.run(
        [str(part) for part in (*command, *arguments)],
        cwd=repository,
        env=environment(**options),
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        pytest.fail(f"snakemake failed:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    return done


def planned(done):
    """What a dry run would do: the wildcards of all jobs of each rule, as text."""
    jobs = {}
    text = done.stdout + done.stderr
    for rule, block in re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)*)", text, re.MULTILINE):
        jobs.setdefault(rule, set()).add("".join(re.findall(r"^    wildcards: (.*)", block, re.MULTILINE)))
    return jobs


def status(directory, config):
    """What ``spectralseg status`` says of a study."""
    command = [sys.executable, "-m", "spectralseg", "status", str(config), "--json"]
    done = subprocess.run(command, cwd=directory, env=environment(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def write_config(directory, content, name="study.yaml"):
    """Write a configuration and return its path."""
    file = Path(directory) / name
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def finish(directory):
    """Run the tiny study to its end."""
    config = write_config(directory, TINY)
    snakemake(directory, "--cores", 2, "--configfile", config, "--set-threads", "train=1", "evaluate=1", "--")


@pytest.fixture
def finished(made_once):
    """A finished tiny study that the test may change: its directory and its configuration."""
    study = made_once("finished_study", finish)
    directory = Path(tempfile.mkdtemp(dir=study.parent, prefix="copy"))  # as far from the repository as the original
    shutil.copytree(study, directory, symlinks=True, dirs_exist_ok=True)
    return directory, directory / "study.yaml"
