"""A study on a machine with simulated devices: as many runs at once as there are slots, each on a device of its own."""

import copy
import re
import shutil

import pytest

from .conftest import TINY, snakemake, status, write_config

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture
def study():
    """Four runs."""
    study = copy.deepcopy(TINY)
    study["grid"]["main"] |= {"seeds": [0, 1]}
    return study


def threads_of_training(text):
    """Threads that a dry run gives the jobs of training; one is not mentioned."""
    blocks = re.findall(r"^rule train:\n((?:    .+\n)+)", text, re.MULTILINE)
    return {int((re.findall(r"^    threads: (\d+)", block, re.MULTILINE) or [1])[0]) for block in blocks}


def plan(directory, config, devices, *arguments, cores=8):
    done = snakemake(
        directory, "--dry-run", "--cores", cores, "--configfile", config, *arguments, SPECTRALSEG_DEVICES=devices
    )
    return threads_of_training(done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("devices", "share", "cores", "threads"),
    [("", 1, 8, 4), ("", 1, 2, 2), ("a,b", 1, 8, 4), ("a,b,c,d", 1, 8, 2), ("a,b,c,d", 2, 8, 1), ("a,b,c,d", 4, 8, 1)],
)
def test_cores_are_shared_among_as_many_runs_as_devices_take(tmp_path, study, devices, share, cores, threads):
    config = write_config(tmp_path, {**study, "runs_per_gpu": share})
    assert plan(tmp_path, config, devices, cores=cores) == {threads}


def test_every_run_has_a_device_of_its_own_and_none_starts_before_one_is_free(finished, study):
    directory, _ = finished
    config = write_config(directory, study)
    shutil.rmtree(directory / "results" / "tiny" / "runs")
    cells = ("spatial/lambda0", "spatial_spectral/lambda0.2")
    targets = [f"results/tiny/runs/kvasir_seg/unet/{cell}/seed{seed}/model.pt" for cell in cells for seed in (0, 1)]
    locks = str(directory / "locks")
    done = snakemake(
        directory, *targets, "--cores", 8, "--configfile", config, SPECTRALSEG_DEVICES="a,b", SPECTRALSEG_LEASES=locks
    )
    assert re.search(r"^Provided resources: gpu=\D+2\b", done.stdout + done.stderr, re.MULTILINE)
    logs = [(directory / target).with_name("train.log").read_text() for target in targets]
    bound = [re.findall(r" device (\w)$", log, re.MULTILINE) for log in logs]
    assert sorted({device for (device,) in bound}) == ["a", "b"]
    assert not any("waiting for a device" in log for log in logs)
    assert all(not list((directory / target).parent.glob("progress.json")) for target in targets)

    found = status(directory, config)
    assert (found["runs"], found["trained"], found["waiting"]) == (4, 4, 4), "evaluation is still to come"


def test_a_cluster_is_not_limited_by_the_devices_of_the_machine_that_submits(tmp_path, study):
    config = write_config(tmp_path, study)
    done = snakemake(
        tmp_path,
        "--dry-run",
        "--cores",
        8,
        "--executor",
        "slurm",
        "--jobs",
        10,
        "--configfile",
        config,
        SPECTRALSEG_DEVICES="a",
    )
    assert threads_of_training(done.stdout + done.stderr) == {4}, "cores of this machine are not shared out"
