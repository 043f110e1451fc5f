import copy
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing import event_accumulator
from tests.conftest import STUDY

from spectralseg.config import validate_config
from spectralseg.errors import InputError, Interrupted
from spectralseg.grid import Run
from spectralseg.loading import read_tensors
from spectralseg.run_folder import write_run
from spectralseg.training import checkpoint, loop
from spectralseg.training.batches import Order
from spectralseg.training.learner import Learner
from spectralseg.training.settings import settings_of
from spectralseg.training.validation import validation_dice, validation_part

pytestmark = pytest.mark.slow


class Stop(Exception):
    pass


@pytest.fixture
def config(study):
    return configured(study)


def configured(study):
    """Seven iterations with dropout; checkpoints after 2, 4, 6 and validations after 3, 6, 7."""
    study["training"] |= {"iterations": 7, "save_every": 2, "validate_every": 3, "learning_rate": 0.05}
    study["architectures"]["transunet"]["options"] = {
        **study["architectures"]["transunet"]["options"], "layers": 1, "dropout": 0.3
    }  # fmt: skip
    return validate_config(study, "toy.yaml")


RUN = Run("toy", "transunet", "mixed", "0.2", 0)


def train(config, data, folder, run=RUN):
    loop.train(config, run, data, folder, device_name="cpu")
    return outcome(folder)


def outcome(folder):
    weights = torch.load(folder / "model.pt", weights_only=True)
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return weights, history, json.loads((folder / "run.json").read_text())


def same_weights(first, second):
    return all(
        first[kind].keys() == second[kind].keys()
        and all(torch.equal(first[kind][name], second[kind][name]) for name in first[kind])
        for kind in ("best", "last")
    )


@pytest.fixture
def iterations(monkeypatch):
    """Records the started iterations; ``iterations.stop_at`` ends the run at an iteration."""

    class Recorded(list):
        stop_at = None

    recorded, rate = Recorded(), loop.learning_rate

    def watch(training, iteration, last):
        if iteration == recorded.stop_at:
            recorded.stop_at = None
            raise Stop
        recorded.append(iteration)
        return rate(training, iteration, last)

    monkeypatch.setattr(loop, "learning_rate", watch)
    return recorded


@pytest.fixture(scope="session")
def whole_run(made_once, toy):
    """Folder of an uninterrupted run."""
    config = configured(copy.deepcopy(STUDY))
    return made_once("whole-run", lambda folder: train(config, toy, folder / "run")) / "run"


@pytest.fixture
def whole(whole_run):
    """Outputs of an uninterrupted run."""
    return outcome(whole_run)


@pytest.mark.parametrize(("stop_at", "resumed_at"), [(0, 0), (1, 0), (2, 2), (3, 3), (5, 4), (6, 6)])
def test_a_stopped_run_resumes_to_the_same_bits(config, toy, tmp_path, whole, iterations, stop_at, resumed_at):
    iterations.stop_at = stop_at
    with pytest.raises(Stop):
        train(config, toy, tmp_path / "run")
    assert not (tmp_path / "run" / "model.pt").exists(), "outputs appear only when complete"
    assert not (tmp_path / "run" / "run.json").exists()
    del iterations[:]
    torch.manual_seed(12345)
    weights, history, info = train(config, toy, tmp_path / "run")
    assert list(iterations) == list(range(resumed_at, 7))
    assert history == whole[1]
    assert same_weights(weights, whole[0])
    assert info["best_iteration"] == whole[2]["best_iteration"]
    assert not (tmp_path / "run" / checkpoint.FILE).exists()


def test_a_run_may_be_stopped_several_times(config, toy, tmp_path, whole, iterations):
    for stop_at in (1, 3, 3, 5, 6):
        iterations.stop_at = stop_at
        with pytest.raises(Stop):
            train(config, toy, tmp_path / "run")
    weights, history, _ = train(config, toy, tmp_path / "run")
    assert history == whole[1]
    assert same_weights(weights, whole[0])


