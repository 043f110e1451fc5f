import json

import pytest
import torch

from spectralseg.config import validate_config
from spectralseg.errors import InputError
from spectralseg.grid import Run
from spectralseg.training import loop
from spectralseg.training import state as states


class Stop(Exception):
    pass


@pytest.fixture
def config(study):
    """Seven iterations with dropout; states after 2, 4, 6 and validations after 3, 6, 7."""
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
    """Records the iterations that are begun; ``iterations.stop_at`` ends the run there."""

    class Seen(list):
        stop_at = None

    seen, rate = Seen(), loop.learning_rate

    def watch(training, iteration):
        if iteration == seen.stop_at:
            seen.stop_at = None
            raise Stop
        seen.append(iteration)
        return rate(training, iteration)

    monkeypatch.setattr(loop, "learning_rate", watch)
    return seen


@pytest.fixture
def whole(config, toy, tmp_path):
    """What a run that is never stopped gives."""
    return train(config, toy, tmp_path / "whole")


@pytest.mark.parametrize(("stop_at", "resumed_at"), [(0, 0), (1, 0), (2, 2), (3, 2), (5, 4), (6, 6)])
def test_a_run_that_was_stopped_gives_the_same_bits(config, toy, tmp_path, whole, iterations, stop_at, resumed_at):
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
    assert not (tmp_path / "run" / states.FILE).exists()


def test_a_run_may_be_stopped_many_times(config, toy, tmp_path, whole, iterations):
    for stop_at in (1, 3, 3, 5, 6):
        iterations.stop_at = stop_at
        with pytest.raises(Stop):
            train(config, toy, tmp_path / "run")
    weights, history, _ = train(config, toy, tmp_path / "run")
    assert history == whole[1]
    assert same_weights(weights, whole[0])


def test_the_same_run_twice_gives_the_same_bits_and_another_seed_others(config, toy, tmp_path, whole):
    again = train(config, toy, tmp_path / "again")
    assert same_weights(again[0], whole[0])
    assert again[1] == whole[1]
    other = train(config, toy, tmp_path / "other", Run("toy", "transunet", "mixed", "0.2", 1))
    assert not same_weights(other[0], whole[0])


def test_a_state_that_is_cut_while_it_is_written_leaves_the_one_before(
    config, toy, tmp_path, whole, iterations, monkeypatch
):
    save, written = torch.save, []

    def cut(content, file, **options):
        written.append(file)
        if len(written) == 2:
            file.write_bytes(b"half")
            raise Stop
        save(content, file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut)
        with pytest.raises(Stop):
            train(config, toy, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [states.FILE]
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
def test_a_state_of_other_settings_is_not_continued(config, toy, tmp_path, study, iterations, change):
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


def test_a_state_of_another_lambda_or_other_data_is_not_continued(
    config, toy, tmp_path, iterations, prepare_cases, toy_cases
):
    other_data = prepare_cases(tmp_path / "toy", toy_cases(9))
    for changed in ((toy, Run("toy", "transunet", "mixed", "0.5", 0)), (other_data, RUN)):
        iterations.stop_at = 5
        with pytest.raises(Stop):
            train(config, toy, tmp_path / "run")
        del iterations[:]
        train(config, *changed[:1], tmp_path / "run", changed[1])
        assert iterations[0] == 0


def test_the_run_folder_describes_the_run(config, toy, tmp_path, whole):
    weights, history, info = whole
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == ["history.jsonl", "model.pt", "run.json"]
    assert [entry["iteration"] for entry in history] == [3, 6, 7]
    assert info["run"] == RUN.keys
    assert info["training"] == config.training.model_dump(mode="json")
    assert info["data"]["files"] == toy.info["files"]
    assert info["parameters"] > 0
    assert info["seconds"] > 0
    assert {"versions", "git", "hardware", "peak_memory", "fingerprint"} <= info.keys()
    best = max(history, key=lambda entry: entry["validation_dice"])
    assert (info["best_iteration"], info["validation_dice"]) == (best["iteration"], best["validation_dice"])
    assert weights["best"].keys() == weights["last"].keys()


def test_objectives_of_one_seed_start_from_the_same_weights(config, toy, tmp_path, monkeypatch):
    starts = []
    restore = states.restore

    def watch(folder, model, *rest):
        starts.append({name: value.clone() for name, value in model.state_dict().items()})
        return restore(folder, model, *rest)

    monkeypatch.setattr(states, "restore", watch)
    train(config, toy, tmp_path / "a")
    train(config, toy, tmp_path / "b", Run("toy", "transunet", "spatial", "0", 0))
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])


def test_an_objective_that_is_no_longer_finite_is_an_input_error(config, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "objective_of", lambda *_: lambda logits, masks: (logits.sum() * float("nan"), {}))
    with pytest.raises(InputError, match="not finite before iteration 3; lower 'learning_rate'"):
        train(config, toy, tmp_path / "run")
    assert not (tmp_path / "run" / "model.pt").exists()


def test_a_dataset_without_validation_cases_is_an_input_error(config, tmp_path, prepare_cases, toy_cases):
    data = prepare_cases(tmp_path / "toy", toy_cases(2))
    with pytest.raises(InputError, match="there are no validation cases"):
        train(config, data, tmp_path / "run")


def test_validation_dice_is_pooled_over_slices_and_meaned_over_classes(hearts):
    class Perfect(torch.nn.Module):
        """Knows the masks of the validation rows, in the order in which they are asked for."""

        def __init__(self, wrong=()):
            super().__init__()
            self.masks = torch.from_numpy(hearts.masks[hearts.rows("validation")]).long()
            for label in wrong:
                self.masks[self.masks == label] = 0
            self.place = 0

        def forward(self, images):
            chosen = self.masks[self.place : self.place + len(images)]
            self.place += len(images)
            return torch.nn.functional.one_hot(chosen, 4).movedim(-1, 1).float()

    zero, one = torch.zeros(1), torch.ones(1)
    assert loop.validation_dice(Perfect(), hearts, zero, one, 5) == pytest.approx(1)
    assert loop.validation_dice(Perfect(wrong=[2]), hearts, zero, one, 5) == pytest.approx(2 / 3)
    assert loop.validation_dice(Perfect(wrong=[1, 2, 3]), hearts, zero, one, 100) == pytest.approx(0)


def test_the_poly_schedule_falls_from_the_learning_rate_towards_zero(config):
    training = config.training
    rates = [loop.learning_rate(training, iteration) for iteration in range(training.iterations)]
    assert rates[0] == training.learning_rate
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(training.learning_rate * (1 / 7) ** 0.9)
    constant = training.model_copy(update={"schedule": "constant"})
    assert {loop.learning_rate(constant, i) for i in range(7)} == {training.learning_rate}


def test_bf16_training_runs_on_the_cpu(config, toy, tmp_path):
    changed = config.model_copy(update={"training": config.training.model_copy(update={"precision": "bf16"})})
    _, history, _ = train(changed, toy, tmp_path / "run")
    assert len(history) == 3
