"""A cluster of this machine's own, and Snakemake with the profile that users type."""

import contextlib
import re
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.workflow.conftest import REPOSITORY, environment, snakemake, write_config

from . import cluster as clusters

# Faster than is kind to a controller that many share.
IMPATIENT = {"slurm-init-seconds-before-status-checks": 1, "latency-wait": 10, "retries": 1}
PROFILE = ["--cores", "8", "--profile", "slurm"]


@pytest.fixture(scope="session")
def start_cluster():
    """Starts a cluster in place of the one before; skips where SLURM cannot run."""

    def start(**options):
        try:
            cluster = clusters.Cluster(**options)
            cluster.start()
        except clusters.Unavailable as reason:
            pytest.skip(str(reason))
        return cluster

    yield start
    clusters.stop()


class Study:
    """A study in a folder of its own, run by Snakemake with the profile."""

    def __init__(self, directory, content, **site):
        self.directory = directory
        self.config = write_config(directory, content)
        self.site = write_config(directory, {**IMPATIENT, **site}, "site.yaml")
        self.results = directory / "results" / content["name"]

    def arguments(self, *more):
        return [*PROFILE, "--profile", self.site, "--configfile", self.config, "--set-threads", "train=1", "evaluate=1",
                "prepare=1", *more]  # fmt: skip

    def run(self, *targets):
        """Run to the end, which must be a good one."""
        return snakemake(self.directory, *self.arguments("--", *targets))

    def start(self, *targets):
        """Start Snakemake and return its process; :meth:`said` is what it has said so far."""
        command = ["snakemake", "--snakefile", REPOSITORY / "Snakefile", "--directory", self.directory]
        command = [str(part) for part in (*command, *self.arguments("--", *targets))]
        with (self.directory / "snakemake.log").open("w") as log:
            return subprocess.Popen(command, cwd=REPOSITORY, env=environment(), stdout=log, stderr=log)

    def said(self):
        return (self.directory / "snakemake.log").read_text()


def jobs(state="RUNNING", rule="train"):
    """Ids of the jobs of a rule that are in a state, by their wildcards; of several, the newest."""
    listed = clusters.output("squeue", "--noheader", "--sort=i", f"--states={state}", "--format=%A|%k")
    pairs = [line.split("|") for line in listed.splitlines() if f"|rule_{rule}" in line]
    return {comment.partition("wildcards_")[2]: int(job) for job, comment in pairs}


def process_of(folder):
    """The process that trains or evaluates the run of a folder; None if there is none."""
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        option = {"train": "--out", "evaluate": "--run"}.get((line[2:3] or [""])[0])
        with contextlib.suppress(psutil.Error):  # it has just ended
            if option in line and Path(process.cwd(), line[line.index(option) + 1]) == folder:
                return process
    return None


def shown(job, key):
    """What SLURM says of a job under a key."""
    found = re.search(rf"\b{key}=(\S+)", clusters.output("scontrol", "show", "job", str(job)))
    return found and found[1]


def wait_for(condition):
    """Wait until something is true, and return it."""
    while not (found := condition()):
        time.sleep(0.3)
    return found