def test_runs_of_the_same_seed_are_equal_and_of_another_seed_differ(config, toy, tmp_path, whole):
    again = train(config, toy, tmp_path / "again")
    assert same_weights(again[0], whole[0])
    assert again[1] == whole[1]
    other = train(config, toy, tmp_path / "other", Run("toy", "transunet", "mixed", "0.2", 1))
    assert not same_weights(other[0], whole[0])


def test_an_incomplete_checkpoint_leaves_the_previous_one(config, toy, tmp_path, whole, iterations, monkeypatch):
    save, written = torch.save, []

    def cut(content, file, **options):
        written.append(file)
        if len(written) == 2:
            file.write(b"half")
            raise Stop
        save(content, file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut)
        with pytest.raises(Stop):
            train(config, toy, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"history.jsonl", checkpoint.FILE}
    del iterations[:]
    weights, _, _ = train(config, toy, tmp_path / "run")
    assert iterations[0] == 2
    assert same_weights(weights, whole[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda study: study["training"].update(learning_rate=0.01),
        lambda study: study["training"].update(iterations=8),
        lambda study: study["objectives"]["mixed"].update(form="convex"),
        lambda study: study["architectures"]["transunet"]["options"].update(dropout=0.2),
    ],
    ids=["learning rate", "iterations", "objective", "dropout"],
)
def test_a_checkpoint_of_other_settings_is_not_resumed(config, toy, tmp_path, study, iterations, change):
    iterations.stop_at = 5
    with pytest.raises(Stop):
        train(config, toy, tmp_path / "run")
    change(study)
    changed = validate_config(study, "toy.yaml")
    del iterations[:]
    resumed = train(changed, toy, tmp_path / "run")
    assert iterations[0] == 0
    fresh = train(changed, toy, tmp_path / "fresh")
    assert same_weights(resumed[0], fresh[0])
    assert resumed[1] == fresh[1]


@pytest.mark.parametrize("change", [{"workers": 1}, {"save_every": 3}, {"tensorboard": True}], ids=str)
def test_settings_that_change_no_weights_allow_resuming(config, toy, tmp_path, study, iterations, whole, change):
    iterations.stop_at = 5
    with pytest.raises(Stop):
        train(config, toy, tmp_path / "run")
    study["training"].update(change)
    del iterations[:]
    weights, history, _ = train(validate_config(study, "toy.yaml"), toy, tmp_path / "run")
    assert iterations[0] == 4
    assert same_weights(weights, whole[0])
    assert history == whole[1]


def test_the_training_log_is_rewritten_when_a_run_resumes(config, toy, tmp_path, iterations):
    """The workflow deletes it with other outputs of a failed attempt."""
    iterations.stop_at = 5
    with pytest.raises(Stop):
        train(config, toy, tmp_path / "run")
    file = tmp_path / "run" / "history.jsonl"
    before = file.read_text()
    file.unlink()
    iterations.stop_at = 4
    with pytest.raises(Stop):
        train(config, toy, tmp_path / "run")
    assert file.read_text() == before != ""


def test_a_checkpoint_of_other_data_is_not_resumed(config, toy, tmp_path, iterations, prepare_cases, toy_cases):
    iterations.stop_at = 5
    with pytest.raises(Stop):
        train(config, toy, tmp_path / "run")
    del iterations[:]
    train(config, prepare_cases(tmp_path / "toy", toy_cases(9)), tmp_path / "run")
    assert iterations[0] == 0


def test_a_folder_holds_one_run(config, toy, tmp_path, iterations, whole):
    """Neither its checkpoint nor its outputs are replaced by those of another run."""
    other = Run("toy", "transunet", "mixed", "0.5", 0)
    iterations.stop_at = 5
    with pytest.raises(Stop):
        train(config, toy, tmp_path / "run")
    with pytest.raises(InputError, match=r"state\.pt: is the checkpoint of another run, .*/lambda0\.2/seed0; choose"):
        train(config, toy, tmp_path / "run", other)
    assert same_weights(train(config, toy, tmp_path / "run")[0], whole[0])
    with pytest.raises(InputError, match=r"holds another run, .*/lambda0\.2/seed0; choose .*/lambda0\.5/seed0 here"):
        train(config, toy, tmp_path / "run", other)
    assert same_weights(outcome(tmp_path / "run")[0], whole[0])


