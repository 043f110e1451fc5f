"""A method of others on a cluster: queued, requeued in the middle, resumed in its folder, and scored."""

import json

import pytest

from tests.workflow.conftest import status
from tests.workflow.test_external import RUN
from tests.workflow.test_external import study as study_of

from . import cluster as clusters
from .conftest import Study, jobs, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_a_method_of_others_is_requeued_and_resumes(start_cluster, tmp_path):
    start_cluster(gpus=1, cpus=8)
    study = Study(tmp_path, study_of(tmp_path, slow=True))
    running = study.start(f"{RUN}/records.parquet", f"{RUN.replace('seed1', 'seed0')}/records.parquet")
    wait_for(lambda: [path for path in tmp_path.glob("results/tiny/runs/**/model/attempts") if path.read_text()])

    def states(state):
        items = status(tmp_path, study.config)["status"]
        return {item["seed"]: item for item in items if item["objective"] == "external" and item["state"] == state}

    ((first, item),) = states("running").items()
    wait_for(lambda: [other for other in states("waiting").values() if other["queued"]])
    ((name, job),) = jobs("RUNNING", "train_external").items()
    assert name == f"kvasir_seg_threshold_{first}"
    assert item["where"].endswith(f"SLURM job {job}")
    clusters.run("scontrol", "requeue", str(job))
    wait_for(lambda: job not in jobs("RUNNING", "train_external").values())
    (tmp_path / "go").touch()
    assert running.wait() == 0, study.said()
    attempts = tmp_path / RUN.replace("seed1", f"seed{first}") / "model" / "attempts"
    assert attempts.read_text() == "xx"
    assert json.loads((attempts.parents[1] / "run.json").read_text())["seconds"] > 0
