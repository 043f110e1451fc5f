"""One study on a cluster to which everything happens that happens to studies: it ends with the undisturbed tables."""

import re
import threading
import time
from types import SimpleNamespace

import pandas as pd
import pytest

from spectralseg.slurm import seconds_of
from tests.workflow.conftest import TINY, snakemake, status

from . import cluster as clusters
from .conftest import Study, jobs, process_of, shown, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

STUDY = {
    **TINY,
    "grid": {"main": {**TINY["grid"]["main"], "seeds": [0, 1, 2]}},
    # Long enough to be caught in the middle.
    "training": {**TINY["training"], "iterations": 150, "validate_every": 50, "save_every": 2},
    "tables": ["summary"],
    "figures": [],
    "studies": [],
}
RUNS = [f"{objective}_{seed}" for objective in ("spatial_0", "spatial_spectral_0.2") for seed in range(3)]
CANCELLED, REQUEUED, KILLED, SLOW, FROZEN, DAMAGED = RUNS
STOPS = re.compile(r"stopped by its time limit after iteration \d+ of 150; run it again")
COMPLAINT = f"seed{DAMAGED[-1]}/state.pt: cannot be read as a training checkpoint"


def folder(study, run):
    objective, lam, seed = run.rsplit("_", 2)
    return study.results / "runs" / "kvasir_seg" / "unet" / objective / f"lambda{lam}" / f"seed{seed}"


def job_of(run, state="RUNNING"):
    """The job of a training in this state; None if there is none."""
    return jobs(state).get(f"kvasir_seg_unet_{run}")


def limit(job, minutes):
    clusters.run("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")


def cancel(job, process):
    clusters.run("scancel", str(job))


def requeue(job, process):
    clusters.run("scontrol", "requeue", str(job))


def kill(job, process):
    process.kill()


def hold_up(job, process):
    """As a file system that hangs does: when the process goes on, its time is nearly over."""

    def wait():
        left = ("squeue", "--noheader", f"--jobs={job}", "--format=%L")
        wait_for(lambda: (seconds_of(clusters.output(*left)) or 0) <= 11)
        process.resume()

    threading.Thread(target=wait).start()


def freeze(job, process):
    """For good: the time limit, which the training does not know of, ends it."""
    limit(job, 1)


