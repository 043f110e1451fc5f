import json
import re
from dataclasses import replace

import pandas as pd
import pytest

from spectralseg import cli
from spectralseg.config import External, load_config, validate_config
from spectralseg.data.prepared import identity_of
from spectralseg.errors import InputError
from spectralseg.grid import Autoencoder, Run
from spectralseg.operations.parts import jobs_of, study_parts
from spectralseg.operations.plan import as_json, as_text, gigabytes
from spectralseg.operations.plan import plan as plan_of
from spectralseg.operations.stages import Machine, time_left
from spectralseg.operations.status import study_status
from spectralseg.operations.throughput import DOCTOR, Measured, estimate, measured, settings_of
from spectralseg.training.pretraining import pretrain
from spectralseg.training.settings import settings_of as settings_of_run


@pytest.fixture
def planned(study):
    """A study of 2 x 3 runs of 1000 iterations."""
    study["training"] |= {"iterations": 1000}
    study["grid"]["main"] |= {"seeds": [0, 1, 2]}
    return validate_config(study, "toy.yaml")


def plan(config, results, measurements, *, price, devices=1):
    """The plan of a study on GPUs, with the time of its trainings and evaluations."""
    parts = study_parts(config, results, study_status(config, results), measurements, {})
    machine = Machine("gpu", devices, cores=8, threads=4)
    return plan_of(config, results, parts, price=price, time=time_left(jobs_of(parts, machine), machine))


def finish(
    results, config, objective, lam, seed, seconds, device="H100", evaluation=None, share=1, architecture="unet"
):
    folder = results / f"runs/toy/{architecture}/{objective}/lambda{lam}/seed{seed}"
    folder.mkdir(parents=True)
    data = {**identity_of({}), "name": "toy", "image_size": config.image_size, "source": "phantom"}
    run = {
        **settings_of_run(config, Run("toy", architecture, objective, lam, seed), data),
        "iterations": 1000,
        "seconds": seconds,
        "share": share,
        "hardware": {"device_name": device},
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "model.pt").write_bytes(b"0" * (10**6 - (folder / "run.json").stat().st_size))
    (folder / "history.jsonl").touch()
    if evaluation:
        pd.DataFrame({"metric": ["dsc"], "flag": [""]}).to_parquet(folder / "records.parquet")
        for name in ("reliability.parquet", "examples.npz"):
            (folder / name).touch()
        (folder / "evaluate.benchmark.jsonl").write_text(json.dumps({"s": evaluation}) + "\n")


def test_costs_are_estimated_from_finished_runs(tmp_path, planned):
    finish(tmp_path, planned, "spatial", "0", 0, 3000)
    finish(tmp_path, planned, "spatial", "0", 1, 5000)
    study_plan = plan(planned, tmp_path, measured([tmp_path], None), price=2.5, devices=4)
    (part,) = study_plan.parts
    assert (part.runs, part.finished, part.iterations) == (6, 2, 1000)
    assert part.estimate.source == "2 finished runs"
    hours = [study_plan.hours(which) for which in ("seconds", "low", "high")]
    assert hours == pytest.approx([4 * 4000 / 3600, 4 * 3000 / 3600, 4 * 5000 / 3600])
    assert study_plan.run_bytes == 6 * 10**6
    text = as_text(study_plan)
    assert "time: 4.4 device-hours (3.3 to 5.6)" in text
    assert text.startswith("At least 67 min on 4 GPUs and 8 cores: train 67 min, evaluate ?; 4.4 device-hours\n")
    assert "money: 11.11 (8.33 to 13.89)" in text
    assert "disk: 6 MB for the runs" in text
    assert "unet: 4000 ms per iteration (3000 to 5000) from 2 finished runs, on H100; evaluation not measured" in text
    values = as_json(study_plan)
    assert values["hours"] == pytest.approx(hours[0])
    assert values["money"] == pytest.approx(2.5 * hours[0])


