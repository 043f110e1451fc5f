import json
import re

import pandas as pd
import pytest
import yaml
from tests.conftest import REPOSITORY

from spectralseg import cli
from spectralseg.config import validate_config
from spectralseg.data.prepared import identity_of
from spectralseg.data.specification import read_specifications
from spectralseg.grid import runs
from spectralseg.operations.dataset_sizes import DatasetSize, dataset_sizes, evaluated_images
from spectralseg.operations.estimate import Estimator, Repository
from spectralseg.operations.host_jobs import Committed, read_committed
from spectralseg.operations.stages import Machine
from spectralseg.operations.status import study_status
from spectralseg.study_folder import StudyFolder
from spectralseg.training.settings import settings_of as settings_of_run

CASES = "case,part,slices\n" + "a,train,1\n" * 8 + "b,test,1\n" * 2


@pytest.fixture
def study(study):
    """Four runs on a downloaded and a generated dataset, without activation maps."""
    study["datasets"] = {"kvasir_seg": {}, "isic2018": {"source": "phantom", "phantom": {"cases": 40}}}
    study["grid"]["main"]["datasets"] = ["kvasir_seg", "isic2018"]
    study["evaluation"] = {"suites": ["iid"]}
    study["training"] |= {"iterations": 1000}
    return study | {"tables": ["summary"], "figures": ["forest"], "studies": []}


@pytest.fixture
def repository(repository):
    """The dataset files and papers of the repository, without benchmarks."""
    return Repository(None, read_specifications(repository / "workflow/rules/datasets"), None)


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results/toy"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def left(study, repository, results):
    """The remaining time, and its stages by name."""

    def estimate(**settings):
        config = validate_config(study, "toy.yaml")
        estimator = Estimator(config, results, repository, **{"kind": "cpu", "cores": 2, **settings})
        time = estimator.time_left(estimator.parts(study_status(config, results)))
        return time, {stage.stage: stage for stage in time.stages}

    return estimate


