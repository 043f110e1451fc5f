"""Tests with fake SLURM commands that record their calls; tests/slurm uses real ones."""

import os
import time
from pathlib import Path

import pytest

from spectralseg import cli, slurm
from spectralseg.errors import InputError


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Puts a command on the path: a shell script that first appends its arguments to ``calls``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(name, script):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n{script}\n')
        (folder / name).chmod(0o755)

    return write


def calls(folder):
    return (folder / "calls").read_text().splitlines()


@pytest.fixture
def job(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("5:00", 300),
        ("0:07", 7),
        ("1:30:00", 5400),
        ("2-0", 172800),
        ("1-02:03", 93780),
        ("1-02:03:04", 93784),
        *((text, None) for text in ("UNLIMITED", "NOT_SET", "INVALID", "", "1h", "-5", "1:2:3:4", "٣")),
    ],
)
def test_durations_in_the_notation_of_slurm(text, seconds):
    assert slurm.seconds_of(text) == seconds


class TestTimeLeft:
    def test_outside_of_a_job_there_is_no_limit(self, monkeypatch):
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        assert slurm.time_left() is None

    def test_newer_versions_of_slurm_set_the_end_time_in_the_environment(self, job, monkeypatch):
        monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 100))
        assert 98 < slurm.time_left() <= 100

    def test_older_versions_of_slurm_are_queried(self, job, command, tmp_path):
        command("squeue", "echo 1:02:03")
        assert slurm.time_left() == 3723
        assert (tmp_path / "calls").read_text() == "squeue --noheader --jobs 7 --format %L\n"

    def test_a_job_may_have_no_limit(self, job, command):
        command("squeue", "echo UNLIMITED")
        assert slurm.time_left() is None

    def test_without_an_answer_there_is_no_limit_and_a_warning(self, job, command, caplog):
        command("squeue", "echo no controller >&2; exit 1")
        assert slurm.time_left() is None
        assert "no controller" in caplog.text
        assert "does not report the time left for job 7" in caplog.text


