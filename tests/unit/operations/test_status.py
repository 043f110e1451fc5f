import dataclasses
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from tests.conftest import REPOSITORY, STUDY

from spectralseg import cli
from spectralseg.config import External, validate_config
from spectralseg.data.prepared import identity_of
from spectralseg.errors import InputError, Interrupted
from spectralseg.grid import Autoencoder, Run
from spectralseg.metrics.records import divergence_record
from spectralseg.operations import heartbeat as beats
from spectralseg.operations.estimate import Estimator
from spectralseg.operations.heartbeat import Beat, heartbeat, read_beat
from spectralseg.operations.status import FailedJob, _job, failed_jobs, first_error, study_queue, study_status
from spectralseg.operations.status_text import as_json, as_text, duration
from spectralseg.progress import progress_bar
from spectralseg.study_folder import StudyFolder
from spectralseg.training.settings import settings_of


@pytest.fixture
def folder(tmp_path):
    run = tmp_path / "results/toy/runs/toy/unet/spatial/lambda0/seed0"
    run.mkdir(parents=True)
    return run


@pytest.fixture
def look(config, tmp_path, monkeypatch):
    """The status of the first run."""
    monkeypatch.chdir(tmp_path)
    return lambda: study_status(config, Path("results/toy"))[0]


def beat(**changes):
    now = time.time()
    me = os.getpid()
    return Beat("train", platform.node(), me, beats._namespace(), beats._born(me), now, now, **changes)


# What the estimate of time reads from the description of a run, besides its seconds.
MEASURED = {"iterations": STUDY["training"]["iterations"], "hardware": {"device": "cpu", "device_name": "toy"}}


def finish_training(folder, seconds=60.0, **changes):
    (folder / "model.pt").write_bytes(b"weights")
    run = Run("toy", "unet", "spatial", "0", 0)
    settings = settings_of(
        validate_config(STUDY, "toy.yaml"),
        run,
        {**identity_of({}), "name": "toy", "image_size": 32, "source": "phantom"},
    )
    (folder / "run.json").write_text(json.dumps({**settings, **MEASURED, "seconds": seconds, **changes}))
    history = [
        {"iteration": 3, "loss": 1.0, "validation_dice": 0.5},
        {"iteration": 6, "loss": 0.9, "validation_dice": 0.75},
    ]
    (folder / "history.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in history))


def training_left(config):
    """Seconds until all runs and masked autoencoders are trained, one after another; None if unknown."""
    estimator = Estimator(config, Path("results/toy"))
    parts = estimator.parts(study_status(config, Path("results/toy")))
    seconds = [part.training_seconds() for part in (*parts.pretraining, *parts.runs)]
    return None if None in seconds else sum(seconds)


def evaluate(folder):
    pd.DataFrame({"metric": ["dsc"], "flag": [""]}).to_parquet(folder / "records.parquet")
    for name in ("reliability.parquet", "examples.npz"):
        (folder / name).touch()


class TestHeartbeat:
    def test_a_heartbeat_shows_progress_and_is_removed_after_success(self, tmp_path, monkeypatch):
        monkeypatch.setattr(beats, "PERIOD", 0.01)
        with heartbeat(tmp_path, "train"), progress_bar(desc="train", unit="it", total=100, initial=20) as bar:
            bar.update(30)
            while not (beat := read_beat(tmp_path)) or beat.done != 50:
                time.sleep(0.05)
            assert (beat.step, beat.unit, beat.done, beat.total) == ("train", "it", 50, 100)
            assert beat.rate > 0
            assert beat.seconds_left == pytest.approx(50 / beat.rate)
            assert beat.alive
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("error", "message", "interrupted"),
        [
            (InputError("file: is wrong; mend it"), "file: is wrong; mend it", False),
            (ValueError("first\nsecond"), "ValueError: first", False),
            (ZeroDivisionError(), "ZeroDivisionError", False),
            (Interrupted("stopped by SIGTERM"), "stopped by SIGTERM", True),
            (KeyboardInterrupt(), "KeyboardInterrupt", True),
        ],
    )
    def test_an_error_keeps_the_heartbeat(self, tmp_path, error, message, interrupted):
        with pytest.raises(type(error)), heartbeat(tmp_path, "evaluate"):
            raise error
        beat = read_beat(tmp_path)
        assert (beat.task, beat.error, beat.interrupted, beat.alive) == ("evaluate", message, interrupted, False)

    def test_sigterm_interrupts_a_task_and_sigusr1_does_not(self, tmp_path):
        code = "import sys, time; from pathlib import Path; from spectralseg.operations.heartbeat import heartbeat\n"
        code += "with heartbeat(Path(sys.argv[1]), 'evaluate'): print(flush=True); time.sleep(600)"
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        process.send_signal(signal.SIGUSR1)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.terminate()
        assert process.wait() == 1
        assert process.stderr.read().splitlines()[-1].endswith("Interrupted: stopped by SIGTERM; run it again")
        beat = read_beat(tmp_path)
        assert (beat.interrupted, beat.alive) == (True, False)

    def test_signal_handlers_are_restored(self, tmp_path):
        before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
        with heartbeat(tmp_path, "train"):
            pass
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before

    def test_a_missing_folder_is_not_created(self, tmp_path):
        with pytest.raises(ValueError, match="x"), heartbeat(tmp_path / "none", "train"):
            raise ValueError("x")
        assert list(tmp_path.iterdir()) == []

    def test_a_killed_process_is_dead_immediately(self, tmp_path):
        code = "import sys, time; from pathlib import Path; from spectralseg.operations.heartbeat import heartbeat\n"
        code += "with heartbeat(Path(sys.argv[1]), 'train'): print(flush=True); time.sleep(600)"
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        while not (beat := read_beat(tmp_path)):
            time.sleep(0.05)
        assert beat.alive
        process.kill()
        process.wait()
        assert not read_beat(tmp_path).alive

    def test_a_process_of_another_machine_is_dead_without_heartbeats(self):
        other = dataclasses.replace(beat(), host="node7", born="1")
        assert other.alive
        assert not dataclasses.replace(other, updated=time.time() - beats.SILENCE - 1).alive

    def test_another_process_with_the_same_id_is_distinguished(self):
        assert beat().alive
        assert not dataclasses.replace(beat(), born="1").alive

    @pytest.mark.parametrize(
        "change",
        [
            {"started": float("inf")},
            {"updated": "now"},
            {"process": -1},
            {"done": float("nan")},
            {"total": 1e400},
            {"rate": True},
            {"error": 3},
            {"later": 1},
        ],
        ids=str,
    )
    def test_a_wrong_value_is_an_error_that_names_it(self, tmp_path, change):
        (tmp_path / beats.FILE).write_text(json.dumps({**dataclasses.asdict(beat()), **change}))
        with pytest.raises(InputError, match=rf"progress.json: is damaged \('{next(iter(change))}'.*delete it"):
            read_beat(tmp_path)

    @pytest.mark.parametrize("content", ["", "[]", '{"task": "train"}', "\x00", "[" * 20_000, "1" * 5000, " " * 10**6])
    def test_a_file_of_another_kind_is_an_error(self, tmp_path, content):
        (tmp_path / beats.FILE).write_text(content)
        with pytest.raises(InputError, match=r"progress\.json: .*delete it"):
            read_beat(tmp_path)

    def test_an_impossible_rate_gives_no_estimate(self):
        assert beat(total=1e15, rate=1e-300).seconds_left is None
        assert beat(total=1, done=2, rate=1.0).seconds_left == 0