def test_a_run_that_another_process_has_finished_is_kept(config, toy, tmp_path, iterations, whole_run):
    folder = shutil.copytree(whole_run, tmp_path / "whole")

    def steps(**changes):
        del iterations[:]
        changed = with_training(config, **changes)
        loop.train(changed, RUN, toy, folder, device_name="cpu", keep_finished=True)
        return len(iterations)

    assert steps() == steps(save_every=3) == 0
    assert steps(learning_rate=0.01) == 7
    assert steps(learning_rate=0.01) == 0
    (folder / "model.pt").write_bytes(b"")
    assert steps(learning_rate=0.01) == 7


def test_the_run_folder_describes_the_run(config, toy, whole_run, whole):
    weights, history, info = whole
    assert sorted(path.name for path in whole_run.iterdir()) == ["history.jsonl", "model.pt", "run.json"]
    assert [entry["iteration"] for entry in history] == [3, 6, 7]
    assert info["run"] == RUN.keys
    assert info["training"] == config.training.model_dump(mode="json")
    assert info["data"]["files"] == toy.info["files"]
    assert info["parameters"] > 0
    assert info["seconds"] > 0
    assert {"versions", "git", "hardware", "peak_memory"} <= info.keys()
    best = max(history, key=lambda entry: entry["validation_dice"])
    assert (info["best_iteration"], info["validation_dice"]) == (best["iteration"], best["validation_dice"])
    assert weights["best"].keys() == weights["last"].keys()


def test_all_objectives_of_a_seed_start_from_the_same_weights(config, toy, tmp_path, monkeypatch):
    starts = []
    restore = checkpoint.restore

    def watch(folder, learner, *given):
        starts.append(learner.weights())
        return restore(folder, learner, *given)

    monkeypatch.setattr(checkpoint, "restore", watch)
    train(config, toy, tmp_path / "a")
    train(config, toy, tmp_path / "b", Run("toy", "transunet", "spatial", "0", 0))
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])


