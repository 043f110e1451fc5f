import errno
import fcntl
import os
import re
import subprocess
import sys

import psutil
import pytest

from spectralseg.errors import InputError
from spectralseg.operations import exclusive
from spectralseg.operations.exclusive import MARK, StudyLock, end_orphans

HOLD = """
import sys
from pathlib import Path
from spectralseg.operations.exclusive import StudyLock
StudyLock(Path(sys.argv[1])).take()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock and is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_held_lock_is_an_error_and_is_released_by_a_kill(tmp_path, holder):
    planned = StudyLock(tmp_path)
    message = rf"^{tmp_path}: another run of the workflow is under way \(process {holder.pid} on .*\); wait for it or"
    with pytest.raises(InputError, match=message):
        planned.take()
    holder.kill()
    holder.wait()
    with pytest.raises(InputError, match="has changed the study meanwhile; run again"):
        planned.take()
    StudyLock(tmp_path).take()


def test_a_plan_made_before_another_run_is_an_error(tmp_path):
    planned = StudyLock(tmp_path)
    subprocess.run([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.DEVNULL, check=True)
    with pytest.raises(InputError, match="has changed the study meanwhile"):
        planned.take()


def test_without_locks_a_study_runs_with_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    StudyLock(tmp_path).take()
    assert "this file system has no locks; run only one workflow per study" in caplog.text


def test_only_processes_with_the_mark_of_the_study_are_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(exclusive, "_PATIENCE", 0.5)
    ignoring = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    waiting = "import signal; print(flush=True); signal.pause()"
    monkeypatch.setenv(MARK, "")

    def orphan(study, code):
        """A process whose parent has ended."""
        start = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {code!r}]).pid, flush=True)"
        child = subprocess.Popen([sys.executable, "-c", start], env={**os.environ, MARK: study}, stdout=subprocess.PIPE)
        child.wait()
        pid = int(re.match(rb"\d+", child.stdout.readline())[0])
        child.stdout.readline()
        return psutil.Process(pid)

    mine = [orphan(str(tmp_path), waiting), orphan(str(tmp_path), ignoring)]
    other = orphan(str(tmp_path / "other"), waiting)
    try:
        assert end_orphans(tmp_path) == 2
        psutil.wait_procs(mine)
        assert other.is_running()
        assert os.environ[MARK] == str(tmp_path)
    finally:
        other.kill()