def test_outdated_and_unreadable_runs_are_retrained(tmp_path, study, planned):
    for seed in range(3):
        finish(tmp_path, planned, "spatial", "0", seed, 3600)
    (tmp_path / "runs/toy/unet/spatial/lambda0/seed2/run.json").write_text("{")
    (part,) = plan(planned, tmp_path, [], price=None, devices=1).parts
    assert (part.runs, part.finished, part.outdated) == (6, 2, 1)
    study["training"] |= {"learning_rate": 0.5}
    (part,) = plan(validate_config(study, "toy.yaml"), tmp_path, [], price=None, devices=1).parts
    assert (part.runs, part.finished, part.outdated) == (6, 0, 3)


@pytest.mark.parametrize(
    "change", [{"seconds": float("inf")}, {"seconds": "1"}, {"iterations": 0}, {"share": "x"}], ids=str
)
def test_impossible_measurements_are_ignored(tmp_path, planned, change):
    finish(tmp_path, planned, "spatial", "0", 0, 3600)
    file = tmp_path / "runs/toy/unet/spatial/lambda0/seed0/run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert measured([tmp_path], None) == []


def test_runs_that_diverged_are_not_measurements(tmp_path, planned):
    finish(tmp_path, planned, "spatial", "0", 0, 3000)
    finish(tmp_path, planned, "spatial", "0", 1, 1)
    file = tmp_path / "runs/toy/unet/spatial/lambda0/seed1/run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "diverged": "its logits are not finite"}))
    (measurement,) = measured([tmp_path], None)
    assert measurement.seconds == 3


def test_evaluation_time_counts_if_it_was_measured(tmp_path, planned):
    finish(tmp_path, planned, "spatial", "0", 0, 3600, evaluation=360.0)
    study_plan = plan(planned, tmp_path, measured([tmp_path], None), price=None, devices=1)
    assert study_plan.hours() == pytest.approx(5 * 1.1)
    assert "evaluation not measured" not in as_text(study_plan)
    (tmp_path / "runs/toy/unet/spatial/lambda0/seed0/examples.npz").unlink()
    study_plan = plan(planned, tmp_path, measured([tmp_path], None), price=None, devices=1)
    assert study_plan.hours() == pytest.approx(5 * 1.1 + 0.1), "it is trained but must be evaluated again"


def test_measurements_on_several_devices_are_not_mixed(tmp_path, planned):
    finish(tmp_path, planned, "spatial", "0", 0, 90_000, device="laptop")
    for seed, seconds in ((1, 2000), (2, 4000)):
        finish(tmp_path, planned, "spatial", "0", seed, seconds)
    (part,) = plan(planned, tmp_path, measured([tmp_path], None), price=None, devices=1).parts
    assert (part.estimate.seconds, part.estimate.device) == (3.0, "H100")
    assert part.estimate.source == "2 finished runs"


def test_runs_that_share_a_device_share_its_cost(tmp_path, planned):
    finish(tmp_path, planned, "spatial", "0", 0, 3600, share=3)
    study_plan = plan(planned, tmp_path, measured([tmp_path], None), price=None, devices=1)
    assert study_plan.hours() == pytest.approx(5 / 3)
    assert "on H100 shared by 3 runs" in as_text(study_plan)


def test_a_benchmark_has_a_measurement_per_precision(tmp_path):
    variants = {"ours": 100, "ours, fp32": 80, "ours, fp16": 160, "ours, loaded": 90, "plain, fp32": 20}
    results = {"unet, 8": {variant: {"images_per_second": speed} for variant, speed in variants.items()}}
    gpu = {"machine": {"device": "cuda", "device_name": "A100"}, "settings": {"size": 224}, "results": results}
    (tmp_path / "training_a100.json").write_text(json.dumps(gpu))
    seconds = {measurement.setting.precision: measurement.seconds for measurement in measured([], tmp_path)}
    assert seconds == {"bf16": 8 / 100, "auto": 8 / 100, "fp32": 8 / 80, "fp16": 8 / 160}