class TestDivergence:
    """The run ends with all its files and the reason, so that other runs of the study continue."""

    def diverge(self, config, data, folder):
        weights, history, info = train(config, data, folder)
        assert sorted(path.name for path in folder.iterdir()) == ["history.jsonl", "model.pt", "run.json"]
        assert weights.keys() == {"best", "last"}
        assert (info["best_iteration"], info["validation_dice"]) == (None, None)
        return info["diverged"], history

    def test_an_objective_that_is_not_finite_names_the_cases_of_its_batch(
        self, config, toy, tmp_path, monkeypatch, caplog
    ):
        calls = []

        def fails_in_the_third_iteration(logits, masks):
            calls.append(masks)
            return logits.sum() * (float("nan") if len(calls) == 3 else 0.0)

        monkeypatch.setattr(loop, "objective_of", lambda *_: fails_in_the_third_iteration)
        rows = Order(toy, config.training, RUN.seed).batch(config.training.batch_size, 2)
        cases = ", ".join(toy.cases["case"][row] for row in rows)
        reason, history = self.diverge(config, toy, tmp_path / "run")
        assert reason == (
            f"the objective or its gradient is not finite in iteration 3, whose batch holds the cases {cases}"
        )
        assert len(calls) == 3
        assert history == []
        assert f"{tmp_path / 'run'}: the run diverged: {reason}; lower 'learning_rate'" in caplog.text

    @pytest.mark.parametrize(("clip", "failing"), [(None, 3), (0.5, 3), (None, 7)])
    def test_a_gradient_that_is_not_finite_names_the_cases_of_its_batch(
        self, config, toy, tmp_path, monkeypatch, clip, failing
    ):
        """Also in the last iteration, which no other follows."""
        calls = []

        def objective(logits, masks):
            calls.append(1)
            slope = (logits * 0).abs().sqrt().sum() if len(calls) == failing else 0  # 0 with a gradient of NaN
            return logits.square().mean() + slope

        monkeypatch.setattr(loop, "objective_of", lambda *_: objective)
        reason, history = self.diverge(with_training(config, gradient_clip=clip), toy, tmp_path / "run")
        assert f"its gradient is not finite in iteration {failing}, whose batch" in reason
        assert [entry["iteration"] for entry in history] == ([] if failing == 3 else [3, 6])

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_logits_of_the_validation_part_that_are_not_finite_end_the_run(
        self, config, toy, tmp_path, monkeypatch, value
    ):
        """As with an overflow in running statistics, which training does not use."""
        build, evaluated = loop.model_of, []

        class Overflows(torch.nn.Module):
            def __init__(self, model):
                super().__init__()
                self.model = model

            def forward(self, images):
                logits = self.model(images)
                evaluated.append(1) if not self.training else None
                spoiled = not self.training and len(evaluated) == 3  # in the second validation, a batch each
                return logits.index_fill(-1, torch.tensor([0]), value) if spoiled else logits

        monkeypatch.setattr(loop, "model_of", lambda *given: Overflows(build(*given)))
        assert 1 <= len(toy.rows("validation")) <= config.evaluation.batch_size
        evaluated.append(1)
        reason, history = self.diverge(config, toy, tmp_path / "run")
        assert reason == "the logits of the validation part are not finite after iteration 6 of 7"
        assert [entry["iteration"] for entry in history] == [3]

    def test_fp16_training_that_skips_every_step_ends_the_run(self, config, toy, tmp_path, monkeypatch):
        def objective(logits, masks):
            return logits.square().mean() + (logits * 0).abs().sqrt().sum()  # a gradient of NaN at every loss scale

        monkeypatch.setattr(loop, "objective_of", lambda *_: objective)
        changed = with_training(config, precision="fp16", iterations=45, validate_every=45, save_every=45)
        assert "not finite at any loss scale" in self.diverge(changed, toy, tmp_path / "run")[0]

    def test_a_resumed_run_diverges_in_the_same_way(self, config, toy, tmp_path, monkeypatch, iterations):
        changed = with_training(config, learning_rate=1e30)
        expected = self.diverge(changed, toy, tmp_path / "whole")
        iterations.stop_at = 1
        with pytest.raises(Stop):
            train(changed, toy, tmp_path / "run")
        assert self.diverge(changed, toy, tmp_path / "run") == expected

    def test_other_runs_have_no_reason_for_divergence(self, whole):
        assert whole[2]["diverged"] is None


def test_a_dataset_without_validation_cases_is_an_input_error(config, tmp_path, prepare_cases, toy_cases):
    data = prepare_cases(tmp_path / "toy", toy_cases(2))
    with pytest.raises(InputError, match="there are no validation cases"):
        train(config, data, tmp_path / "run")


def test_validation_dice_is_pooled_over_slices_and_averaged_over_classes(config, hearts):
    class Perfect(torch.nn.Module):
        """Returns the masks of the validation rows in order."""

        def __init__(self, wrong=()):
            super().__init__()
            self.masks = torch.from_numpy(hearts.masks[hearts.rows("validation")]).long()
            for label in wrong:
                self.masks[self.masks == label] = 0
            self.place = 0
            self.parameter = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images):
            masks = self.masks[self.place : self.place + len(images)]
            self.place += len(images)
            return torch.nn.functional.one_hot(masks, 4).movedim(-1, 1).float()

    def score(batch_size, **options):
        learner = Learner(Perfect(**options), lambda *_: None, config.training, [0.0], [1.0])
        return validation_dice(learner, validation_part(hearts, torch.device("cpu")), len(hearts.classes), batch_size)

    assert score(5) == pytest.approx(1)
    assert score(5, wrong=[2]) == pytest.approx(2 / 3)
    assert score(100, wrong=[1, 2, 3]) == pytest.approx(0)


