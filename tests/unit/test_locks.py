import json
import os
import subprocess
import sys

import pytest

from spectralseg import locks
from spectralseg.errors import InputError, Interrupted
from spectralseg.locks import only_writer

HOLD = """
import sys
from pathlib import Path
from spectralseg.locks import only_writer
with only_writer(Path(sys.argv[1]), "training of a"):
    print(flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that trains in the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_the_lock_file_is_removed(tmp_path):
    with only_writer(tmp_path / "deep" / "run", "training of a") as waited:
        assert not waited
    assert list((tmp_path / "deep" / "run").iterdir()) == []


def test_a_different_task_is_rejected_and_the_same_task_waits(tmp_path, other, monkeypatch):
    with (
        pytest.raises(InputError, match=rf"is in use by the training of a \(process {other.pid} on .*\); wait"),
        only_writer(tmp_path, "training of b"),
    ):
        pass
    with pytest.raises(Interrupted, match="time limit"), only_writer(tmp_path, "training of a", deadline=0):
        pass
    monkeypatch.setattr(locks.time, "sleep", lambda _: other.kill() or other.wait())
    with only_writer(tmp_path, "training of a") as waited:
        assert waited
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_does_not_block(tmp_path, other):
    other.kill()
    other.wait()
    assert (tmp_path / ".lock").exists()
    with only_writer(tmp_path, "training of b") as waited:
        assert not waited


def test_a_file_system_without_locks_is_supported(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(locks.errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with only_writer(tmp_path, "a") as waited:
        assert not waited
    assert list(tmp_path.iterdir()) == []