class TestQueued:
    def test_pending_jobs_are_listed_by_log_folder_and_reason(self, command, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        files = [
            "Resources|{}/rule_train/a_b_0/%j.log|",
            "Priority|{}/rule_train/a_b_1/%j.log|",
            "Priority|{}/rule_train/%A_%a.log|",
            "(null)|{}/rule_evaluate/a b/%j.log|",
            "Resources|/of/another/study/rule_train/%j.log|",
            "Resources|relative.log|",
            "squeue: a message",
        ]
        command("squeue", "cat <<'END'\n" + "\n".join(files).replace("{}", f"{tmp_path}/logs") + "\nEND")
        assert slurm.queued("a1-b2", Path("logs")) == [
            ("rule_train/a_b_0", "Resources"),
            ("rule_train/a_b_1", "Priority"),
            ("rule_train", "Priority"),
            ("rule_evaluate/a b", "(null)"),
        ]
        assert "--name a1-b2 --states PENDING" in (tmp_path / "calls").read_text()

    def test_without_slurm_no_jobs_are_pending(self, tmp_path, monkeypatch, caplog):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert slurm.queued("a1-b2", Path("logs")) == []
        assert not caplog.text

    def test_without_an_answer_a_warning_is_logged(self, command, caplog):
        command("squeue", "echo no controller >&2; exit 1")
        assert slurm.queued("a1-b2", Path("logs")) == []
        assert "no controller" in caplog.text


class TestArrays:
    """The job ID of one task of an array is that of the whole array."""

    @pytest.fixture(autouse=True)
    def task(self, job, monkeypatch):
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")

    def test_a_task_queries_its_own_time_limit(self, command, tmp_path):
        command("squeue", "echo 1:00")
        assert slurm.time_left() == 60
        assert "--jobs 7_3 " in (tmp_path / "calls").read_text()

    def test_a_task_requeues_only_itself(self, command, tmp_path):
        command("squeue", "echo RUNNING")
        command("scontrol", "")
        slurm.requeue()
        assert calls(tmp_path) == ["squeue --noheader --jobs 7_3 --format %T", "scontrol requeue 7_3"]


class TestPartitionLimit:
    @pytest.mark.parametrize(
        ("partition", "listed", "minutes"),
        [
            (None, "short*|30:00\nlong|infinite", 30),
            (None, "short|30:00\nlong*|infinite", None),
            (None, "short|30:00", None),
            ("short", "short*|1:30", 1),
            ("a,b", "a|30:00\nb|2-00:00:00", 2880),
            ("a,b", "a|30:00\nb|infinite", None),
            ("none", "", None),
        ],
    )
    def test_the_longest_limit_of_the_partitions_applies(self, command, tmp_path, partition, listed, minutes):
        command("sinfo", f"echo '{listed}'" if listed else "")
        assert slurm.partition_limit(partition) == minutes
        assert (f"--partition {partition}" in (tmp_path / "calls").read_text()) == bool(partition)

    def test_without_slurm_there_is_no_limit(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert slurm.partition_limit() is None


class TestRequeue:
    def test_the_enclosing_job_is_requeued(self, job, command, tmp_path):
        command("squeue", "echo RUNNING")
        command("scontrol", "")
        slurm.requeue()
        assert calls(tmp_path)[-1] == "scontrol requeue 7"

    def test_a_failure_is_logged(self, job, command, caplog):
        command("squeue", "echo RUNNING")
        command("scontrol", "echo disabled >&2; exit 1")
        slurm.requeue()
        assert "disabled" in caplog.text
        assert "cannot be requeued" in caplog.text

    @pytest.mark.parametrize("answer", ["echo COMPLETING", "true", "exit 1"])
    def test_a_job_that_slurm_is_ending_is_not_requeued(self, job, command, tmp_path, answer):
        command("squeue", answer)
        command("scontrol", "")
        slurm.requeue()
        assert [call.split()[0] for call in calls(tmp_path)] == ["squeue"]

    def test_outside_of_a_job_nothing_is_requeued(self, monkeypatch, command, tmp_path):
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        command("squeue", "echo RUNNING")
        command("scontrol", "")
        slurm.requeue()
        assert not (tmp_path / "calls").exists()


class TestCancellation:
    @pytest.fixture
    def queue(self, tmp_path, command):
        file = tmp_path / "queue"
        file.write_text("9\n11\n")
        command("squeue", f"cat {file}")
        return file

    def test_jobs_are_cancelled_and_awaited(self, queue, command, tmp_path):
        command("scancel", f"(sleep 1.5; : > {queue}) > /dev/null &")
        assert slurm.cancel_jobs_named("a1-b2") == ["9", "11"]
        assert queue.read_text() == ""
        query, cancellation, *_ = (tmp_path / "calls").read_text().splitlines()
        assert query == f"squeue --user {os.getuid()} --name a1-b2 --noheader --format %A"
        assert cancellation == "scancel 9 11"
        assert slurm.cancel_jobs_named("a1-b2") == []

    def test_jobs_that_do_not_end_are_an_error(self, queue, command, monkeypatch):
        monkeypatch.setattr(slurm, "_PATIENCE", 0)
        command("scancel", "")
        with pytest.raises(InputError, match="jobs 9, 11 of an earlier run do not end; end them and try again"):
            slurm.cancel_jobs_named("a1-b2")

    def test_without_an_answer_cancelling_is_an_error(self, command):
        command("squeue", "echo no controller >&2; exit 1")
        with pytest.raises(InputError, match="SLURM does not answer, and jobs of an earlier run may still be running"):
            slurm.cancel_jobs_named("a1-b2")

    def test_failed_queries_do_not_end_the_wait(self, queue, command, tmp_path):
        command("scancel", f"(sleep 1.5; rm {tmp_path}/mute; : > {queue}) > /dev/null & touch {tmp_path}/mute")
        command("squeue", f"[ ! -e {tmp_path}/mute ] && cat {queue}")
        assert slurm.cancel_jobs_named("a1-b2") == ["9", "11"]
        assert queue.read_text() == ""

    def test_without_slurm_no_jobs_are_cancelled(self, tmp_path, monkeypatch, caplog):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert slurm.cancel_jobs_named("a1-b2") == []
        assert not caplog.text


@pytest.mark.parametrize("text", ["soon", "-1", "1h", ""])
def test_an_invalid_time_limit_is_rejected(text, capsys):
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["train", "--config=c", "--data=d", "--architecture=a", "--objective=o", "--out=x",
                                 f"--time-limit={text}"])  # fmt: skip
    assert "is not a valid duration; give MINUTES, H:MM:SS or D-HH:MM:SS" in capsys.readouterr().err