def measure(file, seconds):
    """Write the seconds of a job as Snakemake does, after an earlier execution."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"s": value}) + "\n" for value in (9999.0, seconds)))


def prepare(results, config, name, seconds=None):
    folder = results / "prepared" / name
    folder.mkdir(parents=True)
    (folder / "cases.csv").write_text(CASES)
    source = config["datasets"][name].get("source", "official")
    card = {**identity_of({}), "name": name, "image_size": config["image_size"], "source": source}
    (folder / "dataset.json").write_text(json.dumps(card))
    if seconds:
        measure(results / f"logs/prepare/{name}.benchmark.jsonl", seconds)
    return card


def finish(results, config, card, seconds=100.0, job=130.0, evaluation=25.0, threads=1):
    """Finish the first run on a dataset."""
    config = validate_config(config, "toy.yaml")
    run = next(run for run in runs(config) if run.dataset == card["name"])
    folder = results / "runs" / run.folder
    folder.mkdir(parents=True)
    hardware = {"device": "cpu", "device_name": "CPU", "threads": threads}
    description = {**settings_of_run(config, run, identity_of(card)), "iterations": 1000, "hardware": hardware}
    (folder / "run.json").write_text(json.dumps({**description, "seconds": seconds}))
    for name in ("model.pt", "history.jsonl"):
        (folder / name).touch()
    measure(folder / "train.benchmark.jsonl", job)
    if evaluation:
        measure(folder / "evaluate.benchmark.jsonl", evaluation)
        pd.DataFrame({"metric": ["dsc"], "flag": [""]}).to_parquet(folder / "records.parquet")
        for name in ("reliability.parquet", "examples.npz"):
            (folder / name).touch()
    return folder


def test_a_new_study_has_all_stages_and_unknown_times_are_marked(left):
    time, stages = left()
    assert list(stages) == ["fetch", "prepare", "train", "evaluate", "render"]
    assert [stages[name].jobs for name in stages] == [1, 4, 4, 4, 8]
    assert [stages[name].unknown for name in stages] == [0, 2, 4, 4, 6]
    assert stages["fetch"].seconds == pytest.approx(5 + 46 / 10)
    assert not time.complete


def test_finished_jobs_of_the_study_replace_assumptions(left, study, results):
    prepare(results, study, "isic2018", seconds=15.0)
    measure(results / "logs/phantom/isic2018.benchmark.jsonl", 9.0)
    measure(results / "logs/leakage.benchmark.jsonl", 3.0)
    _, stages = left()
    assert stages["prepare"].jobs == 2, "one dataset and the audit"
    assert stages["prepare"].seconds == pytest.approx(5 + 1000 * (15 - 5) / 10 + 3), "10 cases, and 1000 expected ones"
    assert stages["prepare"].basis == ("measured",)


def test_a_measured_run_changes_the_estimate_of_the_others(left, study, results):
    card = prepare(results, study, "isic2018")
    prepare(results, study, "kvasir_seg")
    assert left()[1]["train"].unknown == 4
    finish(results, study, card)
    time, stages = left()
    assert time.machine.threads == 1
    assert (stages["train"].jobs, stages["train"].seconds) == (3, pytest.approx(3 * 130 / 2)), "with the start"
    assert (stages["evaluate"].jobs, stages["evaluate"].seconds) == (3, pytest.approx(3 * 25 / 2)), "as many images"
    assert (stages["train"].basis, stages["evaluate"].basis) == (("measured",), ("measured",))
    (results / "prepared/kvasir_seg/cases.csv").write_text(CASES + "c,test,1\n" * 2)
    seconds = 25 + 2 * (5 + 4 * (25 - 5) / 2)
    assert left()[1]["evaluate"].seconds == pytest.approx(seconds / 2), "twice as many images on one dataset"


def test_longer_runs_make_the_estimate_longer(left, study, results):
    card = prepare(results, study, "isic2018")
    folder = finish(results, study, card)
    before = left()[0].seconds
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "seconds": 200.0}))
    measure(folder / "train.benchmark.jsonl", 230.0)
    assert left()[0].seconds == pytest.approx(before + 3 * 100 / 2)


def test_runs_that_use_all_cores_train_one_after_another(left, study, results):
    card = prepare(results, study, "isic2018")
    finish(results, study, card, threads=2)
    assert left()[1]["train"].seconds == pytest.approx(3 * 130)
    assert left(cores=8)[1]["train"].seconds == pytest.approx(130)


def test_a_resumed_training_takes_as_long_as_its_iterations(left, study, results):
    """The last of several executions of a job took less time than all iterations."""
    card = prepare(results, study, "isic2018")
    finish(results, study, card, job=20.0)
    assert left()[1]["train"].seconds == pytest.approx(3 * 100 / 2)


def test_without_a_measurement_an_evaluation_is_assumed_from_training(left, study, results):
    prepare(results, study, "kvasir_seg")
    card = prepare(results, study, "isic2018")
    finish(results, study, card, evaluation=None)
    _, stages = left()
    assert stages["evaluate"].basis == ("assumption",)
    assert stages["evaluate"].seconds == pytest.approx(4 * (5 + 2 * (0.1 / 2 / 3 + 0.032)) / 2)


def test_other_kinds_of_devices_are_no_evidence(left, study, results):
    card = prepare(results, study, "isic2018")
    finish(results, study, card)
    assert left(kind=None)[0].machine.kind == "cpu", "the kind of finished runs"
    time, stages = left(kind="gpu", devices=2)
    assert str(time.machine) == "2 GPUs and 2 cores"
    assert stages["train"].unknown == 3


def test_downloads_are_estimated_from_earlier_ones(left, results):
    downloads = results.parent / "downloads"
    for name, size in (("isic2018", 200_000_000), ("kvasir_seg", None)):
        (downloads / name).mkdir(parents=True)
        if size:
            measure(downloads / f"logs/{name}.benchmark.jsonl", 10.0)
            (downloads / name / "sources.json").write_text(json.dumps({"files": [{"file": "x", "bytes": size}]}))
    (downloads / "kvasir_seg/.partial").mkdir()
    (downloads / "kvasir_seg/.partial/kvasir-seg.zip").write_bytes(b"0" * 6_000_000)
    _, stages = left()
    assert stages["fetch"].seconds == pytest.approx(5 + (46 - 6) / 20)
    assert stages["fetch"].basis == ("measured",)
    (downloads / "kvasir_seg/sources.json").write_text("{}")
    assert "fetch" not in left()[1], "it is downloaded"


def test_results_are_made_again_after_an_evaluation_and_otherwise_if_missing(left, study, results):
    for kind, seconds in (("tables/summary", 4.0), ("figures/forest", 6.0)):
        measure(results / f"logs/{kind}.benchmark.jsonl", seconds)
    for name, seconds in (("collect", 1.0), ("compare", 2.0), ("claims", 3.0), ("report", 8.0)):
        measure(results / f"logs/{name}.benchmark.jsonl", seconds)
    for name in study["datasets"]:
        measure(results / f"logs/cards/{name}.benchmark.jsonl", 5.0)
    _, stages = left()
    assert (stages["render"].jobs, stages["render"].seconds) == (8, pytest.approx(1 + 2 + 3 + 8 + (4 + 6 + 2 * 5) / 2))
    for name in study["datasets"]:
        prepare(results, study, name)
        (results / f"cards/{name}.html").parent.mkdir(exist_ok=True)
        (results / f"cards/{name}.html").touch()
    for file in ("records.parquet", "comparisons.parquet", "claims.csv", "leakage.parquet", "tables/summary.json"):
        (results / file).parent.mkdir(exist_ok=True)
        (results / file).touch()
    study["grid"]["main"]["seeds"] = [0]
    for run in runs(validate_config(study, "toy.yaml")):
        folder = results / "runs" / run.folder
        folder.mkdir(parents=True)
        config = validate_config(study, "toy.yaml")
        card = json.loads((results / f"prepared/{run.dataset}/dataset.json").read_text())
        description = {**settings_of_run(config, run, identity_of(card)), "seconds": 1.0}
        (folder / "run.json").write_text(json.dumps(description))
        for name in ("model.pt", "history.jsonl", "reliability.parquet", "examples.npz"):
            (folder / name).touch()
        pd.DataFrame({"metric": ["dsc"], "flag": [""]}).to_parquet(folder / "records.parquet")
    time, stages = left()
    assert list(stages) == ["render"]
    assert (stages["render"].jobs, time.seconds) == (2, pytest.approx(6 + 8)), "a figure and the report"
    (results / "figures").mkdir()
    (results / "figures/forest.png").touch()
    (results / "report").mkdir()
    (results / "report/index.html").touch()
    assert left()[0].stages == ()


def test_a_study_without_its_dataset_files_has_unknown_stages(study, results):
    config = validate_config({**study, "tables": None}, "toy.yaml")
    estimator = Estimator(config, results, Repository(), kind="cpu")
    stages = {
        stage.stage: stage for stage in estimator.time_left(estimator.parts(study_status(config, results))).stages
    }
    assert stages["fetch"].unknown == stages["fetch"].jobs == 1
    assert stages["render"].unknown


def test_iterations_that_depend_on_epochs_are_unknown_without_their_dataset(left, study, results):
    card = prepare(results, study, "isic2018")
    finish(results, study, card)
    assert left()[1]["train"].unknown == 0
    study["training"]["epochs"] = 3.0
    (results / "prepared/isic2018").rename(results / "elsewhere")
    _, stages = left()
    assert stages["train"].unknown == stages["train"].jobs == 4


class TestSizes:
    def test_those_of_downloads_are_those_of_the_guide(self, repository):
        page = (REPOSITORY / "docs/get-the-data.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| (.+?) \| .+? \| .+? \| ([\d.]+)(?: to ([\d.]+))? (MB|GB)\b", page, re.MULTILINE)
        sizes = {re.sub(r"\W", "", name.lower()): (low, high or low, unit) for name, low, high, unit in rows}
        stated = {name: item.megabytes for name, item in repository.specifications.items() if item.megabytes}
        assert len(stated) == 5
        for name, megabytes in stated.items():
            (size,) = [size for title, size in sizes.items() if title.startswith(name.replace("_", ""))]
            mean = (float(size[0]) + float(size[1])) / 2
            assert megabytes == pytest.approx(mean * {"MB": 1, "GB": 1000}[size[2]])

    def sizes(self, study, results, repository):
        config = validate_config(study, "toy.yaml")
        return config, dataset_sizes(config, StudyFolder(results, config), repository.specifications)

    def test_unprepared_datasets_have_their_expected_size(self, study, results, repository):
        study["datasets"] |= {"polypgen": {}, "acdc": {}}
        _, sizes = self.sizes(study, results, repository)
        assert sizes["kvasir_seg"] == DatasetSize(False, 2, 1000, 200, 200)
        assert sizes["isic2018"] == DatasetSize(False, 2, 40, 8, 8)
        assert sizes["polypgen"] == DatasetSize(False, 2, 1537, 1537, 1537), "a test-only dataset"
        assert sizes["acdc"] == DatasetSize(False, 3, 200, 40, None), "the number of slices is unknown"

    def test_prepared_datasets_are_counted(self, study, results, repository):
        prepare(results, study, "kvasir_seg")
        _, sizes = self.sizes(study, results, repository)
        assert sizes["kvasir_seg"] == DatasetSize(True, 2, 10, 2, 2)
        (results / "prepared/kvasir_seg/cases.csv").write_text("damaged\n1\n")
        assert self.sizes(study, results, repository)[1]["kvasir_seg"] == DatasetSize(True, 2)

    def test_all_suites_count(self, study, results, repository):
        study["datasets"] |= {"polypgen": {}}
        study["evaluation"] = {
            "interpretation": {"cases": 10, "steps": 2},
            "noise": {"datasets": ["kvasir_seg"], "corruptions": {"gaussian": ["0.01", "0.02"]}},
        }
        config, sizes = self.sizes(study, results, repository)
        images = evaluated_images(config, repository.specifications, sizes)
        maps = 10 * (1 + 2 * 2)
        assert images["kvasir_seg"] == 200 + maps + 1537 + maps + 2 * 200


class TestBenchmarks:
    def test_those_of_the_repository_cover_preparing_and_rendering(self):
        committed = read_committed(REPOSITORY / "benchmarks/results")
        assert committed.runs == 96
        assert 0 < committed.prepare[2] < committed.prepare[3]
        assert {"collect", "compare", "claims", "report", "summary"} <= committed.render.keys()

    def test_rendering_is_scaled_by_the_number_of_runs(self):
        committed = Committed(render={"summary": 20.0, "overall": 4.0}, runs=96)
        assert committed.rendering("summary", 96) == 20
        assert committed.rendering("summary", 192) == 4 + 2 * 16
        assert committed.rendering("summary", 0) == 4
        assert committed.rendering("new", 96) == 12
        assert Committed().rendering("summary", 96) is None

    def test_damaged_files_are_ignored(self, tmp_path):
        (tmp_path / "prepare_a.json").write_text("[]")
        (tmp_path / "prepare_b.json").write_text("{")
        (tmp_path / "reporting_a.json").write_text('{"making": {}}')
        assert read_committed(tmp_path) == Committed()

    def test_those_of_cpus_are_scaled_by_cores(self, study, results, tmp_path):
        benchmark = {
            "machine": {"device": "cpu", "device_name": "CPU", "threads": 2},
            "settings": {"size": 32, "encoder": study["architectures"]["unet"]["encoder"], "precision": "fp32"},
            "results": {"unet, 2": {"ours": {"images_per_second": 4}}},
        }
        (tmp_path / "training_cpu.json").write_text(json.dumps(benchmark))
        config = validate_config(study, "toy.yaml")
        for cores, seconds in ((1, 1.0), (2, 0.5), (4, 0.25), (64, 0.25)):
            (measurement, _) = Estimator(config, results, Repository(tmp_path), kind="cpu", cores=cores).measurements
            assert measurement.seconds == seconds


def test_the_machine_has_the_devices_at_hand(study, results, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    config = validate_config(study, "toy.yaml")
    monkeypatch.setenv("SPECTRALSEG_DEVICES", "GPU-a,GPU-b")
    assert Estimator(config, results, cores=8).machine == Machine("gpu", 2, 8, 4)
    assert Estimator(config, results, cores=8, devices=5).machine.devices == 5
    assert Estimator(config, results, cores=8, kind="cpu").machine == Machine("cpu", 1, 8, 4)
    monkeypatch.setenv("SPECTRALSEG_DEVICES", "")
    assert Estimator(config, results, cores=2).machine == Machine("cpu", 1, 2, 2)
    assert Estimator(config, results, cores=2, kind="gpu").machine == Machine("gpu", 1, 2, 2)


def test_plan_and_status_report_the_same_time(study, results, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPECTRALSEG_DEVICES", "")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(study))
    card = prepare(results, study, "isic2018", seconds=15.0)
    finish(results, study, card)
    texts, values = {}, {}
    for command in ("plan", "status"):
        assert cli.main([command, "toy.yaml"]) == 0
        texts[command] = capsys.readouterr().out.splitlines()
        assert cli.main([command, "toy.yaml", "--json"]) == 0
        values[command] = json.loads(capsys.readouterr().out)
    assert re.match(r"About .* on \d+ cores?: fetch 10 s, prepare .*, train .*, evaluate .*, render ", texts["plan"][0])
    assert texts["plan"][0] == texts["status"][1]
    assert values["plan"]["time"] == values["status"]["time"]
    assert values["status"]["seconds_left"] == values["plan"]["time"]["seconds"] > 0
