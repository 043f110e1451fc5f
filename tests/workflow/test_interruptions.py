"""The plain command, stopped in any way and typed again; two at a time. Stand-ins work until they are stopped."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.standins import commands

from .conftest import REPOSITORY, TINY, environment, snakemake, write_config

pytestmark = pytest.mark.workflow

RUNS = "results/tiny/runs/kvasir_seg/unet"


STARTED = []


class Command:
    """Snakemake at work in a directory, with a process group of its own as in a terminal."""

    def __init__(self, directory, *, stand_ins, holds="train", log="snakemake.log"):
        command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", "2"]
        command += ["--configfile", write_config(directory, TINY), "--set-threads", "train=1", "evaluate=1"]
        self.log = directory / log
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                cwd=directory,
                env=environment(**stand_ins, STAND_IN_HOLDS=holds),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        STARTED.append(self.process)

    def held(self, directory):
        """Wait until two trainings are under way, and return their processes."""
        while len(files := [file for file in directory.glob(f"{RUNS}/**/held") if file.read_text()]) < 2:
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        return [psutil.Process(int(file.read_text())) for file in files]

    def wait(self):
        return self.process.wait(), self.log.read_text()


@pytest.fixture
def stand_ins(tmp_path):
    yield commands.install(tmp_path / "bin")
    for process in STARTED:  # of a test that failed
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    STARTED.clear()


def ctrl_c(command, jobs):
    os.killpg(command.process.pid, signal.SIGINT)


def terminate(command, jobs):
    command.process.send_signal(signal.SIGTERM)


def kill(command, jobs):
    command.process.kill()


def after_kill(command, jobs):
    ctrl_c(command, jobs)


def kill_all(command, jobs):
    os.killpg(command.process.pid, signal.SIGKILL)


def each(jobs, action):
    for job in jobs:
        with contextlib.suppress(psutil.NoSuchProcess):
            action(job)


def terminate_jobs(command, jobs):
    each(jobs, psutil.Process.terminate)


def kill_jobs(command, jobs):
    each(jobs, psutil.Process.kill)


# How the command is stopped, one after another -> how many of the two trainings save a checkpoint.
STOPS = {ctrl_c: 2, terminate: 2, kill: 0, after_kill: 2, kill_all: 0, terminate_jobs: 2, kill_jobs: 0}


def test_the_same_command_resumes_after_any_interruption(tmp_path, stand_ins):
    for stop, saved in STOPS.items():
        command = Command(tmp_path, stand_ins=stand_ins)
        jobs = command.held(tmp_path)
        for file in tmp_path.glob(f"{RUNS}/**/held"):
            file.unlink()
        stop(command, jobs)
        assert command.wait()[0] != 0
        if stop is kill:
            assert all(job.is_running() for job in jobs)
            continue  # the next command ends them
        psutil.wait_procs(jobs)
        states = list(tmp_path.glob(f"{RUNS}/**/state.pt"))
        assert len(states) == saved, stop
        for file in states:
            file.unlink()
        assert ("Ended processes of an earlier run: 2" in command.log.read_text()) == (stop is after_kill)
    status, text = Command(tmp_path, holds="", stand_ins=stand_ins).wait()
    assert status == 0, text
    again = snakemake(tmp_path, "--dry-run", "--cores", 2, "--configfile", tmp_path / "study.yaml", **stand_ins)
    assert "Nothing to be done" in again.stdout


def test_one_command_per_study_and_as_many_studies_as_one_likes(tmp_path, stand_ins):
    command = Command(tmp_path, stand_ins=stand_ins)
    jobs = command.held(tmp_path)
    refused, text = Command(tmp_path, stand_ins=stand_ins, log="second.log").wait()
    assert refused == 1
    assert re.search(r"results/tiny: another run of the workflow is under way \(process \d+ on .*\); wait for", text)
    assert "Traceback" not in text
    assert all(job.is_running() for job in jobs)
    other = write_config(tmp_path, {**TINY, "name": "other"}, "other.yaml")
    snakemake(tmp_path, "--cores", 2, "--configfile", other, **stand_ins)
    assert (tmp_path / "results" / "other" / "report" / "index.html").exists()
    ctrl_c(command, jobs)
    command.wait()
