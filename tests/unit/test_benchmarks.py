"""The benchmarks run and report measurements; speed is not asserted."""

import json
import subprocess
import sys

import pytest
import torch
from tests.conftest import SMALL_ENCODER
from tests.standins import browser

from spectralseg.objectives import available
from spectralseg.training.precision import resolve

nightly = pytest.mark.nightly(reason="each script measures for 10 to 60 s, and nothing else depends on it")

TINY = ["--repeats", 1, "--photographs", 2, "--side", 500, "--grain", 2, "--volumes", 1]
TINY += ["--volume-side", 48, "--slices", 4]


@nightly
def test_the_benchmark_of_prepare_runs(repository, tmp_path):
    command = [sys.executable, repository / "benchmarks" / "prepare.py", *TINY, "--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "results.json").read_text()
    report = json.loads(text)
    photographs, volumes = report["results"].values()
    ways = {"plain", "1 thread", "1 thread, full decoding", "2 threads"}
    for result in (photographs, volumes):
        assert result["ways"].keys() == ways
        assert all(way["seconds"] > 0 and len(way["seconds_of_all_runs"]) == 1 for way in result["ways"].values())
        assert result["ways"]["plain"]["times_faster"] == 1
    assert photographs["pixel_differences"]["masks_equal"]
    assert photographs["pixel_differences"]["bilinear_filter"]["mean_absolute"] > 0
    assert volumes["input"]["shapes"][0] == "48 x 48 x 4"
    assert {"processor", "cores"} < report["machine"].keys()
    assert {"python", "numpy", "pillow"} < report["versions"].keys()
    assert str(repository) not in text
    assert done.stdout.count("\n| volumes, 0.0 MB each |") == len(ways)


@nightly
def test_the_benchmark_of_objectives_runs(repository, tmp_path):
    tiny = ["--threads", 1, "--batch", 2, "--size", 64, "--steps", 1, "--repeats", 1, "--calls", 1, "--device", "cpu"]
    command = [sys.executable, repository / "benchmarks" / "objectives.py", *tiny, "--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "results.json").read_text()
    report = json.loads(text)
    assert report["results"].keys() == {"1 class", "8 classes"}
    for result in report["results"].values():
        assert result["step_ms"] > result["base_ms"] > 0
        assert set(available()) - {"bce_dice"} < result["added"].keys()
        for added in result["added"].values():
            assert len(added["ms_of_all_runs"]) == 1
            assert added["percent_of_step"] == pytest.approx(100 * added["ms"] / result["step_ms"], abs=0.01)
    assert report["machine"]["threads"] == 1
    assert "torch" in report["versions"]
    assert str(repository) not in text
    assert done.stdout.count("\n| spectral") == 7


@nightly
def test_the_benchmark_of_metrics_runs_and_implementations_agree(repository, tmp_path):
    pytest.importorskip("medpy")
    tiny = ["--repeats", 1, "--side", 64, "--slices", 8, "--case-slices", 4]
    command = [sys.executable, repository / "benchmarks" / "metrics.py", *tiny, "--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "results.json").read_text()
    report = json.loads(text)
    assert len(report["results"]) == 6
    for task, ways in report["results"].items():
        assert all(way["seconds"] > 0 and way["agrees"] for way in ways.values()), task
    assert {"medpy", "MONAI, max"} < report["results"]["HD95, organ in 8 x 64 x 64"].keys()
    assert report["scoring"]["shape"] == [4, 64, 64]
    # One of the eight organs is not in the reference, which is where false structures are recorded.
    assert report["scoring"]["values"] == 8 * ((4 + 6) + (4 + 9) + 2 * 5) + 8 * (2 * 5 + 2) + 1
    assert {"processor", "cores"} < report["machine"].keys()
    assert {"python", "numpy", "medpy"} < report["versions"].keys()
    assert str(repository) not in text
    assert "\none case of 4 x 64 x 64: " in done.stdout


@nightly
def test_the_benchmark_of_intervals_runs(repository, tmp_path):
    tiny = ["--studies", 5, "--resamples", 100, "--seeds", 3, 6, "--patients", 14, 60, "--repeats", 1]
    command = [sys.executable, repository / "benchmarks" / "intervals.py", *tiny, "--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "results.json").read_text())
    assert len(report["coverage"]) == 11 * 2 * 2
    for row in report["coverage"]:
        assert row["ways"].keys() == {"spectralseg", "pigeonhole", "t over seeds"}
        assert all(0 <= way["coverage"] <= 100 and way["width"] > 0 for way in row["ways"].values())
    assert {row["sign_flip"] for row in report["power"] if row["seeds"] == 3} == {0}, "three seeds cannot reject"
    assert report["speed"]["first"] > 0
    assert str(repository) not in (tmp_path / "results.json").read_text()
    assert done.stdout.count("\n| skewed |") == 4


SMALL_TRAINING = ["--device", "cpu", "--encoder", SMALL_ENCODER, "--size", 64, "--cases", 12]


@nightly
def test_the_benchmark_of_training_runs(repository, tmp_path):
    tiny = ["--models", "unet", "--batches", 2, "--workers", 1, "--warm-up", 1, "--iterations", 2, "--repeats", 2]
    command = [sys.executable, repository / "benchmarks" / "training.py", *SMALL_TRAINING, *tiny]
    done = subprocess.run([*map(str, command), "--out", tmp_path / "results.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "results.json").read_text())
    ways = report["results"]["unet, 2"]
    half = {"plain, autocast", "ours, fp32"} if resolve("auto", torch.device("cpu")) == "bf16" else set()
    assert ways.keys() == {"plain, fp32", "ours", "ours, no workers", "ours, channels first", *half}
    assert len(ways["ours"]["of_all_turns"]) == 2, "every way is measured in every turn"
    assert all(way["images_per_second"] > 0 for way in ways.values())
    assert str(repository) not in (tmp_path / "results.json").read_text()


@nightly
def test_the_benchmark_of_equivalence_runs(repository, tmp_path):
    tiny = ["--iterations", 4, "--seeds", 2]
    command = [sys.executable, repository / "benchmarks" / "equivalence.py", *SMALL_TRAINING, *tiny]
    done = subprocess.run([*map(str, command), "--out", tmp_path / "results.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "results.json").read_text())
    assert [len(curve) for curve in report["curves"]["fast"]["loss"]] == [4, 4]
    for values in report["summary"].values():
        assert values["mean_difference"] == pytest.approx(values["fast"] - values["plain"], abs=1e-12)
        assert values["standard_deviation_over_seeds"] > 0


@nightly
def test_the_benchmark_of_opening_a_report_runs_on_a_small_study(repository, tmp_path):
    if browser.PROGRAM is None:
        pytest.skip("there is no Chromium on this machine")
    command = [sys.executable, repository / "benchmarks" / "opening.py", "--cases", 5, "--repeats", 2]
    command += ["--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "results.json").read_text()
    report = json.loads(text)
    assert (report["cases"], report["runs"], len(report["seconds"])) == (5, 18, 2)
    assert min(report["seconds"]) > 0
    assert report["megabytes"] > 0.1
    assert str(repository) not in text
    assert "\n| 5 | 18 |" in done.stdout


@nightly
def test_the_benchmark_of_reporting_runs_on_a_small_study(repository, tmp_path):
    tiny = ["--side", 64, "--share", 0.01, "--seeds", 1, "--times", 1, 2, "--repeats", 1]
    tiny += ["--notebooks", "table_1", "robustness", "--keep", tmp_path]
    command = [sys.executable, repository / "benchmarks" / "reporting.py", *tiny, "--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "results.json").read_text()
    report = json.loads(text)
    once, twice = report["joining"]
    assert (once["runs"], twice["runs"]) == (32, 64)
    assert twice["rows"] == 2 * once["rows"] > 10_000
    assert report["making"]["steps"].keys() == {"collect", "compare", "claims", "report"}
    assert report["making"]["notebooks"].keys() == {"table_1", "robustness"}
    assert all(cost["processor_seconds"] > 0 for cost in report["making"]["notebooks"].values())
    assert report["making"]["report_megabytes"] > 0.1
    table = (tmp_path / "study" / "tables" / "table_1.md").read_text()
    assert "Demonstration on synthetic phantoms" in table
    assert "| Missing runs |  |" + " 0 |" * 14 in table
    assert str(tmp_path) not in text


@pytest.mark.slow
def test_the_page_equals_the_measurements(repository):
    command = [sys.executable, repository / "benchmarks" / "page.py", "--check"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@nightly
def test_the_benchmark_of_planning_runs(repository, tmp_path):
    tiny = ["--runs", 60, "--finished", 60, "--jobs", 2, "--repeats", 1]
    command = [sys.executable, repository / "benchmarks" / "dag.py", *tiny, "--out", tmp_path / "results.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "results.json").read_text()
    report = json.loads(text)["results"]
    (planning,), (seed,) = report["planning"], report["another_seed"]
    assert planning["runs"] == 60
    assert planning["ways"]["plain"]["times_as_long"] == 1
    assert seed["planned"] == {"train": 60, "evaluate": 60}, "only the new runs"
    assert report["local_jobs"]["jobs"] == 2
    assert report["local_jobs"]["milliseconds_per_job"] > 0
    assert {"training", "without torch"} == report["commands"].keys()
    assert str(repository) not in text
    assert "| dry run, 60 runs | spectralseg |" in done.stdout
