"""What docs/run-on-a-cluster.md tells to type and to write into a site file, where there is no cluster."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import yaml

from . import test_external, test_pretraining
from .conftest import REPOSITORY, TINY, environment, snakemake, write_config
from .test_docs import copy_repository

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

PAGE = (REPOSITORY / "docs" / "run-on-a-cluster.md").read_text(encoding="utf-8")
SLURM = ["--cores", 8, "--profile", "slurm"]


def resources(done):
    """What the first job of each rule asks for, of the output of a dry run; rules of the login node ask for no time."""
    found = {}
    text = done.stdout + done.stderr + "\n["
    for name, block in re.findall(r"^(?:rule|checkpoint) (\w+):\n(.*?)^\[", text, re.S | re.M):
        listed = dict(re.findall(r"(\w+)=([^,\n]+)", block.partition("resources: ")[2]))
        if "runtime" in listed:
            found.setdefault(name, {**listed, "threads": next(iter(re.findall(r"threads: (\d+)", block)), "1")})
    return found


def test_every_command_resolves(tmp_path):
    """In a copy, with a dry run in place of the run; what starts daemons or trains is for other tests."""
    copy_repository(tmp_path)
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith(("snakemake", "cp"))]
    assert len(set(commands)) == 4
    for command in dict.fromkeys(commands):
        words = shlex.split(command)
        if words[0] == "snakemake" and "--dry-run" not in words:
            words.append("--dry-run")
        run = {"cwd": tmp_path, "env": environment(HOME=str(tmp_path)), "capture_output": True, "text": True}
        done = subprocess.run(words, **run, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"


def test_the_table_of_resources_is_what_jobs_ask_for(tmp_path):
    asked = {}
    for content in (TINY, test_pretraining.study(), test_external.study(tmp_path)):
        config = write_config(tmp_path, content)
        asked |= resources(snakemake(tmp_path, *SLURM, "--dry-run", "--configfile", config))
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) GB \| (\d+) \| (\d?) ?\|$", PAGE, re.M)
    assert {name for name, *_ in rows} == asked.keys()
    for name, threads, memory, minutes, gpu in rows:
        job = asked[name]
        assert (job["threads"], job["mem_mb"], job["runtime"]) == (threads, f"{memory}000", minutes), name
        assert job.get("gpu", "") == gpu


def test_what_the_page_says_of_site_files_reaches_the_jobs(tmp_path):
    site = {}
    for text in re.findall(
        r"^\|[^|`]+(?:`[^`]+`[^|`]+)*\| `([^`]+)` \|$", PAGE.partition("## Requested resources")[0], re.M
    ):
        for key, value in yaml.safe_load(text).items():
            site[key] = merged(site.get(key), value)
    assert site.keys() == {"default-resources", "set-resources", "jobs", "max-jobs-per-timespan"}
    file = write_config(tmp_path, site, "site.yaml")
    config = write_config(tmp_path, TINY)
    asked = resources(snakemake(tmp_path, *SLURM, "--profile", file, "--dry-run", "--configfile", config))
    for name in ("train", "evaluate"):
        assert (asked[name]["gpu"], asked[name]["gres"]) == ("0", "gpu:1")
    assert (asked["train"]["mem_mb"], asked["train"]["runtime"]) == ("8000", "120")
    assert asked["evaluate"]["mem_mb"] == "12000"
    for job in asked.values():
        assert (job["slurm_partition"], job["slurm_account"], job["constraint"]) == ("gpu", "myproject", "a100")


@pytest.mark.parametrize(
    ("chosen", "long"),
    [({"slurm_partition": "gpu"}, "90"), ({"slurm_account": "lab"}, "100")],
    ids=["chosen", "default"],
)
def test_jobs_ask_for_no_more_minutes_than_the_partition_allows(tmp_path, chosen, long):
    """As reported by stand-ins for the commands of a login node."""
    commands = {
        "sinfo": 'case "$*" in *"--partition gpu") echo "gpu|1:30:00";; *) echo "cpu*|1:40:00";; esac',
        "squeue": "exit 0",  # without it, and without sacct, the executor refuses to start
    }
    login_node = tmp_path / "bin"
    login_node.mkdir()
    for name, script in commands.items():
        (login_node / name).write_text(f"#!/bin/sh\n{script}\n")
        (login_node / name).chmod(0o755)
    site = write_config(tmp_path, {"default-resources": chosen}, "site.yaml")
    config = write_config(tmp_path, TINY)
    path = os.pathsep.join([str(login_node), environment()["PATH"]])
    done = snakemake(tmp_path, *SLURM, "--profile", site, "--dry-run", "--configfile", config, PATH=path)
    minutes = {name: job["runtime"] for name, job in resources(done).items()}
    assert minutes == {"phantom": "30", "prepare": long, "leakage": "30", "train": long, "evaluate": long}


def test_everything_in_the_example_is_understood(tmp_path):
    """With its comments taken away, except those that explain."""
    text = (REPOSITORY / "workflow" / "profiles" / "site.yaml").read_text(encoding="utf-8")
    active = re.sub(r"^( *)# ((?: *)[\w-]+: *(?:\S.*)?)$", r"\1\2", text, flags=re.M)
    site = yaml.safe_load(active)
    assert site.keys() == {"default-resources", "set-resources", "max-jobs-per-timespan"}
    assert len(site["default-resources"]) == 4
    (tmp_path / "site.yaml").write_text(active)
    config = write_config(tmp_path, TINY)
    asked = resources(snakemake(tmp_path, *SLURM, "--profile", tmp_path / "site.yaml", "-n", "--configfile", config))
    assert asked["train"]["gres"] == "gpu:1"
    assert asked["phantom"]["slurm_account"] == "myproject"


def test_job_arrays_are_refused(tmp_path):
    arrays = [*SLURM, "--slurm-array-jobs", "train", "--configfile", write_config(tmp_path, TINY)]
    done = snakemake(tmp_path, *arrays, check=False)
    assert done.returncode == 1
    assert "slurm-array-jobs: jobs of an array are taken for failed" in done.stderr
    assert not (tmp_path / "results" / "tiny").exists()


def merged(first, second):
    """Two values of the same key, of which mappings are joined."""
    if isinstance(first, dict) and isinstance(second, dict):
        return {key: merged(first.get(key), second.get(key)) for key in {**first, **second}}
    return first if second is None else second


def test_a_signal_to_the_snakemake_of_a_job_reaches_its_training(tmp_path):
    """SLURM with cgroups signals nothing but the first process of a step."""
    config = write_config(tmp_path, {**TINY, "training": {**TINY["training"], "iterations": 10_000}})
    model = "results/tiny/runs/kvasir_seg/unet/spatial/lambda0/seed0/model.pt"
    state, log = ((tmp_path / model).with_name(name) for name in ("state.pt", "train.log"))
    command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--directory", tmp_path]
    command += ["--mode", "remote", "--cores", 1, "--configfile", config, "--", model]
    for number in (signal.SIGUSR1, signal.SIGTERM):
        with (tmp_path / "snakemake.log").open("w") as said:
            job = subprocess.Popen([str(part) for part in command], cwd=REPOSITORY, env=environment(), stderr=said)
        while not state.exists():
            assert job.poll() is None, (tmp_path / "snakemake.log").read_text()
            time.sleep(0.1)
        job.send_signal(number)
        assert job.wait() == 1
        assert re.search(rf"stopped by {number.name} after iteration \d+ of 10000; run it again", log.read_text())
        state.unlink()