def test_a_study_is_planned_on_one_device(repository):
    """TransUNet in single precision was measured on a CPU only, which must not be used for a GPU."""
    measurements = measured([], repository / "benchmarks" / "results")
    for setting in settings_of(load_config(repository / "config" / "config.yaml"), "acdc").values():
        assert "NVIDIA" in estimate(replace(setting, precision="fp32"), measurements).device


@pytest.mark.parametrize(("devices", "expected"), [("", "cpu"), ("GPU-a", "cuda")])
def test_benchmarks_are_those_of_the_kind_of_machine(devices, expected, tmp_path, study, capsys, monkeypatch):
    for kind, speed in (("cpu", 4), ("cuda", 400)):
        machine = {"device": kind, "device_name": kind}
        results = {"unet, 8": {"ours": {"images_per_second": speed}}}
        benchmark = {"machine": machine, "settings": {"size": 224, "encoder": "resnet50"}, "results": results}
        (tmp_path / f"training_{kind}.json").write_text(json.dumps(benchmark))
    (tmp_path / "study.json").write_text(json.dumps(study))
    monkeypatch.setenv("SPECTRALSEG_DEVICES", devices)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert cli.main(["plan", str(tmp_path / "study.json"), "--benchmarks", str(tmp_path)]) == 0
    assert f", on {expected}" in capsys.readouterr().out
    assert cli.main(["plan", str(tmp_path / "study.json"), "--benchmarks", str(tmp_path), "--on", "gpu"]) == 0
    assert ", on cuda" in capsys.readouterr().out


def test_without_runs_the_doctor_is_used_and_then_benchmarks(tmp_path, planned):
    setting = settings_of(planned, "toy")["unet"]
    results, benchmarks = tmp_path / "results", tmp_path / "benchmarks"
    results.mkdir()
    benchmarks.mkdir()
    step = {"machine": {"device": "cuda", "device_name": "A100"}, "settings": {"size": 224, "encoder": "resnet50"}}
    step["results"] = {"unet, 8": {"plain, fp32": {}, "ours": {"images_per_second": 160}}}
    (benchmarks / "training_a100.json").write_text(json.dumps(step))
    speed = estimate(setting, measured([results], benchmarks))
    mean = 0.05 * setting.pixels / (8 * 224**2)
    assert (speed.seconds, speed.low, speed.high, speed.device) == pytest.approx((mean, mean / 3, 3 * mean, "A100"))
    assert speed.source == "benchmark of unet, as this one was not measured; spectralseg doctor measures it"
    measurement = {"setting": vars(setting), "seconds": {"together": 0.2}, "device_name": "RTX"}
    (results / DOCTOR).write_text(json.dumps(measurement))
    speed = estimate(setting, measured([results], benchmarks))
    assert (speed.seconds, speed.low, speed.high, speed.source) == (0.2, 0.2, 0.4, "doctor")
    assert estimate(setting, []) is None


def test_the_benchmarks_of_this_repository_cover_the_grid_of_the_paper(repository):
    measurements = measured([], repository / "benchmarks" / "results")
    for setting in settings_of(load_config(repository / "config" / "config.yaml"), "acdc").values():
        speed = estimate(setting, measurements)
        assert speed.source == "benchmark"
        assert "NVIDIA" in speed.device


def test_runs_of_other_settings_are_extrapolated(planned):
    setting = settings_of(planned, "toy")["unet"]
    other = Measured(settings_of(planned, "toy")["transunet"], 3.0, "H100", "finished runs")
    assert "not measured" in estimate(setting, [other]).source


def test_without_a_measurement_no_estimate_is_given(tmp_path, planned):
    study_plan = plan(planned, tmp_path, [], price=1.0, devices=1)
    assert study_plan.hours() is None
    assert "time: unknown" in as_text(study_plan)
    assert "money" not in as_text(study_plan)
    assert study_plan.run_bytes > 6 * 8 * 10_000, "two sets of weights for each run"


