"""Clusters that differ: accounting, --gres, several nodes, short time limits."""

import pytest

from tests.workflow.conftest import TINY

from . import cluster as clusters
from .conftest import Study, jobs, process_of, shown, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

ONE_RUN = {
    **TINY,
    "datasets": {"kvasir_seg": TINY["datasets"]["kvasir_seg"]},
    "grid": {"main": {**TINY["grid"]["main"], "objectives": ["spatial"]}},
}
RUN = "results/tiny/runs/kvasir_seg/unet/spatial/lambda0/seed0"
RECORDS = f"{RUN}/records.parquet"


def test_accounting_and_gres_and_short_time_limits(start_cluster, tmp_path):
    start_cluster(nodes=2, accounting=True, max_minutes=100)
    gres = {"gpu": 0, "gres": "gpu:1"}
    site = {"default-resources": {"slurm_account": "lab"}, "set-resources": {"train": gres, "evaluate": gres}}
    study = Study(tmp_path, ONE_RUN, **site)
    running = study.start(RECORDS)
    job = wait_for(lambda: jobs("RUNNING,PENDING", "train"))
    (cancelled,) = job.values()
    clusters.run("scancel", str(cancelled))  # sacct would say 'CANCELLED by 0', which the executor does not know
    assert running.wait() == 0, study.said()
    assert (tmp_path / RECORDS).exists()

    kept = clusters.output(
        "sacct", "-X", "--noheader", "--parsable2", "--format=JobID,State,Account,TimelimitRaw,AllocTRES,Comment"
    )
    ended = [
        dict(zip(("job", "state", "account", "minutes", "tres"), line.split("|"), strict=False))
        for line in kept.splitlines()
    ]
    assert [job["state"] for job in ended if int(job["job"]) == cancelled] == ["CANCELLED by 0"]
    finished = [job for job in ended if int(job["job"]) != cancelled]
    assert [job["state"] for job in finished] == ["COMPLETED"] * 4
    assert {job["account"] for job in ended} == {"lab"}
    assert [job["minutes"] for job in finished] == ["30", "100", "100", "100"]
    assert ["gres/gpu=1" in job["tres"] for job in finished] == [False, False, True, True]


def test_a_training_that_is_preempted_with_a_time_of_grace_comes_back(start_cluster, tmp_path):
    """Within that time SLURM only sends a signal: a job that ends then has failed, and is not started again."""
    start_cluster(gpus=1, grace=300)
    training = {**TINY["training"], "iterations": 150, "validate_every": 50, "save_every": 2}
    study = Study(tmp_path, {**ONE_RUN, "training": training}, retries=0)
    running = study.start(RECORDS)
    wait_for((tmp_path / RUN / "state.pt").exists)
    process_of(tmp_path / RUN).suspend()  # until SLURM wakes it, together with the signal
    (job,) = jobs("RUNNING", "train").values()
    clusters.run("sbatch", "--partition=urgent", "--gpus=1", "--output=/dev/null", "--wrap=sleep 1")
    assert running.wait() == 0, study.said()
    assert (tmp_path / RECORDS).exists()
    assert shown(job, "Restarts") == "1"
    assert "resume at iteration" in (tmp_path / RUN / "train.log").read_text()