DISTURBANCES = {CANCELLED: cancel, REQUEUED: requeue, KILLED: kill, SLOW: hold_up, FROZEN: freeze}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the study gives on this machine without SLURM."""
    study = Study(tmp_path_factory.mktemp("undisturbed"), STUDY)
    local = ["--cores", 2, "--configfile", study.config, "--set-threads", "train=1", "evaluate=1", "prepare=1", "--"]
    snakemake(study.directory, *local)
    return study


@pytest.fixture(scope="module")
def disturbed(start_cluster, tmp_path_factory):
    """The same study on a cluster, and what was seen of it."""
    start_cluster(gpus=len(RUNS), cpus=16)
    study = Study(tmp_path_factory.mktemp("disturbed"), STUDY)
    seen = SimpleNamespace(study=study, first={})
    damaged = folder(study, DAMAGED) / "state.pt"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"damaged")

    clusters.run("scontrol", "update", "nodename=node1", "state=drain", "reason=test")
    running = study.start()
    try:
        wait_for(lambda: len(jobs("PENDING", "phantom")) == 2)
        seen.on_a_drained_node = jobs("RUNNING", "phantom")
        seen.status = status(study.directory, study.config)
        clusters.run("scontrol", "update", "nodename=node1", "state=resume")
        wait_for(lambda: disturb(study, seen.first))

        wait_for(lambda: says_that_it_stops(study, seen) or restarted(seen.first[SLOW]))
        wait_for(lambda: restarted(seen.first[SLOW]))  # it has put itself back in the queue
        limit(seen.first[SLOW], 60)
        clusters.stop_controller()
        time.sleep(25)  # Snakemake looks after its jobs every ten seconds
        clusters.start_controller()

        wait_for(lambda: shown(seen.first[FROZEN], "JobState") == "TIMEOUT")
        wait_for(lambda: all(job_of(run, "all") > seen.first[run] for run in (CANCELLED, KILLED, FROZEN)))
        seen.newest = {run: job_of(run, "all") for run in seen.first}
        seen.requeued = {run for run in seen.first if restarted(seen.first[run])}
        wait_for(lambda: study.said().count(COMPLAINT) == 2 and "(Rule: train)" in study.said().partition(COMPLAINT)[2])
        seen.orphan = wait_for(lambda: hold_one(study))
    finally:
        running.kill()
        running.wait()
    seen.said = study.said()
    damaged.unlink()
    done = study.run()
    seen.finish = done.stdout + done.stderr
    return seen


def restarted(job):
    return shown(job, "Restarts") not in (None, "0")


def says_that_it_stops(study, seen):
    """Keep the log of the slow training, which the next start of its job begins again."""
    seen.log = (folder(study, SLOW) / "train.log").read_text()
    return STOPS.search(seen.log)


def hold_one(study):
    """Stop the process of a job, so that the job does not end by itself; which one, or None."""
    for run in RUNS:
        if process := process_of(folder(study, run)):
            process.suspend()
            return jobs("RUNNING", "").get(f"kvasir_seg_unet_{run}")
    return None


def disturb(study, done):
    """Catch each training once, when it has saved a state; true when that is done."""
    for run in DISTURBANCES.keys() - done.keys():
        job = job_of(run)
        if job and run == SLOW and shown(job, "TimeLimit") != "00:02:00":
            limit(job, 2)  # before the training asks for it
        process = process_of(folder(study, run))
        if job and process and (folder(study, run) / "state.pt").exists():
            process.suspend()
            done[run] = job
            DISTURBANCES[run](job, process)
    return done.keys() == DISTURBANCES.keys()


def test_the_results_are_the_same(disturbed, undisturbed):
    found, expected = disturbed.study.results, undisturbed.results
    records = [pd.read_parquet(results / "records.parquet") for results in (found, expected)]
    pd.testing.assert_frame_equal(*records, check_exact=True)
    for name in (
        "tables/summary.csv",
        *(f"{folder(undisturbed, run).relative_to(expected)}/history.jsonl" for run in RUNS),
    ):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name


def test_nothing_starts_on_a_drained_node(disturbed):
    assert not disturbed.on_a_drained_node


def test_the_status_tells_what_a_job_waits_for(disturbed):
    queue = disturbed.status["queue"]
    assert [waiting["rule"] for waiting in queue] == ["phantom"] * len(queue)
    assert sum(waiting["jobs"] for waiting in queue) == 2
    assert any("DRAINED" in waiting["reason"] or "node1" in waiting["reason"] for waiting in queue)


def test_a_failure_is_reported_with_its_log_and_the_rest_goes_on(disturbed):
    assert disturbed.said.count(COMPLAINT) == 2, "once for each attempt"
    assert "(Rule: train)" in disturbed.said.partition(COMPLAINT)[2]


@pytest.mark.parametrize("run", [CANCELLED, KILLED, FROZEN])
def test_a_job_that_ends_badly_is_submitted_again(disturbed, run):
    assert disturbed.newest[run] > disturbed.first[run]


@pytest.mark.parametrize("run", [REQUEUED, SLOW])
def test_a_requeued_job_is_the_same_job(disturbed, run):
    assert disturbed.newest[run] == disturbed.first[run]
    assert run in disturbed.requeued


def test_training_leaves_in_time_and_comes_back(disturbed):
    assert STOPS.search(disturbed.log)


def test_a_controller_that_is_away_is_waited_for(disturbed):
    assert "Falling back to 'sacct'" not in disturbed.said, "which does not answer without accounting"


def test_jobs_of_a_killed_snakemake_are_cancelled_by_the_next(disturbed):
    (cancelled,) = re.findall(r"Cancelled jobs of an earlier run: (.*)", disturbed.finish)
    assert str(disturbed.orphan) in cancelled.split(", ")