@pytest.mark.slow
class TestAutoencoders:
    @pytest.fixture
    def planned(self, pretrained_study):
        """Three runs of 1000 iterations, a masked autoencoder of 10 iterations and an untrained one."""
        pretrained_study["training"] |= {"iterations": 1000}
        return validate_config(pretrained_study, "toy.yaml")

    def pretrain(self, results, config, name="half", seconds=5.0, device="H100"):
        folder = results / f"pretraining/toy/{name}"
        folder.mkdir(parents=True)
        data = {**identity_of({}), "name": "toy", "image_size": config.image_size, "source": "phantom"}
        settings = settings_of_run(config, Autoencoder("toy", name), data)
        training = {"batch_size": settings["batch_size"], "precision": "auto", **settings["training"]}
        measured = {"seconds": seconds, "share": 1, "hardware": {"device_name": device}}
        (folder / "run.json").write_text(json.dumps({**settings, "training": training, **measured}))
        for file in ("model.pt", "history.jsonl", "map_quality.csv", "residual_maps.png"):
            (folder / file).touch()
        return folder

    def plan(self, config, results, price=None):
        return plan(config, results, measured([results], None), price=price, devices=1)

    def test_they_are_parts_with_iterations_and_disk_space(self, tmp_path, planned, toy):
        half, untrained = self.plan(planned, tmp_path).pretraining
        assert (half.dataset, half.name, half.runs, half.finished, half.iterations) == ("toy", "half", 1, 0, 10)
        assert (untrained.name, untrained.iterations, untrained.hours(), untrained.measured) == (
            "untrained",
            0,
            0,
            True,
        )

    def test_without_a_measurement_their_hours_are_unknown(self, tmp_path, planned):
        for name, architecture in (("0", "unet"), ("1", "grcsf"), ("2", "control")):
            finish(tmp_path / name, planned, "spatial", "0", 0, 3600, architecture=architecture)
        runs = [tmp_path / name for name in "012"]
        study_plan = plan(planned, tmp_path / "none", measured(runs, None), price=1.0, devices=1)
        assert study_plan.hours() == pytest.approx(3)
        assert study_plan.unknown == as_json(study_plan)["unknown"] == ["toy/half"]
        text = as_text(study_plan)
        assert "toy: 3 runs, 2 autoencoders\n" in text
        assert re.search(r"toy +half +0 +0 +10 +\?\n", text)
        assert re.search(r"toy +untrained +0 +0 +0 +0\.0\n", text)
        assert re.search(
            r"^time: 3.0 device-hours .*, without 1 autoencoder whose speed is unknown until one", text, re.M
        )
        assert "money: 3.00" in text
        assert as_json(study_plan)["pretraining"][0]["hours"] is None

    def test_hours_are_measured_from_finished_ones(self, tmp_path, planned):
        self.pretrain(tmp_path / "other", planned, seconds=36_000.0)
        finish(tmp_path / "other", planned, "spatial", "0", 0, 3600)
        measurements = measured([tmp_path / "other"], None)
        study_plan = plan(planned, tmp_path, measurements, price=2.0, devices=1)
        half, _ = study_plan.pretraining
        assert (half.hours(), half.estimate.source) == (10, "1 finished autoencoders")
        unet = next(part for part in study_plan.parts if part.name == "unet")
        assert unet.estimate.seconds == 3.6, "an autoencoder says nothing about runs"
        assert study_plan.hours() == pytest.approx(10 + 3)
        text = as_text(study_plan)
        assert "half: 3600000 ms per iteration (3600000 to 3600000) from 1 finished autoencoders, on H100\n" in text
        assert "untrained:" not in text
        values = as_json(study_plan)
        assert values["money"] == pytest.approx(26)
        assert (values["pretraining"][0]["pretraining"], values["pretraining"][0]["hours"]) == ("half", 10)

    def test_those_of_other_sizes_are_extrapolated(self, tmp_path, planned, pretrained_study):
        self.pretrain(tmp_path, planned, seconds=20.0)
        pretrained_study["pretraining"]["half"]["batch_size"] = 8
        half, _ = self.plan(validate_config(pretrained_study, "toy.yaml"), tmp_path).pretraining
        assert (half.estimate.seconds, half.estimate.low, half.estimate.high) == pytest.approx((4, 4 / 3, 12))
        assert half.estimate.source == "finished autoencoders, as this one was not measured; finish one"
        assert (half.finished, half.outdated) == (0, 1)

    def test_a_finished_one_costs_nothing_more(self, tmp_path, planned):
        self.pretrain(tmp_path, planned)
        half, _ = self.plan(planned, tmp_path).pretraining
        assert (half.finished, half.hours()) == (1, 0)

    def test_untrained_ones_are_not_measurements(self, tmp_path, planned):
        self.pretrain(tmp_path, planned, "untrained")
        assert measured([tmp_path], None) == []

    def test_their_disk_space_is_that_of_their_weights(self, tmp_path, planned, toy):
        file = tmp_path / "model/model.pt"
        pretrain(planned, "half", toy, file.parent, device_name="cpu")
        study_plan = self.plan(planned, tmp_path)
        assert study_plan.pretraining_bytes == pytest.approx(2 * file.stat().st_size, rel=0.1)
        folder = self.pretrain(tmp_path, planned)
        (folder / "model.pt").write_bytes(b"0" * 10**9)
        assert self.plan(planned, tmp_path).pretraining_bytes > 10**9
        assert "MB for the runs, 1.0 GB for the autoencoders, " in as_text(self.plan(planned, tmp_path))


