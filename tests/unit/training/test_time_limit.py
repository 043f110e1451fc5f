import os
import signal
from types import SimpleNamespace

import pytest
import torch
import yaml

from spectralseg import cli, slurm
from spectralseg.config import validate_config
from spectralseg.errors import Interrupted
from spectralseg.grid import Run
from spectralseg.training import loop, stop
from spectralseg.training import state as states
from spectralseg.training.learner import Learner

STEP, SAVING, RESERVE = 1, 2, stop._RESERVE  # seconds by the clock of these tests
RUN = Run("toy", "unet", "mixed", "0.2", 0)


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by STEP in each iteration and by SAVING whenever a state is saved."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    step, save = Learner.step, states.save

    def pass_(seconds, result):
        clock.now += seconds
        return result

    monkeypatch.setattr(stop, "time", clock)
    monkeypatch.setattr(Learner, "step", lambda *a: pass_(STEP, step(*a)))
    monkeypatch.setattr(states, "save", lambda *a: pass_(SAVING, save(*a)))
    return clock


def outcome(folder):
    return torch.load(folder / "model.pt", weights_only=True), (folder / "history.jsonl").read_text()


def test_a_run_in_ten_pieces_equals_the_run_in_one(study, toy, tmp_path, clock):
    study["training"] |= {"iterations": 20, "save_every": 7, "validate_every": 6, "learning_rate": 0.05}
    config = validate_config(study, "toy.yaml")
    loop.train(config, RUN, toy, tmp_path / "whole", device_name="cpu")

    limit = RESERVE + 2 * (STEP + SAVING)  # enough for one iteration and a state, too short for a third
    for piece in range(1, 10):
        with pytest.raises(
            Interrupted, match=f"stopped by its time limit after iteration {2 * piece} of 20; run it again"
        ):
            loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu", deadline=clock.now + limit)
    loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu", deadline=clock.now + limit)

    (weights, history), (expected, expected_history) = outcome(tmp_path / "run"), outcome(tmp_path / "whole")
    assert history == expected_history
    for kind in ("best", "last"):
        assert weights[kind].keys() == expected[kind].keys()
        assert all(torch.equal(weights[kind][name], expected[kind][name]) for name in expected[kind])


def test_a_time_limit_that_is_over_allows_one_iteration(config, toy, tmp_path, clock):
    with pytest.raises(Interrupted, match="after iteration 1 of 2"):
        loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu", deadline=clock.now - 100)
    loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu", deadline=clock.now - 100)
    assert (tmp_path / "run" / "model.pt").exists()


class TestMargin:
    @pytest.fixture
    def iterate(self, clock):
        """Checks a request after each of some iterations, and saves where asked."""

        def run(request, durations, saving=0.0):
            for number, duration in enumerate(durations, 1):
                clock.now += duration
                if request.check():
                    return number
                if request.unmeasured:
                    with request.saving():
                        clock.now += saving
            return None

        return run

    def test_without_a_deadline_nothing_stops_and_nothing_is_measured(self, iterate):
        request = stop.StopRequest()
        assert iterate(request, [1e6] * 10) is None
        assert not request.unmeasured

    @pytest.mark.parametrize(
        ("durations", "saving"),
        [([1] * 1000, 0.5), ([1] * 1000, 20), ([9] * 1000, 5), ([1, 1, 30] + [1] * 1000, 0.5), ([0.01] * 100_000, 0.1)],
        ids=["quick", "slow to save", "slow", "one slow", "very quick"],
    )
    def test_what_can_still_come_fits(self, clock, iterate, durations, saving):
        """The longest iteration so far and a saving, and then another of both; but the time is used."""
        deadline = clock.now + 300
        stopped = iterate(stop.StopRequest(deadline), durations, saving)
        left = deadline - clock.now - RESERVE
        longest = max(durations[1:stopped])
        assert left >= longest + 2 * saving
        assert left <= 2 * longest + 2 * saving

    def test_an_iteration_may_take_as_long_as_the_longest_of_an_earlier_attempt(self, clock, iterate):
        request = stop.StopRequest(clock.now + 300)
        request.slowest = 90.0
        assert iterate(request, [1] * 1000, saving=5) == 1 + (300 - int(RESERVE) - 2 * (90 + 5) - 5)

    def test_the_start_of_the_program_is_no_iteration(self, clock, iterate):
        request = stop.StopRequest(clock.now + 100)
        assert iterate(request, [60, 1, 1, 1]) is None


