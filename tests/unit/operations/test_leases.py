"""Leases of simulated devices, held by real processes, some of which are killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from spectralseg.errors import InputError
from spectralseg.operations.leases import device_lease, gpu_slots

DEVICES = "GPU-aa,GPU-bb,GPU-cc,GPU-dd"

JOB = """
import json, os, sys, time
from spectralseg.operations.leases import device_lease
share, seconds, journal = int(sys.argv[1]), float(sys.argv[2]), os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND)
def note(event, **more):
    entry = {"at": time.monotonic(), "pid": os.getpid(), "event": event, **more}
    os.write(journal, (json.dumps(entry) + "\\n").encode())
note("asks")
with device_lease("auto", share) as device:
    note("has", device=device.identity, bound=os.environ["CUDA_VISIBLE_DEVICES"])
    time.sleep(seconds)
    note("gives")
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Four simulated devices with their own lock folder."""
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPECTRALSEG_DEVICES", DEVICES)
    monkeypatch.setenv("SPECTRALSEG_LEASES", str(tmp_path / "locks"))
    (tmp_path / "journal").touch()
    return tmp_path


def start(machine, seconds, share=1, **environment):
    command = [sys.executable, "-c", JOB, str(share), str(seconds), str(machine / "journal")]
    return subprocess.Popen(command, env={**os.environ, **environment})


def journal(machine):
    return [json.loads(line) for line in (machine / "journal").read_text().splitlines()]


def wait_until(condition):
    while not (result := condition()):
        time.sleep(0.05)
    return result


def events(machine, kind):
    return [entry for entry in journal(machine) if entry["event"] == kind]


def tickets(machine):
    return list((machine / "locks").glob("line-*.[0-9]*"))


def end(*jobs):
    for job in jobs:
        job.kill()
        job.wait()


def most_at_once(intervals):
    moments = sorted([(start, 1) for start, _ in intervals] + [(end, -1) for _, end in intervals])
    count = most = 0
    for _, change in moments:
        count += change
        most = max(most, count)
    return most


@pytest.mark.slow
@pytest.mark.parametrize("share", [1, 2])
def test_forty_jobs_share_four_devices_while_some_are_killed(machine, share):
    chance, killed = random.Random(share), {}
    jobs = [start(machine, chance.uniform(0.1, 0.6), share) for _ in range(40)]
    for _ in range(12):
        time.sleep(chance.uniform(0.1, 0.4))
        alive = [job for job in jobs if job.poll() is None]
        if alive:
            victim = chance.choice(alive)
            killed[victim.pid] = time.monotonic()  # it has held its device until now
            victim.kill()
    statuses = {job.pid: job.wait() for job in jobs}
    assert killed
    assert all(status == 0 or (pid in killed and status == -signal.SIGKILL) for pid, status in statuses.items())
    has = events(machine, "has")
    assert {entry["pid"] for entry in has} >= {pid for pid, status in statuses.items() if status == 0}
    assert all(entry["bound"] == entry["device"] for entry in has)
    gives = killed | {entry["pid"]: entry["at"] for entry in events(machine, "gives")}
    for device in DEVICES.split(","):
        held = [(entry["at"], gives[entry["pid"]]) for entry in has if entry["device"] == device]
        assert 1 <= most_at_once(held) <= share
    names = {device: str(machine / "locks" / device) for device in DEVICES.split(",")}
    assert {path.name for path in (machine / "locks").iterdir() if not path.name.startswith("line-")} == {
        f"{device}.{number}" for device in names for number in range(share)
    }
    latecomers = [start(machine, 600, share) for _ in range(4 * share)]
    wait_until(lambda: len(events(machine, "has")) == len(has) + 4 * share)  # no slot is lost
    end(*latecomers)


def test_a_device_whose_holder_was_killed_goes_to_the_first_in_the_queue(machine):
    holders = [start(machine, 600) for _ in range(4)]
    wait_until(lambda: len(events(machine, "has")) == 4)
    waiting = []
    for number in range(1, 5):
        waiting.append(start(machine, 600))
        wait_until(lambda number=number: len(tickets(machine)) == number)
    end(waiting[1])  # a process that leaves the queue blocks no other
    assert len(events(machine, "has")) == 4
    served = {entry["pid"]: entry["device"] for entry in events(machine, "has")}
    for holder, next_one in zip(holders, (waiting[0], waiting[2], waiting[3]), strict=False):
        end(holder)
        got = wait_until(lambda: [e for e in events(machine, "has") if e["pid"] not in served])
        assert [(entry["pid"], entry["device"]) for entry in got] == [(next_one.pid, served[holder.pid])]
        served[next_one.pid] = got[0]["device"]
    end(holders[3], *waiting)


def test_processes_use_all_devices_before_they_share_one(machine):
    jobs = []
    for number in range(1, 9):
        jobs.append(start(machine, 600, share=2))
        wait_until(lambda number=number: len(events(machine, "has")) == number)
        if number == 4:
            assert {entry["device"] for entry in events(machine, "has")} == set(DEVICES.split(","))
    devices = [entry["device"] for entry in events(machine, "has")]
    assert all(devices.count(device) == 2 for device in DEVICES.split(","))
    end(*jobs)


@pytest.mark.parametrize("spelling", ["2,3", "GPU-cc,GPU-dd", "GPU-c,3"])
def test_only_visible_devices_are_leased(machine, spelling):
    jobs = [start(machine, 600, CUDA_VISIBLE_DEVICES=spelling) for _ in range(3)]
    has = wait_until(lambda: len(events(machine, "has")) == 2 and events(machine, "has"))
    assert {entry["device"] for entry in has} == {"GPU-cc", "GPU-dd"}
    assert {entry["bound"] for entry in has} == set(spelling.split(","))
    others = [start(machine, 600) for _ in range(2)]  # other spellings of the same devices
    has = wait_until(lambda: len(events(machine, "has")) == 4 and events(machine, "has"))
    assert {entry["device"] for entry in has} == set(DEVICES.split(","))
    end(*jobs, *others)


def test_a_worker_that_outlives_its_killed_parent_holds_no_device(machine):
    code = JOB.replace("    time.sleep(seconds)\n", "    os.fork() or note('child')\n    time.sleep(seconds)\n")
    command = [sys.executable, "-c", code, "1", "600", str(machine / "journal")]
    parent = subprocess.Popen(command, env={**os.environ, "SPECTRALSEG_DEVICES": "GPU-aa"})
    (child,) = wait_until(lambda: events(machine, "child"))
    end(parent)
    os.kill(child["pid"], 0)  # is alive
    following = start(machine, 0, SPECTRALSEG_DEVICES="GPU-aa")
    assert following.wait() == 0
    os.kill(child["pid"], signal.SIGKILL)


def test_a_process_is_bound_inside_the_block_only(machine, monkeypatch):
    assert gpu_slots(3) == 12
    with device_lease() as device:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == device.identity == "GPU-aa"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    with device_lease() as device:
        assert (device.identity, os.environ["CUDA_VISIBLE_DEVICES"]) == ("GPU-dd", "3")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,1"


@pytest.mark.parametrize(
    ("device_name", "changes"),
    [
        ("cpu", {}),
        ("cuda:1", {}),
        ("auto", {"SPECTRALSEG_DEVICES": ""}),
        ("auto", {"CUDA_VISIBLE_DEVICES": ""}),
        ("auto", {"SLURM_JOB_ID": "12", "CUDA_VISIBLE_DEVICES": "2"}),
    ],
    ids=["cpu", "named", "none", "none visible", "assigned by SLURM"],
)
def test_without_a_choice_no_device_is_leased(machine, monkeypatch, device_name, changes):
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with device_lease(device_name) as device:
        assert device is None
        assert dict(os.environ) == before
    assert not (machine / "locks").exists()


def test_several_devices_of_a_slurm_allocation_are_leased(machine, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with device_lease() as device:
        assert device.identity == "GPU-aa"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_an_unusable_folder_is_an_error(machine, monkeypatch):
    (machine / "file").touch()
    monkeypatch.setenv("SPECTRALSEG_LEASES", str(machine / "file" / "locks"))
    with pytest.raises(InputError, match=r"file.*SPECTRALSEG_LEASES"), device_lease():
        pass


def test_deleted_lock_files_are_created_again(machine):
    with device_lease():
        pass
    for path in (machine / "locks").iterdir():
        path.unlink()
    with device_lease() as device:
        assert device.identity == "GPU-aa"


FOREIGN = {
    "a ticket without a number": lambda folder, line: (folder / f"{line}.1abc").touch(),
    "a ticket of thousands": lambda folder, line: (folder / f"{line}.{'9' * 200}").touch(),
    "a folder as ticket": lambda folder, line: (folder / f"{line}.5").mkdir(),
    "a pipe as ticket": lambda folder, line: os.mkfifo(folder / f"{line}.5"),
    "a link as ticket": lambda folder, line: (folder / f"{line}.5").symlink_to(folder / "none"),
    "a ticket of a killed process": lambda folder, line: (folder / f"{line}.5").write_bytes(b"\0\xff"),
    "damaged slot": lambda folder, line: (folder / "GPU-aa.0").write_bytes(b"\0\xff"),
}


@pytest.mark.parametrize("foreign", FOREIGN)
def test_other_files_in_the_folder_are_ignored(machine, foreign):
    with device_lease():
        (guard,) = (machine / "locks").glob("line-*.lock")
    FOREIGN[foreign](machine / "locks", guard.stem)
    with device_lease() as device:
        assert device.identity == "GPU-aa"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_a_lock_that_is_not_a_regular_file_is_an_error(machine, make):
    with device_lease():
        (guard,) = (machine / "locks").glob("line-*.lock")
    for place in (guard, machine / "locks" / "GPU-aa.0"):
        place.unlink()
        make(place)
        with pytest.raises(InputError, match=f"{place.name}: .*SPECTRALSEG_LEASES"), device_lease():
            pass
        place.rmdir() if place.is_dir() else place.unlink()