class TestRun:
    def test_a_run_without_files_is_waiting(self, look):
        assert (look().state, look().task, look().trained) == ("waiting", "train", False)

    def test_a_training_run_is_running(self, look, folder):
        (folder / "history.jsonl").write_text('{"iteration": 500, "loss": 1, "validation_dice": 0.625}\n')
        counted = {"step": "train", "unit": "it", "done": 600, "total": 1000, "rate": 4.0}
        beats._write(folder, beat(device="GPU-aa", slurm_job="17", **counted))
        status = look()
        assert (status.state, status.task, status.done, status.total) == ("running", "train", 600, 1000)
        assert (status.seconds_left, status.iteration, status.score) == (100, 500, 0.625)
        assert status.where == f"device GPU-aa, {platform.node()}, SLURM job 17"

    def test_a_trained_run_waits_for_its_evaluation(self, look, folder):
        finish_training(folder)
        status = look()
        assert (status.state, status.trained, status.task, status.score) == (
            "waiting",
            True,
            "evaluate",
            0.75,
        )

    def test_an_evaluated_run_is_done(self, look, folder):
        finish_training(folder)
        evaluate(folder)
        (folder / "train.log").write_text("Traceback (most recent call last):\nValueError: of an earlier attempt\n")
        status = look()
        assert (status.state, status.task, status.seconds, status.error) == ("done", "", 60.0, "")

    @pytest.mark.parametrize(
        ("name", "task"),
        [
            *(("model.pt", "train"), ("run.json", "train"), ("history.jsonl", "train")),
            *(("records.parquet", "evaluate"), ("reliability.parquet", "evaluate"), ("examples.npz", "evaluate")),
        ],
    )
    def test_a_run_with_a_missing_output_is_not_done(self, look, folder, name, task):
        """The workflow creates it again."""
        finish_training(folder)
        evaluate(folder)
        (folder / name).unlink()
        assert (look().state, look().task) == ("waiting", task)

    @pytest.mark.parametrize("where", ["run.json", "records.parquet"])
    def test_a_run_may_diverge(self, look, folder, where):
        """In training, as recorded in ``run.json``, or in evaluation, as recorded in its only record."""
        finish_training(folder)
        reason = "its logits are not finite"
        if where == "run.json":
            finish_training(folder, seconds=1.0, diverged=reason)
            assert (look().state, look().task, look().seconds) == ("waiting", "evaluate", None)
            evaluate(folder)
        else:
            evaluate(folder)
            pd.DataFrame([divergence_record("toy", reason)]).to_parquet(folder / where)
        status = look()
        assert (status.state, status.trained, status.task, status.error) == ("diverged", True, "", reason)
        assert (status.score, status.seconds) == (None, None)

    def test_a_failed_run_reports_its_error(self, look, folder):
        (folder / "train.log").write_text("much\n")
        beats._write(folder, beat(error="RuntimeError: CUDA out of memory"))
        status = look()
        assert (status.state, status.error) == ("failed", "RuntimeError: CUDA out of memory")
        assert status.log == "results/toy/runs/toy/unet/spatial/lambda0/seed0/train.log"

    def test_a_run_that_fails_early_has_the_error_of_its_log(self, look, folder):
        (folder / "train.log").write_text("error: toy.yaml: x: unknown key\n")
        assert (look().state, look().error) == ("failed", "toy.yaml: x: unknown key")

    def test_an_evaluation_may_fail(self, look, folder):
        finish_training(folder)
        (folder / "train.log").write_text("error: of an earlier attempt\n")
        (folder / "evaluate.log").write_text("Traceback (most recent call last):\n  x\nKeyError: 'a'\n")
        status = look()
        assert (status.state, status.trained, status.task, status.error) == (
            "failed",
            True,
            "evaluate",
            "KeyError: 'a'",
        )
        assert status.log.endswith("evaluate.log")

    def test_a_killed_run_has_failed(self, look, folder):
        beats._write(folder, dataclasses.replace(beat(), born="1"))
        status = look()
        assert status.state == "failed"
        assert "killed by kill -9" in status.error

    def test_the_log_of_slurm_says_why_a_run_was_killed(self, look, folder, tmp_path):
        beats._write(folder, dataclasses.replace(beat(slurm_job="17"), born="1"))
        log = tmp_path / ".snakemake/slurm_logs/rule_train/toy_unet/17.log"
        log.parent.mkdir(parents=True)
        log.write_text("Building DAG\nslurmstepd: error: Detected 1 oom_kill event in StepId=17.0\nmore\n")
        status = look()
        assert (status.error, status.log) == (
            "slurmstepd: error: Detected 1 oom_kill event in StepId=17.0",
            ".snakemake/slurm_logs/rule_train/toy_unet/17.log",
        )

    def test_the_log_of_an_array_task_says_it_too(self, look, folder, tmp_path):
        beats._write(folder, dataclasses.replace(beat(slurm_job="17_3"), born="1"))
        log = tmp_path / ".snakemake/slurm_logs/rule_train/17_3.log"
        log.parent.mkdir(parents=True)
        log.write_text(
            "slurmstepd: error: *** JOB 17 ON node1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***\n"
        )
        assert "DUE TO TIME LIMIT" in look().error

    def test_an_interrupted_run_waits(self, look, folder):
        (folder / "state.pt").touch()
        (folder / "train.log").write_text("run: stopped by SIGTERM after iteration 3 of 6; run it again\n")
        beats._write(folder, beat(error="stopped by SIGTERM", interrupted=True))
        assert (look().state, look().error) == ("waiting", "")

    def test_a_failed_run_with_a_queued_attempt_waits(self, config, look, folder):
        beats._write(folder, beat(error="RuntimeError: CUDA out of memory"))
        results = folder.parents[5]
        queue = [("rule_train/toy_unet_spatial_0_0", "Resources"), ("rule_evaluate/toy_unet_spatial_0_1", "Priority")]
        status = study_status(config, results, queue)[0]
        assert (status.state, status.task, status.queued, status.error) == ("waiting", "train", "Resources", "")
        assert study_status(config, results, queue[1:])[0].state == "failed"

    def test_a_queued_run_waits(self, config, look):
        queue = [("rule_train/toy_unet_spatial_0_0", "Priority")]
        status = study_status(config, Path("results/toy"), queue)[0]
        assert (status.state, status.queued) == ("waiting", "Priority")

    @pytest.mark.parametrize(
        "content", [b"\xff{\n", b'{"seconds": Infinity}\n', b"[" * 20_000, "pipe", "/dev/zero"], ids=str
    )
    @pytest.mark.parametrize("name", ["history.jsonl", "run.json", "progress.json", "records.parquet"])
    def test_a_damaged_file_affects_its_own_run_only(self, look, config, folder, name, content):
        finish_training(folder)
        evaluate(folder)
        (folder / name).unlink(missing_ok=True)
        if content == "pipe":
            os.mkfifo(folder / name)
        elif content == "/dev/zero":
            (folder / name).symlink_to(content)
        else:
            (folder / name).write_bytes(content)
        statuses = study_status(config, Path("results/toy"))
        assert [status.state for status in statuses] == ["unreadable", "waiting"]
        assert statuses[0].error.startswith(f"{folder.relative_to(Path.cwd()) / name}: ")
        assert "; delete it" in statuses[0].error
        assert f"Unreadable\n  toy/unet/spatial/lambda0/seed0: {statuses[0].error}" in as_text(config, statuses)

    def test_a_pipe_in_place_of_a_log_is_ignored(self, look, folder):
        os.mkfifo(folder / "train.log")
        assert look().state == "waiting"

    @pytest.mark.parametrize(
        ("key", "change"),
        [
            ("training.learning_rate", lambda study: study["training"].update(learning_rate=0.5)),
            ("objective.form", lambda study: study["objectives"]["spatial"].update(form="convex")),
            (
                "architecture.options.decoder_channels",
                lambda study: study["architectures"]["unet"]["options"].update(decoder_channels=[16] * 5),
            ),
            ("data.image_size", lambda study: study.update(image_size=64)),
        ],
    )
    def test_changed_settings_make_a_run_outdated(self, look, folder, study, key, change):
        finish_training(folder)
        evaluate(folder)
        change(study)
        statuses = study_status(validate_config(study, "toy.yaml"), Path("results/toy"))
        assert [status.state for status in statuses] == ["outdated", "waiting"]
        assert (statuses[0].trained, statuses[0].task) == (False, "train")
        assert statuses[0].error == f"'{key}' differs from run.json; the workflow retrains it"

    def test_changed_data_make_a_run_outdated(self, look, folder, study, toy, tmp_path):
        settings = toy.identity
        evaluate(folder)
        (tmp_path / "results/toy/prepared").mkdir()
        (tmp_path / "results/toy/prepared/toy").symlink_to(toy.path)
        study["datasets"]["toy"] = {"source": "path", "path": "raw"}
        config = validate_config(study, "toy.yaml")
        for checksum, error in ((settings["files"]["images.npy"], ""), ("0" * 64, "'data.files.images.npy' differs")):
            finish_training(folder, data={**settings, "files": {**settings["files"], "images.npy": checksum}})
            status = study_status(config, Path("results/toy"))[0]
            assert (status.state, status.error[: len("'data.files.images.npy' differs")]) == (
                "outdated" if error else "done",
                error,
            )
        assert (look().state, look().error.split()[0]) == ("outdated", "'data.source'")

    def test_settings_that_change_no_weights_do_not_make_a_run_outdated(self, look, folder, study):
        finish_training(folder)
        evaluate(folder)
        study["training"] |= {"workers": 2, "save_every": 7, "tensorboard": True}
        assert study_status(validate_config(study, "toy.yaml"), Path("results/toy"))[0].state == "done"


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("", ""),
        ("train: 1/2\nerror: a: b; c\n", "a: b; c"),
        (
            "Traceback (most recent call last):\n  File\ntorch.OutOfMemoryError: CUDA out of memory.\n",
            "torch.OutOfMemoryError: CUDA out of memory.",
        ),
        (
            "Traceback (most recent call last):\nKeyError: 1\n\nTraceback (most recent call last):\nOSError: 2\n",
            "OSError: 2",
        ),
        ("Traceback (most recent call last):\n  x\nAssertionError\nlater line\n", "AssertionError"),
        ("UserWarning: harmless\n", ""),
    ],
)
def test_the_first_line_of_the_error_is_found_in_a_log(log, error):
    assert first_error(log.splitlines()) == error