def with_training(config, **options):
    return config.model_copy(update={"training": config.training.model_copy(update=options)})


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"channels_last": False, "schedule": "cosine"},
        {"gradient_clip": 0.5, "deterministic": "strict"},
        {"deterministic": "off", "workers": 1},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_training_option_resumes_exactly(config, toy, tmp_path, iterations, options):
    changed = with_training(config, **options)
    weights, history, _ = train(changed, toy, tmp_path / "whole")
    iterations.stop_at = 3
    with pytest.raises(Stop):
        train(changed, toy, tmp_path / "run")
    again = train(changed, toy, tmp_path / "run")
    assert same_weights(again[0], weights)
    assert again[1] == history
    assert all(np.isfinite(entry["loss"]) for entry in history)


def test_a_run_resumes_in_its_precision_on_another_device(config, toy, tmp_path, iterations, monkeypatch):
    def on_cpu(*, with_bf16):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": with_bf16})

    weights, history, _ = train(with_training(config, precision="bf16"), toy, tmp_path / "whole")
    changed = with_training(config, precision="auto")
    iterations.stop_at = 3
    on_cpu(with_bf16=True)
    with pytest.raises(Stop):
        train(changed, toy, tmp_path / "run")
    on_cpu(with_bf16=False)
    resumed = train(changed, toy, tmp_path / "run")
    assert same_weights(resumed[0], weights)
    assert resumed[1] == history
    noted = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (noted["training"]["precision"], noted["precision"]) == ("auto", "bf16")


def test_gradient_clipping_bounds_the_step(config, toy, tmp_path, whole):
    """With momentum, weights move by at most rate / (1 - momentum) times the sum of the clipped norms."""
    start = train(with_training(config, iterations=1, learning_rate=1e-12), toy, tmp_path / "start")[0]["last"]
    clipped = train(with_training(config, gradient_clip=1e-3, weight_decay=0.0), toy, tmp_path / "run")[0]["last"]

    def way(weights):
        return sum(
            float((weights[n].double() - start[n]).square().sum()) for n in start if start[n].is_floating_point()
            and "running" not in n
        ) ** 0.5  # fmt: skip

    assert 0 < way(clipped) <= 7 * 0.05 * 1e-3 / (1 - 0.9)
    assert way(whole[0]["last"]) > 10 * way(clipped)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
@pytest.mark.parametrize("after", [1, 3, 4])
def test_a_signal_saves_a_checkpoint_and_stops(config, toy, tmp_path, whole, monkeypatch, name, after):
    """After the iteration of the signal: between two checkpoints, with a validation, with a checkpoint."""
    step, handler, steps = Learner.step, signal.getsignal(getattr(signal, name)), []

    def signalled(*arguments):
        steps.append(1)
        if len(steps) == after:
            os.kill(os.getpid(), getattr(signal, name))
        return step(*arguments)

    monkeypatch.setattr(Learner, "step", signalled)
    with pytest.raises(Interrupted, match=f"stopped by {name} after iteration {after} of 7; run it again"):
        train(config, toy, tmp_path / "run")
    assert len(steps) == after
    assert signal.getsignal(getattr(signal, name)) == handler
    weights, history, _ = train(config, toy, tmp_path / "run")
    assert len(steps) == 7, "no step is repeated"
    assert same_weights(weights, whole[0])
    assert history == whole[1]


def test_a_second_interrupt_stops_immediately(config, toy, tmp_path, monkeypatch):
    step, handler = Learner.step, signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Learner, "step", lambda *a: [os.kill(os.getpid(), signal.SIGINT) for _ in "ab"] and step(*a))
    with pytest.raises(KeyboardInterrupt):
        train(config, toy, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) == handler
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["history.jsonl"]


def test_a_signal_before_the_first_iteration_stops_after_it(config, toy, tmp_path, monkeypatch):
    restore = checkpoint.restore
    monkeypatch.setattr(checkpoint, "restore", lambda *a: os.kill(os.getpid(), signal.SIGTERM) or restore(*a))
    with pytest.raises(Interrupted, match="after iteration 1 of 7"):
        train(config, toy, tmp_path / "run")


def test_a_signal_while_outputs_are_written_is_ignored(config, toy, tmp_path, whole, monkeypatch):
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda content, file: _signalled_save(save, content, file))
    assert same_weights(train(config, toy, tmp_path / "run")[0], whole[0])


