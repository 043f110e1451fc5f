import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from spectralseg import locks, progress
from spectralseg.errors import InputError, Interrupted
from spectralseg.exchange import process
from spectralseg.exchange.process import run_command
from spectralseg.operations.heartbeat import heartbeat

PYTHON = sys.executable
WAITING = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(600)"


def test_a_command_that_fails_is_named():
    with pytest.raises(
        InputError, match=r"^external\.x\.train: .* failed with status 3; its messages precede this one"
    ):
        run_command([PYTHON, "-c", "raise SystemExit(3)"], "external.x.train")
    with pytest.raises(InputError, match="was ended by SIGKILL"):
        run_command([PYTHON, "-c", "import os; os.kill(os.getpid(), 9)"], "external.x.train")


def test_a_missing_program_is_named():
    with pytest.raises(InputError, match=r"^external\.x\.train: no_such_program: no such file"):
        run_command(["no_such_program"], "external.x.train")


def test_programs_of_the_environment_come_first(tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "python"
    program.write_text(f'#!/bin/sh\necho "$VIRTUAL_ENV" > {tmp_path}/called\n')
    program.chmod(0o755)
    run_command(["python", "-c", "raise SystemExit(1)"], "x", environment=tmp_path)
    assert (tmp_path / "called").read_text().strip() == str(tmp_path)


def appears(file):
    while not file.exists():
        time.sleep(0.01)


def interrupt_after(file):
    appears(file)
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_the_time_limit_stops_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_POLL", 0.05)
    mark = tmp_path / "started"
    with pytest.raises(Interrupted, match="stopped by its time limit"):
        run_command([PYTHON, "-c", WAITING, str(mark)], "x", deadline=time.monotonic() + process.RESERVE + 5)


def test_reported_progress_is_that_of_the_task(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_POLL", 0.05)
    file, seen = tmp_path / "progress.json", tmp_path / "seen"
    report = '{"done": 3, "total": 10, "unit": "epoch"}'
    command = f"""if True:
        import os, time
        open({str(file)!r}, "w").write("{{")
        time.sleep(0.2)
        open({str(file)!r}, "w").write({report!r})
        while not os.path.exists({str(seen)!r}):
            time.sleep(0.01)"""
    reported = []

    def look():
        while not reported:
            reported.extend(filter(None, [progress.current()]))
            time.sleep(0.01)
        seen.touch()

    threading.Thread(target=look).start()
    run_command([PYTHON, "-c", command], "x", progress=file)
    (first,) = reported
    assert (first.step, first.unit, first.done, first.total) == ("train", "epoch", 3, 10)
    assert progress.current() is None


def test_a_signal_ends_the_command_and_its_children(tmp_path):
    mark = tmp_path / "started"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAITING!r}, {str(mark)!r}])"
    threading.Thread(target=interrupt_after, args=[mark]).start()
    with pytest.raises(Interrupted), heartbeat(tmp_path, "train"):
        run_command([PYTHON, "-c", script], "x")
    for _ in range(300):  # a process that was killed may need a moment to go
        running = subprocess.run(["pgrep", "-f", str(mark)], capture_output=True, text=True, check=False).stdout
        if not running:
            break
        time.sleep(0.1)
    assert running == ""


def test_a_command_that_ignores_a_signal_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_GRACE", 0.2)
    mark = tmp_path / "started"
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{WAITING}"
    threading.Thread(target=interrupt_after, args=[mark]).start()
    with pytest.raises(Interrupted), heartbeat(tmp_path, "train"):
        run_command([PYTHON, "-c", stubborn, str(mark)], "x")


def test_an_orphaned_command_keeps_the_lock_of_its_folder(tmp_path):
    """A killed training whose command lives on: the next attempt waits for it."""
    mark, go, folder = tmp_path / "started", tmp_path / "go", tmp_path / "run"
    command = (
        f"import os, time; open({str(mark)!r}, 'w').close()\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    )
    training = (
        "import sys; from pathlib import Path; from spectralseg.exchange.process import run_command\n"
        "from spectralseg.locks import only_writer\n"
        f"with only_writer(Path({str(folder)!r}), 'training'): run_command([sys.executable, '-c', {command!r}], 'x')"
    )
    killed = subprocess.Popen([PYTHON, "-c", training])
    appears(mark)
    killed.kill()
    killed.wait()
    with (
        pytest.raises(Interrupted, match="time limit was reached while waiting"),
        locks.only_writer(folder, "training", time.monotonic() + 0.5),
    ):
        pass
    go.touch()
    with locks.only_writer(folder, "training"):  # free when the command has ended
        pass
