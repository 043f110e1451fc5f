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
from spectralseg.training import checkpoint, loop, stop
from spectralseg.training.learner import Learner

pytestmark = pytest.mark.slow

STEP, SAVING, RESERVE = 1, 2, stop._RESERVE  # seconds of the simulated clock
RUN = Run("toy", "unet", "mixed", "0.2", 0)


@pytest.fixture
def clock(monkeypatch):
    """A simulated clock that advances by STEP in each iteration and by SAVING for each checkpoint."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    step, save = Learner.step, checkpoint.save

    def pass_(seconds, result):
        clock.now += seconds
        return result

    monkeypatch.setattr(stop, "time", clock)
    monkeypatch.setattr(Learner, "step", lambda *a: pass_(STEP, step(*a)))
    monkeypatch.setattr(checkpoint, "save", lambda *a: pass_(SAVING, save(*a)))
    return clock


def outcome(folder):
    return torch.load(folder / "model.pt", weights_only=True), (folder / "history.jsonl").read_text()


def test_a_run_in_ten_attempts_equals_an_uninterrupted_run(study, toy, tmp_path, clock):
    study["training"] |= {"iterations": 20, "save_every": 7, "validate_every": 6, "learning_rate": 0.05}
    config = validate_config(study, "toy.yaml")
    loop.train(config, RUN, toy, tmp_path / "whole", device_name="cpu")

    limit = RESERVE + 2 * (STEP + SAVING)  # enough for one iteration and a checkpoint, too short for a third
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


def test_an_expired_time_limit_allows_one_iteration(config, toy, tmp_path, clock):
    with pytest.raises(Interrupted, match="after iteration 1 of 2"):
        loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu", deadline=clock.now - 100)
    loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu", deadline=clock.now - 100)
    assert (tmp_path / "run" / "model.pt").exists()


class TestMargin:
    @pytest.fixture
    def iterate(self, clock):
        """Simulates iterations of given durations; returns the one after which to stop."""

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

    def test_without_a_deadline_training_neither_stops_nor_measures(self, iterate):
        request = stop.StopRequest()
        assert iterate(request, [1e6] * 10) is None
        assert not request.unmeasured

    @pytest.mark.parametrize(
        ("durations", "saving"),
        [([1] * 1000, 0.5), ([1] * 1000, 20), ([9] * 1000, 5), ([1, 1, 30] + [1] * 1000, 0.5), ([0.01] * 100_000, 0.1)],
        ids=["quick", "slow to save", "slow", "one slow", "very quick"],
    )
    def test_the_margin_covers_the_longest_iteration_and_two_saves(self, clock, iterate, durations, saving):
        """The remaining time suffices for the longest iteration and two saves, but not for one more iteration."""
        deadline = clock.now + 300
        stopped = iterate(stop.StopRequest(deadline), durations, saving)
        left = deadline - clock.now - RESERVE
        longest = max(durations[1:stopped])
        assert left >= longest + 2 * saving
        assert left <= 2 * longest + 2 * saving

    def test_the_longest_iteration_of_an_earlier_attempt_counts(self, clock, iterate):
        request = stop.StopRequest(clock.now + 300)
        request.slowest = 90.0
        assert iterate(request, [1] * 1000, saving=5) == 1 + (300 - int(RESERVE) - 2 * (90 + 5) - 5)

    def test_the_start_of_the_program_does_not_count_as_iteration(self, clock, iterate):
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
def test_the_first_reason_is_reported(clock, causes, reason):
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
    """Like SIGKILL: nothing is saved."""


class TestSlowValidation:
    """The duration of the first validation is unknown."""

    @pytest.fixture
    def validations(self, monkeypatch, clock):
        """Validations of a minute; the process is killed in those listed in ``killed``."""
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

    def test_a_run_killed_in_the_first_validation_resumes_with_it(
        self, config, toy, tmp_path, clock, validations, monkeypatch
    ):
        steps, step = [], Learner.step
        monkeypatch.setattr(Learner, "step", lambda *a: steps.append(1) or step(*a))
        loop.train(config, RUN, toy, tmp_path / "whole", device_name="cpu")
        validations.made.clear()
        validations.killed.append(1)
        with pytest.raises(Killed):
            loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu")
        steps.clear()
        loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu")
        assert len(steps) == 15, "the five steps before the validation are not repeated"
        assert outcome(tmp_path / "run")[1] == outcome(tmp_path / "whole")[1]

    def test_its_duration_counts_as_soon_as_it_is_measured(self, config, toy, tmp_path, clock, validations):
        validations.killed.append(1)
        with pytest.raises(Killed):
            loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu", deadline=clock.now + 70)
        deadline = clock.now + 160
        with pytest.raises(Interrupted, match="stopped by its time limit after iteration 5 of 20"):
            loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu", deadline=deadline)
        assert clock.now <= deadline, "the next iteration would not have fitted"
        loop.train(config, RUN, toy, tmp_path / "run", device_name="cpu")
        assert len(validations.made) == 1 + 4


class TestCommand:
    @pytest.fixture
    def train(self, study, toy, tmp_path, monkeypatch):
        """Runs the command; also returns the calls of ``requeue``."""
        calls = []
        monkeypatch.setattr(slurm, "requeue", lambda: calls.append("requeue"))
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(study))

        def run(*options):
            files = ["--config", tmp_path / "toy.yaml", "--data", toy.path, "--out", tmp_path / "run"]
            choice = ["--architecture", "unet", "--objective", "spatial", "--device", "cpu"]
            return cli.main(["train", *map(str, [*files, *choice, *options])]), calls

        return run

    def test_the_time_limit_ends_with_exit_status_75(self, train, tmp_path):
        assert train("--time-limit", "0:01") == (75, [])
        assert (tmp_path / "run" / checkpoint.FILE).exists()
        assert train() == (0, [])

    def test_the_limit_of_slurm_counts_if_it_is_shorter(self, train, monkeypatch):
        monkeypatch.setattr(slurm, "time_left", lambda: 1.0)
        assert train("--time-limit", "60")[0] == 75

    def test_a_stopped_run_is_requeued_with_the_option_requeue(self, train):
        assert train("--time-limit", "0:01", "--requeue") == (75, ["requeue"])

    def test_ctrl_c_saves_a_checkpoint_and_says_how_to_resume(self, train, tmp_path, monkeypatch, capsys):
        step = Learner.step
        monkeypatch.setattr(Learner, "step", lambda *a: os.kill(os.getpid(), signal.SIGINT) or step(*a))
        assert train() == (75, [])
        said = f"{tmp_path / 'run'}: stopped by SIGINT after iteration 1 of 2; run it again to continue\n"
        assert capsys.readouterr().err.endswith(said)
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
            "history.jsonl",
            "progress.json",
            checkpoint.FILE,
        ]

    def test_a_preempted_run_is_requeued(self, train, monkeypatch):
        step = Learner.step
        monkeypatch.setattr(Learner, "step", lambda *a: os.kill(os.getpid(), signal.SIGTERM) or step(*a))
        assert train("--time-limit", "60", "--requeue") == (75, ["requeue"])