@pytest.mark.parametrize(
    ("causes", "reason"),
    [
        (["clock", "SIGTERM"], "its time limit"),
        (["SIGUSR1", "clock"], "SIGUSR1"),
        (["SIGTERM", "SIGUSR1"], "SIGTERM"),
    ],
)
def test_the_first_reason_is_told(clock, causes, reason):
    with stop.stop_requests(clock.now + 100) as request:
        assert not request.check()
        for cause in causes:
            if cause == "clock":
                clock.now += 100
            else:
                os.kill(os.getpid(), getattr(signal, cause))
            assert request.check()
    assert request.reason == reason


class Killed(BaseException):
    """As SIGKILL does: nothing is saved any more."""


class TestSlowValidation:
    """How long the first one takes, nobody knows before."""

    @pytest.fixture
    def validations(self, monkeypatch, clock):
        """Each takes a minute; the process is killed in those that are listed."""
        made, killed, validate = [], [], loop.validation_dice

        def slow(*arguments):
            made.append(clock.now)
            if len(made) in killed:
                raise Killed
            clock.now += 60
            return validate(*arguments)

        monkeypatch.setattr(loop, "validation_dice", slow)
        return SimpleNamespace(made=made, killed=killed)

    @pytest.fixture
    def config(self, study):
        study["training"] |= {"iterations": 20, "save_every": 100, "validate_every": 5, "learning_rate": 0.05}
        return validate_config(study, "toy.yaml")

    def test_a_run_that_is_killed_in_it_goes_on_with_it(self, config, toy, tmp_path, clock, validations, monkeypatch):
        steps, step = [], Learner.step
        monkeypatch.setattr(Learner, "step", lambda *a: steps.append(1) or step(*a))
        loop.train(config, RUN, toy, tmp_path / "whole", device_name="cpu")
        validations.made.clear()
        validations.killed.append(1)
        with pytest.raises(Killed):
            loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu")
        steps.clear()
        loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu")
        assert len(steps) == 15, "none of the five before the validation"
        assert outcome(tmp_path / "run")[1] == outcome(tmp_path / "whole")[1]

    def test_its_time_counts_as_soon_as_it_is_known(self, config, toy, tmp_path, clock, validations):
        validations.killed.append(1)
        with pytest.raises(Killed):
            loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu", deadline=clock.now + 70)
        deadline = clock.now + 160
        with pytest.raises(Interrupted, match="stopped by its time limit after iteration 5 of 20"):
            loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu", deadline=deadline)
        assert clock.now <= deadline, "another one would not have fitted"
        loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu")
        assert len(validations.made) == 1 + 4


class TestCommand:
    @pytest.fixture
    def train(self, study, toy, tmp_path, monkeypatch):
        """Runs the command; the queue's answer is a list of what was asked."""
        asked = []
        monkeypatch.setattr(slurm, "requeue", lambda: asked.append("requeue"))
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(study))

        def run(*options):
            files = ["--config", tmp_path / "toy.yaml", "--data", toy.path, "--out", tmp_path / "run"]
            choice = ["--architecture", "unet", "--objective", "spatial", "--device", "cpu"]
            return cli.main(["train", *map(str, [*files, *choice, *options])]), asked

        return run

    def test_a_given_limit_ends_with_the_status_that_means_try_again(self, train, tmp_path):
        assert train("--time-limit", "0:01") == (75, [])
        assert (tmp_path / "run" / states.FILE).exists()
        assert train() == (0, [])

    def test_slurms_limit_counts_where_it_is_shorter(self, train, monkeypatch):
        monkeypatch.setattr(slurm, "time_left", lambda: 1.0)
        assert train("--time-limit", "60")[0] == 75

    def test_a_run_that_stops_is_requeued_where_that_is_wanted(self, train):
        assert train("--time-limit", "0:01", "--requeue") == (75, ["requeue"])

    def test_ctrl_c_saves_the_state_and_says_how_to_resume(self, train, tmp_path, monkeypatch, capsys):
        step = Learner.step
        monkeypatch.setattr(Learner, "step", lambda *a: os.kill(os.getpid(), signal.SIGINT) or step(*a))
        assert train() == (75, [])
        said = f"{tmp_path / 'run'}: stopped by SIGINT after iteration 1 of 2; run it again to continue\n"
        assert capsys.readouterr().err.endswith(said)
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
            "history.jsonl",
            "progress.json",
            states.FILE,
        ]

    def test_also_one_that_is_preempted(self, train, monkeypatch):
        step = Learner.step
        monkeypatch.setattr(Learner, "step", lambda *a: os.kill(os.getpid(), signal.SIGTERM) or step(*a))
        assert train("--time-limit", "60", "--requeue") == (75, ["requeue"])
