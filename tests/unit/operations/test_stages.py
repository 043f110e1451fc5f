import json

import pytest

from spectralseg.operations.stages import Jobs, Machine, as_json, rounded, sentences, time_left

CPU = Machine("cpu", 1, cores=4, threads=2)
GPUS = Machine("gpu", 2, cores=8, threads=4)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (0.6, "1 s"), (89, "89 s"), (90, "2 min"), (2400, "40 min"), (5399, "90 min")),
        *((5400, "1.5 h"), (3.2 * 3600, "3 h"), (14.4 * 3600, "14 h"), (35 * 3600, "35 h")),
        *((36 * 3600, "1.5 days"), (2.1 * 86400, "2 days"), (45.4 * 86400, "45 days")),
    ],
)
def test_durations_have_one_unit(seconds, text):
    assert rounded(seconds) == text


def test_the_total_comes_first_and_then_what_it_rests_on():
    jobs = [
        Jobs("fetch", 1, 300, "assumption", note="10 MB per second"),
        Jobs("prepare", 1, 120, "measured"),
        Jobs("train", 8, 14400, "measured", parallel=2),
        Jobs("evaluate", 8, 4800, "benchmark", parallel=2),
        Jobs("render", 1, 240, "benchmark"),
    ]
    assert sentences(time_left(jobs, CPU)) == [
        "About 3 hours on 4 cores: fetch 5 min, prepare 2 min, train 2 h, evaluate 40 min, render 4 min",
        "Estimated from finished jobs (prepare, train); the benchmarks of the repository, scaled (evaluate, render)",
        "Assumed: 10 MB per second (fetch)",
    ]


def test_wall_clock_time_and_device_time_are_distinguished():
    """Two GPUs with two runs each: sixteen runs of an hour take four hours, and eight device-hours."""
    left = time_left([Jobs("train", 16, 16 * 3600, "measured", GPUS.runs(2), share=2)], GPUS)
    assert (left.seconds, left.device_seconds) == (4 * 3600, 8 * 3600)
    assert sentences(left)[0] == "About 4 hours on 2 GPUs and 8 cores: train 4 h; 8.0 device-hours"


def test_a_single_job_is_not_divided_among_devices():
    assert time_left([Jobs("train", 1, 3600, "measured", GPUS.runs())], GPUS).seconds == 3600


def test_jobs_with_the_same_parallelism_share_the_devices_and_others_wait():
    jobs = [Jobs("train", 1, 100, "measured", 2), Jobs("train", 1, 60, "measured", 2)]
    assert time_left(jobs, GPUS).seconds == 80
    assert time_left([*jobs, Jobs("train", 1, 7, "measured")], GPUS).seconds == 87


def test_stages_are_in_order_and_those_without_jobs_are_left_out():
    jobs = [Jobs("render", 2, 8, "measured"), Jobs("prepare", 0, 0, "measured"), Jobs("fetch", 1, 5, "measured")]
    assert [stage.stage for stage in time_left(jobs, CPU).stages] == ["fetch", "render"]


def test_stages_that_need_no_device_are_not_device_time():
    left = time_left([Jobs("prepare", 1, 60, "measured"), Jobs("evaluate", 1, 30, "measured")], GPUS)
    assert (left.seconds, left.device_seconds) == (90, 30)


def test_unknown_jobs_make_the_total_a_lower_bound():
    jobs = [
        Jobs("fetch", 2, None, "unknown"),
        Jobs("evaluate", 3, 7200, "measured"),
        Jobs("evaluate", 1, None, "unknown"),
    ]
    left = time_left(jobs, CPU)
    total, basis, unknown = sentences(left)
    assert total == "At least 2 hours on 4 cores: fetch ?, evaluate at least 2 h"
    assert basis == "Estimated from finished jobs (evaluate)"
    assert unknown == "Unknown, and not in the total: 3 jobs, until one is measured"
    assert not left.complete


def test_nothing_is_estimated_from_nothing():
    assert sentences(time_left([Jobs("train", 1, None, "unknown")], CPU))[0] == "Time unknown: train ?"


def test_a_finished_study_has_no_time_left():
    left = time_left([Jobs("train", 0, 0, "measured")], CPU)
    assert sentences(left) == ["Everything is done."]
    assert (left.seconds, left.complete) == (0, True)


@pytest.mark.parametrize(("machine", "days", "warned"), [(CPU, 3, True), (CPU, 0.9, False), (GPUS, 30, False)], ids=str)
def test_long_training_without_a_gpu_is_warned_of(machine, days, warned):
    *_, last = sentences(time_left([Jobs("train", 1, days * 86400, "benchmark")], machine))
    assert last.startswith("Warning: without a GPU, training takes about 3 days; ") == warned


def test_json_has_seconds_evidence_and_the_total():
    jobs = [
        Jobs("fetch", 1, None, "unknown"),
        Jobs("prepare", 2, 8.0, "assumption", note="4 s each"),
        Jobs("train", 4, 40.0, "measured", 2),
    ]
    values = json.loads(json.dumps(as_json(time_left(jobs, CPU))))
    assert (values["seconds"], values["device_seconds"], values["complete"]) == (28.0, 40.0, False)
    assert values["machine"] == {"kind": "cpu", "devices": 1, "cores": 4, "threads": 2}
    fetch, prepare, train = values["stages"]
    assert (fetch["seconds"], fetch["unknown_jobs"], fetch["evidence"]) == (None, 1, ["unknown"])
    assert (prepare["jobs"], prepare["assumed"]) == (2, ["4 s each"])
    assert (train["seconds"], train["device_seconds"], train["evidence"]) == (20.0, 40.0, ["measured"])