def _signalled_save(save, content, file):
    if "best" in content:  # the weights, not a checkpoint
        os.kill(os.getpid(), signal.SIGTERM)
    save(content, file)


def test_a_signal_in_the_last_iteration_is_ignored(config, toy, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(loop, "validation_dice", lambda *_: os.kill(os.getpid(), signal.SIGTERM) or 0.5)
    with pytest.raises(Interrupted):
        train(config, toy, tmp_path / "early")
    monkeypatch.undo()
    validate = loop.validation_dice

    def signalled(*arguments):
        if len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments)

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.jsonl").write_text("")
    monkeypatch.setattr(loop, "validation_dice", signalled)
    assert same_weights(train(config, toy, tmp_path / "run")[0], whole[0])


def test_workers_ignore_a_signal_to_the_process_group(config, toy, tmp_path, whole, monkeypatch):
    """Batch systems signal the group; only the loop decides when to stop."""
    step, steps = Learner.step, []

    def signalled(*arguments):
        steps.append(1)
        if len(steps) == 2:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    monkeypatch.setattr(Learner, "step", signalled)
    changed = with_training(config, workers=2)
    with pytest.raises(Interrupted, match="after iteration 2 of 7"):
        train(changed, toy, tmp_path / "run")
    weights, history, _ = train(changed, toy, tmp_path / "run")
    assert same_weights(weights, whole[0])
    assert history == whole[1]


def test_a_damaged_checkpoint_is_an_input_error(config, toy, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / checkpoint.FILE).write_bytes(b"half")
    with pytest.raises(InputError, match=r"state\.pt: cannot be read as a training checkpoint .*\); delete it"):
        train(config, toy, tmp_path / "run")


@pytest.fixture
def stopped(config, toy, tmp_path, iterations):
    """The checkpoint after four of seven iterations, with a validation after three."""
    iterations.stop_at = 5
    with pytest.raises(Stop):
        train(config, toy, tmp_path / "run")
    return tmp_path / "run" / checkpoint.FILE


