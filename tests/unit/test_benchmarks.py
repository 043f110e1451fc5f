"""The benchmarks run and say what they measured; how fast anything is, is for nobody to assert here."""

import json
import subprocess
import sys

import pytest

from spectralseg.objectives import available

TINY = ["--repeats", 1, "--photographs", 2, "--side", 500, "--grain", 2, "--volumes", 1]
TINY += ["--volume-side", 48, "--slices", 4]


@pytest.mark.slow
def test_the_benchmark_of_prepare_runs(repository, tmp_path):
    command = [sys.executable, repository / "benchmarks" / "prepare.py", *TINY, "--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "results.json").read_text()
    found = json.loads(text)
    photographs, volumes = found["results"].values()
    ways = {"plain", "1 thread", "1 thread, full decoding", "2 threads"}
    for result in (photographs, volumes):
        assert result["ways"].keys() == ways
        assert all(way["seconds"] > 0 and len(way["seconds_of_all_runs"]) == 1 for way in result["ways"].values())
        assert result["ways"]["plain"]["times_faster"] == 1
    assert photographs["pixel_differences"]["masks_equal"]
    assert photographs["pixel_differences"]["bilinear_filter"]["mean_absolute"] > 0
    assert volumes["input"]["shapes"][0] == "48 x 48 x 4"
    assert {"processor", "cores"} < found["machine"].keys()
    assert {"python", "numpy", "pillow"} < found["versions"].keys()
    assert str(repository) not in text
    assert done.stdout.count("\n| volumes, 0.0 MB each |") == len(ways)


@pytest.mark.slow
def test_the_benchmark_of_objectives_runs(repository, tmp_path):
    tiny = ["--threads", 1, "--batch", 2, "--size", 64, "--steps", 1, "--repeats", 1, "--calls", 1, "--device", "cpu"]
    command = [sys.executable, repository / "benchmarks" / "objectives.py", *tiny, "--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "results.json").read_text()
    found = json.loads(text)
    assert found["results"].keys() == {"1 class", "8 classes"}
    for result in found["results"].values():
        assert result["step_ms"] > result["base_ms"] > 0
        assert set(available()) - {"bce_dice"} < result["added"].keys()
        for added in result["added"].values():
            assert len(added["ms_of_all_runs"]) == 1
            assert added["percent_of_step"] == pytest.approx(100 * added["ms"] / result["step_ms"], abs=0.01)
    assert found["machine"]["threads"] == 1
    assert "torch" in found["versions"]
    assert str(repository) not in text
    assert done.stdout.count("\n| spectral") == 7


@pytest.mark.slow
def test_the_benchmark_of_metrics_runs_and_all_ways_agree(repository, tmp_path):
    pytest.importorskip("medpy")
    tiny = ["--repeats", 1, "--side", 64, "--slices", 8, "--case-slices", 4]
    command = [sys.executable, repository / "benchmarks" / "metrics.py", *tiny, "--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "results.json").read_text()
    found = json.loads(text)
    assert len(found["results"]) == 6
    for task, ways in found["results"].items():
        assert all(way["seconds"] > 0 and way["agrees"] for way in ways.values()), task
    assert {"medpy", "MONAI, max"} < found["results"]["HD95, organ in 8 x 64 x 64"].keys()
    assert found["scoring"]["shape"] == [4, 64, 64]
    assert found["scoring"]["values"] == 8 * ((4 + 6) + (4 + 9) + 2 * 5) + 8 * (2 * 5 + 2)
    assert {"processor", "cores"} < found["machine"].keys()
    assert {"python", "numpy", "medpy"} < found["versions"].keys()
    assert str(repository) not in text
    assert "\none case of 4 x 64 x 64: " in done.stdout


@pytest.mark.slow
def test_the_benchmark_of_intervals_runs(repository, tmp_path):
    tiny = ["--studies", 20, "--resamples", 100, "--seeds", 3, 6, "--patients", 14, 60, "--repeats", 1]
    command = [sys.executable, repository / "benchmarks" / "intervals.py", *tiny, "--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "results.json").read_text())
    assert len(found["coverage"]) == 5 * 2 * 2
    for row in found["coverage"]:
        assert row["ways"].keys() == {"spectralseg", "pigeonhole", "t over seeds"}
        assert all(0 <= way["coverage"] <= 100 and way["width"] > 0 for way in row["ways"].values())
    assert {row["sign_flip"] for row in found["power"] if row["seeds"] == 3} == {0}, "three seeds cannot reject"
    assert found["speed"]["first"] > 0
    assert str(repository) not in (tmp_path / "results.json").read_text()
    assert done.stdout.count("\n| skewed |") == 4


@pytest.mark.slow
def test_the_benchmark_of_planning_runs(repository, tmp_path):
    tiny = ["--runs", 60, "--finished", 60, "--jobs", 2, "--repeats", 1]
    command = [sys.executable, repository / "benchmarks" / "dag.py", *tiny, "--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "results.json").read_text()
    found = json.loads(text)["results"]
    (planning,), (seed,) = found["planning"], found["another_seed"]
    assert planning["runs"] == 60
    assert planning["ways"]["plain"]["times_as_long"] == 1
    assert seed["planned"] == {"train": 60, "evaluate": 60}, "the new cells, and nothing else"
    assert found["local_jobs"]["jobs"] == 2
    assert found["local_jobs"]["milliseconds_per_job"] > 0
    assert {"training", "without torch"} == found["commands"].keys()
    assert str(repository) not in text
    assert "| dry run, 60 runs | spectralseg |" in done.stdout