def test_epochs_need_the_prepared_dataset(tmp_path, study, toy):
    study["training"] |= {"epochs": 3.0}
    config = validate_config(study, "toy.yaml")
    with pytest.raises(InputError, match="run 'snakemake data' first"):
        plan(config, tmp_path, [], price=None, devices=1)
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "toy").symlink_to(toy.path)
    (part,) = plan(config, tmp_path, [], price=None, devices=1).parts
    assert part.iterations == -(-3 * len(toy.rows("train")) // 2)


@pytest.mark.parametrize(("size", "text"), [(0, "0 MB"), (999_000_000, "999 MB"), (2_340_000_000, "2.3 GB")])
def test_sizes_are_readable(size, text):
    assert gigabytes(size) == text


def test_the_paper_can_be_planned_from_a_fresh_clone(capsys, repository, monkeypatch):
    monkeypatch.chdir(repository)
    assert cli.main(["plan", "--price", "2", "--on", "gpu", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert sum(part["runs"] for part in values["parts"]) == 96
    assert values["hours_low"] < values["hours"] < values["hours_high"]
    assert values["money"] == pytest.approx(2 * values["hours"])


def test_runs_of_external_methods_are_estimated_from_finished_ones(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = {"train": "t {model} {seed}", "predict": "p {model} {images} {predictions}"}
    method = External(datasets=["toy"], seeds=[0, 1, 2], **commands)
    study = config.model_copy(update={"external": {"other": method}})
    results = tmp_path / "results/toy"

    def parts():
        return study_parts(study, results, study_status(study, results), [], {})

    def external():
        (part,) = [part for part in parts().runs if part.external]
        return part

    assert (external().runs, external().finished, external().training_seconds()) == (3, 0, None)
    run = Run("toy", "other", "external", "0", 0)
    folder = results / "runs" / run.folder
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights").write_bytes(bytes(1000))
    data = {"name": "toy", "image_size": study.size_of("toy"), "source": study.datasets["toy"].source}
    (folder / "run.json").write_text(json.dumps({**settings_of_run(study, run, data), "seconds": 3600.0}))
    for name in ("records.parquet", "reliability.parquet", "examples.npz"):
        pd.DataFrame().to_parquet(folder / name)
    (folder / "evaluate.benchmark.jsonl").write_text('{"s": 60.0}\n')
    assert (external().finished, external().training_seconds(), external().evaluation_seconds) == (1, 7200.0, 120.0)
    assert external().hours() == pytest.approx(2 + 120 / 3600)
    text = as_text(plan(study, results, [], price=None))
    assert "other: 60 min per run, from finished runs" in text
    assert re.search(r"toy +other +3 +1 +0 +2\.0", text)