def test_a_flipped_bit_of_a_checkpoint_is_detected_or_harmless(stopped):
    def content():
        stream = io.BytesIO()
        torch.save(read_tensors(stopped, "a state", "delete it"), stream)
        return stream.getvalue()

    written, expected, noticed = stopped.read_bytes(), content(), 0
    for place in range(0, len(written), len(written) // 80):
        stopped.write_bytes(written[:place] + bytes([written[place] ^ 4]) + written[place + 1 :])
        try:
            assert content() == expected
        except InputError:
            noticed += 1
    assert noticed > 70


def test_a_checkpoint_with_impossible_values_is_an_error(config, toy, tmp_path, stopped):
    content, settings = torch.load(stopped, weights_only=True), settings_of(config, RUN, toy.identity)
    learner = loop.learner_of(config, RUN, toy, torch.device("cpu"))
    for key, value in [
        *[("iteration", value) for value in (-1, 0, 3, 5, 8, 10**12, 4.0, True, "4", None)],
        *[("loss_count", 0), ("loss_sum", float("nan")), ("best_iteration", 4), ("best_score", 2.0)],
        *[("best", {}), ("best", {"a": 1}), ("history", []), ("history", [{"iteration": 3}]), ("history", None)],
        *[("seconds", -1.0), ("slowest", float("inf")), ("unknown", 1)],
    ]:
        torch.save({**content, "progress": {**content["progress"], key: value}}, stopped)
        with pytest.raises(InputError, match=r"state\.pt: cannot be read as .*; delete it to restart training"):
            checkpoint.restore(stopped.parent, learner, settings, 7)
    torch.save(content, stopped)
    with pytest.raises(InputError, match="'iteration' is impossible for a run of 3 iterations"):
        checkpoint.restore(stopped.parent, learner, settings, 3)
    assert checkpoint.restore(stopped.parent, learner, settings, 7).iteration == 4


def test_a_checkpoint_of_another_model_is_an_input_error(config, toy, tmp_path, iterations):
    iterations.stop_at = 5
    with pytest.raises(Stop):
        train(config, toy, tmp_path / "run")
    content = torch.load(tmp_path / "run" / checkpoint.FILE, weights_only=True)
    content["learner"]["model"]["new.weight"] = torch.zeros(1)
    torch.save(content, tmp_path / "run" / checkpoint.FILE)
    with pytest.raises(InputError, match=r"state\.pt: cannot be read as .*new\.weight.*; delete it"):
        train(config, toy, tmp_path / "run")


def test_changed_encoder_weights_are_other_settings(config, toy, tmp_path):
    file = tmp_path / "encoder.pth"
    architecture = config.architectures["unet"].model_copy(update={"encoder_weights": str(file)})
    changed = config.model_copy(update={"architectures": {"unet": architecture}})
    settings = []
    for content in (b"one", b"two"):
        file.write_bytes(content)
        settings.append(settings_of(changed, Run("toy", "unet", "spatial", "0", 0), toy.identity))
    assert settings[0] != settings[1]


@pytest.mark.parametrize("channels_last", [True, False])
def test_inputs_have_the_configured_memory_layout(config, toy, small_model, channels_last):
    changed = with_training(config, channels_last=channels_last).training
    captured, model = [], small_model("unet")
    model.encoder.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    learner = Learner(model, lambda *_: None, changed, toy.info["mean"], toy.info["std"])
    learner.logits(torch.rand(2, 32, 32, 3))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert captured[0].is_contiguous(memory_format=layout)


def test_the_log_names_the_setting_that_prevents_resuming(config, toy, tmp_path, iterations, caplog):
    iterations.stop_at = 5
    with pytest.raises(Stop):
        train(config, toy, tmp_path / "run")
    train(with_training(config, momentum=0.8), toy, tmp_path / "run")
    assert "not resumed because 'training.momentum' differs; training restarts" in caplog.text


def test_event_files_equal_the_training_log(config, toy, tmp_path, iterations):
    changed = with_training(config, tensorboard=True)
    iterations.stop_at = 5
    with pytest.raises(Stop):
        train(changed, toy, tmp_path / "run")
    _, history, _ = train(changed, toy, tmp_path / "run")
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"objective", "learning_rate", "validation_dice"}
    logged = [(event.step, event.value) for event in events.Scalars("validation_dice")]
    assert logged == [(entry["iteration"], pytest.approx(entry["validation_dice"])) for entry in history]


def test_epochs_define_the_number_of_iterations(config, toy, tmp_path):
    """Six training images in batches of two."""
    changed = with_training(config, epochs=2.5)
    _, history, info = train(changed, toy, tmp_path / "run")
    assert config.training.batch_size == 2
    assert info["iterations"] == history[-1]["iteration"] == 8


def test_a_full_disk_is_reported_and_leaves_no_files(tmp_path):
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, most))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            write_run(tmp_path, {"best": {"weight": torch.zeros(1_000_000)}}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert error.value.filename == str(tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.nightly(reason="starts eight training processes and kills six of them at random")
def test_a_killed_process_resumes_to_the_same_bits(study, toy, tmp_path):
    """Real processes, SIGKILL at any moment from start to end."""
    study["training"] |= {"iterations": 30, "save_every": 4, "validate_every": 7}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))

    def start(out):
        command = [sys.executable, "-m", "spectralseg", "train", "--config", tmp_path / "study.yaml"]
        command += ["--data", toy.path, "--architecture", RUN.architecture, "--objective", RUN.objective]
        command += ["--lambda", RUN.lam, "--out", out, "--device", "cpu", "--threads", "1"]
        return subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)

    began = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    duration = time.monotonic() - began
    chance, killed = random.Random(0), 0
    while not killed:  # if the run ends before the first kill, try earlier kills
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        for pause in sorted(chance.uniform(0.3, 1.05) * duration for _ in range(6)):
            process = start(tmp_path / "run")
            try:
                process.wait(pause)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
            process.wait()
        duration /= 2
    assert start(tmp_path / "run").wait() == 0
    weights, history, _ = outcome(tmp_path / "run")
    expected = outcome(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["history.jsonl", "model.pt", "run.json"]
    assert same_weights(weights, expected[0])
    assert history == expected[1]