def test_a_failed_job_of_no_run_is_shown_with_its_error(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    logs = {
        "results/toy/logs/prepare/toy.log": "error: toy.zip: is truncated; fetch it again\n",
        "results/toy/logs/prepare/other.log": "error: of an earlier configuration\n",
        "results/toy/logs/phantom/toy.log": "12 cases\n",
        "results/toy/logs/tables/no_table.log": "error: of an earlier configuration\n",
        "results/toy/logs/leakage.log": "Traceback (most recent call last):\n  File\nMemoryError\n",
        f"{config.downloads}/logs/toy.log": "error: toy: no answer\n",
        f"{config.downloads}/logs/other.log": "error: of another study\n",
    }
    for name, text in logs.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    config = config.model_copy(update={"tables": ["summary"]})
    failed = failed_jobs(StudyFolder(Path("results/toy"), config))
    assert [(job.name, job.error) for job in failed] == [
        ("fetch/toy", "toy: no answer"),
        ("leakage", "MemoryError"),
        ("prepare/toy", "toy.zip: is truncated; fetch it again"),
    ]
    text = as_text(config, [], failed=failed)
    for job in failed:
        assert f"  {job.name}: {job.error}\n    {job.log}" in text
        assert Path(job.log).is_file()
    listed = as_json(config, [], failed=failed)["failed_jobs"]
    assert [FailedJob(**job) for job in listed] == failed


class TestAutoencoders:
    """The study has the autoencoders ``half`` and ``untrained`` and the runs of ``unet``, ``grcsf`` and ``control``."""

    @pytest.fixture
    def study(self, pretrained_study):
        return pretrained_study

    @pytest.fixture
    def config(self, study):
        return validate_config(study, "toy.yaml")

    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "results/toy/pretraining/toy/half"
        folder.mkdir(parents=True)
        return folder

    @pytest.fixture
    def look(self, config, tmp_path, monkeypatch):
        """The status of the autoencoder ``half``."""
        monkeypatch.chdir(tmp_path)
        return lambda **changes: study_status(changes.pop("config", config), Path("results/toy"), **changes)[0]

    def pretrain(self, folder, config, name="half", **changes):
        for file in ("model.pt", "map_quality.csv", "residual_maps.png"):
            (folder / file).write_bytes(b"content")
        data = {**identity_of({}), "name": "toy", "image_size": 32, "source": "phantom"}
        settings = settings_of(config, Autoencoder("toy", name), data)
        described = {**settings, "weights_sha256": "aa", "seconds": 30.0, **changes}
        (folder / "run.json").write_text(json.dumps(described))
        log = [{"iteration": 3, "loss": 1.0, "validation_r2": -0.5}, {"iteration": 7, "loss": 1, "validation_r2": 0.25}]
        (folder / "history.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))

    def train(self, config, folder, architecture="grcsf", **changes):
        run = folder.parents[2] / f"runs/toy/{architecture}/spatial/lambda0/seed0"
        run.mkdir(parents=True)
        finish_training(run)
        data = {**identity_of({}), "name": "toy", "image_size": 32, "source": "phantom"}
        settings = settings_of(config, Run("toy", architecture, "spatial", "0", 0), data)
        (run / "run.json").write_text(json.dumps({**settings, **MEASURED, "seconds": 60.0, **changes}))
        evaluate(run)

    def test_they_are_listed_before_the_runs(self, look, config):
        statuses = study_status(config, Path("results/toy"))
        assert [status.title for status in statuses] == [
            *("pretraining/toy/half", "pretraining/toy/untrained"),
            *(f"toy/{architecture}/spatial/lambda0/seed0" for architecture in ("unet", "grcsf", "control")),
        ]
        assert [status.task for status in statuses] == [*["pretrain"] * 2, *["train"] * 3]
        assert {status.state for status in statuses} == {"waiting"}

    def test_a_finished_one_is_done(self, look, folder, config):
        self.pretrain(folder, config)
        status = look()
        assert (status.state, status.trained, status.task, status.error) == ("done", True, "", "")
        assert (status.iteration, status.score, status.seconds) == (7, 0.25, 30.0)

    @pytest.mark.parametrize("name", ["model.pt", "run.json", "history.jsonl", "map_quality.csv", "residual_maps.png"])
    def test_one_with_a_missing_output_is_not_done(self, look, folder, config, name):
        self.pretrain(folder, config)
        (folder / name).unlink()
        assert (look().state, look().task, look().trained) == ("waiting", "pretrain", False)

    def test_a_running_one_has_progress(self, look, folder):
        (folder / "history.jsonl").write_text('{"iteration": 5, "loss": 1, "validation_r2": -1.5}\n')
        counted = {"step": "pretrain", "unit": "it", "done": 6, "total": 10, "rate": 4.0}
        beats._write(folder, dataclasses.replace(beat(device="GPU-aa", **counted), task="pretrain"))
        status = look()
        assert (status.state, status.task, status.done, status.total) == ("running", "pretrain", 6, 10)
        assert (status.seconds_left, status.iteration, status.score) == (1.0, 5, -1.5)

    def test_a_failed_one_reports_its_error(self, look, folder, config):
        (folder / "pretrain.log").write_text("error: toy: diverged; choose a lower 'learning_rate'\n")
        status = look()
        assert (status.state, status.error) == ("failed", "toy: diverged; choose a lower 'learning_rate'")
        text = as_text(config, study_status(config, Path("results/toy")))
        log = "results/toy/pretraining/toy/half/pretrain.log"
        assert f"Failed\n  pretraining/toy/half, pretrain: {status.error}\n    {log}\n" in text

    def test_one_in_the_queue_of_slurm_waits(self, look, folder):
        (folder / "pretrain.log").write_text("error: of the first attempt\n")
        status = look(queue=[("rule_pretrain/toy_half", "Priority")])
        assert (status.state, status.queued, status.error) == ("waiting", "Priority", "")

    @pytest.mark.parametrize("name", ["history.jsonl", "run.json", "progress.json"])
    def test_a_damaged_file_makes_it_unreadable(self, look, folder, config, name):
        self.pretrain(folder, config)
        (folder / name).write_bytes(b"\xff{\n")
        assert look().state == "unreadable"
        assert look().error.startswith(f"results/toy/pretraining/toy/half/{name}: ")
        assert "; delete it" in look().error

    @pytest.mark.parametrize(
        ("key", "change"),
        [
            ("width", lambda study: study["pretraining"]["half"].update(width=32)),
            ("seed", lambda study: study["pretraining"]["half"].update(seed=1)),
            ("training.flip", lambda study: study["training"].update(flip=False)),
            ("data.image_size", lambda study: study.update(image_size=64)),
        ],
    )
    def test_changed_settings_make_it_and_its_runs_outdated(self, look, folder, config, study, key, change):
        self.pretrain(folder, config)
        self.train(config, folder, pretrained=[{"file": "model.pt", "sha256": "aa"}])
        assert [status.state for status in study_status(config, Path("results/toy"))[::3]] == ["done", "done"]
        change(study)
        statuses = study_status(validate_config(study, "toy.yaml"), Path("results/toy"))
        assert [status.state for status in statuses[::3]] == ["outdated", "outdated"]
        assert (statuses[0].trained, statuses[0].task) == (False, "pretrain")
        assert statuses[0].error == f"'{key}' differs from run.json; the workflow retrains it"
        text = as_text(config, statuses)
        assert f"Outdated\n  pretraining/toy/half: {statuses[0].error}\n  toy/grcsf/" in text

    def test_settings_of_runs_alone_do_not_make_it_outdated(self, look, folder, config, study):
        self.pretrain(folder, config)
        study["training"] |= {"learning_rate": 0.5, "iterations": 99, "batch_size": 1, "workers": 2, "save_every": 7}
        assert look(config=validate_config(study, "toy.yaml")).state == "done"

    def test_changed_data_make_it_outdated(self, look, folder, config, study, toy, tmp_path):
        (tmp_path / "results/toy/prepared").mkdir()
        (tmp_path / "results/toy/prepared/toy").symlink_to(toy.path)
        study["datasets"]["toy"] = {"source": "path", "path": "raw"}
        other = validate_config(study, "toy.yaml")
        self.pretrain(folder, other, data=toy.identity)
        assert look(config=other).state == "done"
        self.pretrain(folder, other, data={**toy.identity, "files": {}})
        assert look(config=other).error.startswith("'data.files.")

    @pytest.mark.parametrize(
        ("checksum", "error"), [("aa", ""), ("bb", "'pretrained.half' differs from run.json; the workflow retrains it")]
    )
    def test_a_run_that_was_trained_with_other_weights_is_outdated(self, look, folder, config, checksum, error):
        self.pretrain(folder, config)
        self.train(config, folder, pretrained=[{"file": "model.pt", "sha256": checksum}])
        run = study_status(config, Path("results/toy"))[3]
        assert (run.state, run.error) == ("outdated" if error else "done", error)

    def test_a_run_is_outdated_while_its_autoencoder_is_not_trained(self, look, folder, config):
        self.train(config, folder, pretrained=[{"file": "model.pt", "sha256": "aa"}])
        run = study_status(config, Path("results/toy"))[3]
        assert (run.state, run.trained, run.waits_for) == ("outdated", False, ("half",))
        assert run.error == "its masked autoencoder 'half' is not trained; the workflow trains both"

    def test_runs_say_for_which_autoencoder_they_wait(self, look, folder, config):
        waits = [status.waits_for for status in study_status(config, Path("results/toy"))]
        assert waits == [(), (), (), ("half",), ("untrained",)]
        self.pretrain(folder, config)
        waits = [status.waits_for for status in study_status(config, Path("results/toy"))]
        assert waits == [(), (), (), (), ("untrained",)]

    def test_the_log_of_its_slurm_job_is_that_of_the_executor(self, config):
        """The folder of the log consists of the wildcards in the order of the rule's outputs."""
        from snakemake.iocontainers import Wildcards
        from snakemake_executor_plugin_slurm.utils import get_job_wildcards

        rules = (REPOSITORY / "workflow/rules/common/study.smk").read_text(encoding="utf-8")
        for kind, task, item in (
            ("pretraining", "pretrain", Autoencoder("a_b", "c")),
            ("run", "evaluate", Run("a", "b", "c", "0.2", 3)),
        ):
            (pattern,) = re.findall(rf'^    {kind}=f"{{RESULTS}}/(.*)",$', rules, re.MULTILINE)
            names = re.findall(r"{{(\w+)}}", pattern)
            values = dict(zip(names, map(str, item.keys.values()), strict=True))
            assert pattern.replace("{{", "{").replace("}}", "}").format(**values) == f"{item.parent}/{item.folder}"
            job = SimpleNamespace(wildcards=Wildcards(fromdict=values))
            assert _job(task, item) == f"rule_{task}/{get_job_wildcards(job)}"

    def test_time_left_includes_them(self, look, folder, config):
        assert training_left(config) is None
        self.pretrain(folder, config)
        assert training_left(config) is None, "the time of runs is unknown"
        self.train(config, folder, "unet")
        assert training_left(config) == 120, "an untrained one takes no time"
        (folder / "map_quality.csv").unlink()
        assert training_left(config) is None
        counted = {"step": "pretrain", "unit": "it", "done": 6, "total": 10, "rate": 1.0}
        beats._write(folder, dataclasses.replace(beat(**counted), task="pretrain"))
        assert training_left(config) == 4 + 120

    def test_an_untrained_one_gives_no_estimate_for_others(self, look, folder, config):
        untrained = folder.with_name("untrained")
        untrained.mkdir()
        self.pretrain(untrained, config, "untrained")
        (untrained / "history.jsonl").write_text("")
        status = study_status(config, Path("results/toy"))[1]
        assert (status.state, status.score, status.seconds) == ("done", None, None)

    def test_text_and_json_have_them_beside_the_runs(self, look, folder, config):
        (folder / "history.jsonl").write_text('{"iteration": 5, "loss": 1, "validation_r2": 0.125}\n')
        counted = {"step": "pretrain", "unit": "it", "done": 6, "total": 10, "rate": 0.5}
        beats._write(folder, dataclasses.replace(beat(**counted), task="pretrain"))
        statuses = study_status(config, Path("results/toy"))
        queue = [("rule_pretrain/toy_untrained", "Priority")]
        text = as_text(config, statuses, queue)
        assert text.startswith("toy: 3 runs, 2 autoencoders · 0 done · 1 running · 0 failed · 4 waiting\n")
        assert "  pretraining/toy/half  pretrain: 6 of 10 (60 %)  R² 0.125    8 s   " in text
        assert (
            "  dataset  autoencoder  state                     R²     runs waiting\n"
            "  toy      half         pretrain: 6 of 10 (60 %)  0.125  1\n"
            "  toy      untrained    waiting                          1\n\n"
            "  dataset  architecture  objective" in text
        )
        assert "  rule      jobs  wait for\n  pretrain  1     Priority\n" in text
        values = json.loads(json.dumps(as_json(config, statuses, queue)))
        assert (values["runs"], values["autoencoders"], values["running"], values["waiting"]) == (3, 2, 1, 4)
        half, untrained = values["pretraining"]
        assert {key: half[key] for key in ("dataset", "pretraining", "state", "iteration", "validation_r2")} == {
            **{"dataset": "toy", "pretraining": "half", "state": "running"},
            **{"iteration": 5, "validation_r2": 0.125},
        }
        assert untrained["state"] == "waiting"
        own = {*Autoencoder("toy", "half").keys, "validation_r2"}
        assert set(half) - own == set(values["status"][0]) - {*Run("toy", "a", "b", "0", 0).keys, "validation_dice"}

    def test_those_of_an_earlier_configuration_are_left_out(self, look, folder, config, tmp_path, capsys):
        folder.with_name("other").mkdir()
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        assert cli.main(["status", "toy.yaml"]) == 0
        output = capsys.readouterr().out
        assert output.endswith("Left out, as the configuration does not name them: 1 autoencoder.\n")
        assert cli.main(["status", "toy.yaml", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["left_out"] == {"autoencoders": 1}

    def test_watching_ends_when_they_are_done_too(self, look, folder, config, tmp_path, capsys, monkeypatch):
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        folder.with_name("untrained").mkdir()
        self.pretrain(folder, config)
        self.pretrain(folder.with_name("untrained"), config, "untrained")
        for architecture in ("unet", "grcsf", "control"):
            self.train(config, folder, architecture, pretrained=[{"file": "model.pt", "sha256": "aa"}])
        (folder / "map_quality.csv").unlink()
        waits = []

        def wait(seconds):
            waits.append(seconds)
            (folder / "map_quality.csv").touch()

        monkeypatch.setattr(time, "sleep", wait)
        assert cli.main(["status", "toy.yaml", "--watch", "3"]) == 0
        assert waits == [3]
        assert capsys.readouterr().out.count("toy: 3 runs, 2 autoencoders") == 2


class TestStudy:
    def test_time_left_is_estimated_from_trained_runs(self, look, folder, config):
        assert training_left(config) is None
        finish_training(folder, seconds=120)
        assert training_left(config) == 120
        other = Path("results/toy/runs/toy/unet/mixed/lambda0.2/seed0")
        other.mkdir(parents=True)
        beats._write(other, beat(step="train", unit="it", done=1, total=3, rate=0.1))
        assert training_left(config) == 20

    def test_runs_that_diverged_are_counted_and_listed(self, look, folder, config):
        finish_training(folder)
        finish_training(folder, seconds=1.0, diverged="the objective is not finite")
        evaluate(folder)
        statuses = study_status(config, Path("results/toy"))
        text = as_text(config, statuses)
        assert text.startswith("toy: 2 runs · 0 done · 1 diverged · 0 running")
        assert "Diverged\n  toy/unet/spatial/lambda0/seed0: the objective is not finite\n" in text
        assert "diverged 0" in text.splitlines()[-2]
        assert as_json(config, statuses)["diverged"] == 1
        assert training_left(config) is None, "a run that ended early gives no estimate for others"

    def test_queued_jobs_are_found_by_the_name_of_the_workflow(self, tmp_path, monkeypatch):
        assert study_queue(tmp_path) == []
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "slurm_name.txt").write_text("a1-b2")
        queries = []
        monkeypatch.setattr("spectralseg.slurm.queued", lambda *arguments: queries.append(arguments) or [("x", "y")])
        assert study_queue(tmp_path) == [("x", "y")]
        assert [name for name, _ in queries] == ["a1-b2"]

    def test_text_and_json_are_consistent(self, look, folder, study):
        study["grid"]["main"]["seeds"] = [0, 1, 2, 3, 5]
        config = validate_config(study, "toy.yaml")
        finish_training(folder)
        evaluate(folder)
        base = folder.parent
        for seed in (1, 2):
            (base / f"seed{seed}").mkdir()
        beats._write(base / "seed1", beat(step="train", unit="it", done=30, total=60, rate=0.5))
        beats._write(base / "seed2", beat(error="ValueError: bad"))
        statuses = study_status(config, Path("results/toy"))
        queue = [*[("rule_train/other", "Resources")] * 12, ("rule_phantom/toy", "Priority")]
        estimator = Estimator(config, Path("results/toy"), cores=1)
        left = estimator.time_left(estimator.parts(statuses))
        text = as_text(config, statuses, queue, time=left)
        assert text.startswith(
            "toy: 10 runs · 1 done · 1 running · 1 failed · 7 waiting\n"
            "At least 9 min on 1 core: prepare at least 10 s, train 9 min, evaluate ?, render at least 5 s\n"
        )
        assert "toy/unet/spatial/lambda0/seed1  train: 30 of 60 (50 %)" in text
        assert "toy/unet/spatial/lambda0/seed2, train: ValueError: bad\n    results/toy/runs/" in text
        assert "  rule     jobs  wait for\n  phantom  1     Priority\n  train    12    Resources\n" in text
        assert "toy      unet          spatial    0    0.750  done 0 · running 1 · failed 2 · waiting 3, 5" in text
        assert "toy      unet          mixed      0.2         waiting 0-3, 5" in text
        values = json.loads(json.dumps(as_json(config, statuses, queue, time=left)))
        assert values["seconds_left"] is None, "the time of evaluations is unknown"
        stages = {stage["stage"]: (stage["jobs"], stage["seconds"]) for stage in values["time"]["stages"]}
        assert (stages["train"], stages["evaluate"]) == ((9, 540), (9, None))
        assert {key: values[key] for key in ("runs", "done", "running", "failed", "waiting")} == {
            "runs": 10,
            "done": 1,
            "running": 1,
            "failed": 1,
            "waiting": 7,
        }
        assert values["queue"] == [
            {"rule": "phantom", "reason": "Priority", "jobs": 1},
            {"rule": "train", "reason": "Resources", "jobs": 12},
        ]
        assert values["status"][0] == {
            **values["status"][0],
            "dataset": "toy",
            "lambda": "0",
            "seed": 0,
            "state": "done",
        }


def test_an_absolute_results_folder_is_read_from_anywhere(look, folder, config, tmp_path, monkeypatch, capsys):
    results = tmp_path / "results" / "toy"
    finish_training(folder)
    evaluate(folder)
    (folder.parent / "seed7").mkdir()
    (results / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for study in (results, results / "config.yaml"):
        assert cli.main(["status", str(study)]) == 0
        output = capsys.readouterr().out
        assert "toy: 2 runs · 1 done" in output
        assert output.endswith("Left out, as the configuration does not name them: 1 run.\n")
    assert cli.main(["plan", str(results), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts"][0]["finished"] == 1


def test_no_control_characters_reach_the_terminal(look, folder, config, tmp_path, capsys):
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    beats._write(folder, beat(error="\x1b[2Jgone\x07"))
    assert cli.main(["status", str(tmp_path / "toy.yaml")]) == 0
    assert "\\x1b[2Jgone\\x07" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (61, "1 min"), (3700, "1 h 02 min"), (172800 + 3600, "2 d 01 h")]
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text


@pytest.fixture
def external(config, tmp_path, monkeypatch):
    """Folder and configuration of the only run of an external method."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.py").write_text("1")
    method = External(
        datasets=["toy"],
        seeds=[7],
        train="python other.py {model} {seed}",
        predict="python other.py {model} {images} {predictions}",
        files=["other.py"],
    )
    study = config.model_copy(update={"external": {"other": method}})
    run = tmp_path / "results/toy/runs/toy/other/external/lambda0/seed7"
    run.mkdir(parents=True)
    return run, study


def test_a_run_of_an_external_method_needs_neither_weights_nor_a_training_log(external):
    folder, study = external

    def state():
        status = study_status(study, Path("results/toy"))[-1]
        assert (status.run.architecture, status.run.seed) == ("other", 7)
        return status.state, status.task, status.trained

    assert state() == ("waiting", "train", False)
    run = Run("toy", "other", "external", "0", 7)
    data = {"name": "toy", "image_size": study.size_of("toy"), "source": study.datasets["toy"].source}
    (folder / "run.json").write_text(json.dumps({**settings_of(study, run, data), "seconds": 12.0}))
    assert state() == ("waiting", "evaluate", True)
    Path("other.py").write_text("2")
    os.utime("other.py", (1, 1))
    status = study_status(study, Path("results/toy"))[-1]
    assert (status.state, status.trained) == ("outdated", False)
    assert status.error.startswith("'method.files.other.py' differs from run.json")


def test_the_queued_job_of_an_external_method_is_recognised(external):
    _, study = external
    assert _job("train", Run("toy", "other", "external", "0", 7)) == "rule_train_external/toy_other_7"
    queue = [("rule_train_external/toy_other_7", "Priority")]
    assert study_status(study, Path("results/toy"), queue)[-1].queued == "Priority"
