"""Malformed data on the command line: one-line errors or recorded remarks, and no partial output."""

import contextlib
import gzip
import importlib
import io
import json
import os
import pkgutil
import random
import re
import resource
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.data import bad_input
from tests.unit.data.bad_input.entry import DATASETS, IMAGE, LABEL

from spectralseg import cli
from spectralseg.data import archives, disk, phantoms, verify_prepared
from spectralseg.data.prepare import intensity_limits, normalise
from spectralseg.data.readers import read_cases
from spectralseg.data.specification import read_specification
from spectralseg.errors import InputError

ENTRIES = [
    entry
    for module in sorted(module.name for module in pkgutil.iter_modules(bad_input.__path__))
    for entry in getattr(importlib.import_module(f"tests.unit.data.bad_input.{module}"), "ENTRIES", [])
]


@pytest.fixture(scope="session")
def valid(tmp_path_factory):
    """Tiny phantoms, each as a folder of archives and as a folder of their content."""
    made = {}

    def make(name, packed):
        if name not in made:
            archives, content = tmp_path_factory.mktemp(f"{name}_archives"), tmp_path_factory.mktemp(name)
            for file in phantoms.generate(name, archives, cases=3, side=24, seed=2):
                if file.name.endswith((".zip", ".tar.gz")):
                    shutil.unpack_archive(file, content)
                else:
                    shutil.copy(file, content)
            made[name] = archives, content
        archives, content = made[name]
        return archives if packed else content

    return make


@pytest.fixture
def prepare(tmp_path, repository, capsys):
    """Exit status and error output of ``spectralseg prepare``; failures must leave no files."""

    def run(dataset, raw, *options, out=None):
        out = out or tmp_path / "study" / "prepared"
        out.parent.mkdir(exist_ok=True)
        specification = repository / "workflow" / "rules" / "datasets" / f"{dataset}.smk"
        arguments = [specification, "--raw", raw, "--out", out, "--image-size", 16, "--allow-partial", *options]
        status = cli.main(["prepare", *map(str, arguments)])
        assert sorted(os.listdir(out.parent)) == ([out.name] if status == 0 else [])
        return status, capsys.readouterr().err

    return run


def sentence(status, errors):
    """The single line of an error message, checked for its length."""
    assert status == 1, errors
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert errors.rstrip().endswith(line), "the sentence is the last word"
    told = re.sub(r"/\S*/", "", line)
    assert len(told) <= 300, told
    assert re.search(r"\S.*: \S.*; \S", told), f"no file or case, problem and remedy in: {told}"
    return line


def test_there_are_enough_entries_for_every_dataset():
    assert len(ENTRIES) >= 80
    assert {entry.dataset for entry in ENTRIES} == set(DATASETS)
    assert len({str(entry) for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("packed", [True, False])
def test_intact_phantoms_are_valid(valid, prepare, dataset, packed, tmp_path):
    status, errors = prepare(dataset, valid(dataset, packed))
    assert status == 0, errors
    assert verify_prepared(tmp_path / "study" / "prepared")


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_malformed_data(entry, valid, prepare, tmp_path):
    raw = Path(shutil.copytree(valid(entry.dataset, entry.packed), tmp_path / "raw"))
    entry.spoil(raw)
    status, errors = prepare(entry.dataset, raw, *(["--split", raw / entry.split] if entry.split else []))
    if entry.recorded:
        assert status == 0, errors
        assert verify_prepared(tmp_path / "study" / "prepared")
        card = json.loads((tmp_path / "study" / "prepared" / "dataset.json").read_text())
        assert re.search(entry.says, json.dumps([card["remarks"], card["excluded"]]))
    else:
        assert re.search(entry.says, sentence(status, errors))


@contextlib.contextmanager
def _as_nobody():
    """Drop root privileges for a while, as permissions do not apply to root."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except OSError:
        pytest.skip("this root may not become another user")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder(valid):
    """A phantom and a work folder with permissions for all users, unlike the folders of pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(valid("kvasir_seg", False), folder / "raw")
        (folder / "study").mkdir()
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777)
        yield folder


@pytest.mark.parametrize("place", ["images/*.jpg", "masks/*.jpg", "images", "."])
def test_unreadable_files_are_named(open_folder, prepare, place):
    closed = next((open_folder / "raw" / "Kvasir-SEG").glob(place)) if place != "." else open_folder / "raw"
    closed.chmod(0)
    with _as_nobody():
        told = sentence(*prepare("kvasir_seg", open_folder / "raw", out=open_folder / "study" / "prepared"))
    assert re.search(rf"{closed}: .*permission denied; change the permissions", told)


def test_an_unreadable_archive_is_named(open_folder, valid, prepare):
    archive = Path(shutil.copy(valid("kvasir_seg", True) / "kvasir-seg.zip", open_folder))
    archive.chmod(0)
    with _as_nobody():
        told = sentence(*prepare("kvasir_seg", archive, out=open_folder / "study" / "prepared"))
    assert re.search(r"kvasir-seg\.zip: cannot be unpacked to .*: permission denied; change the permissions", told)


@pytest.mark.parametrize("packed", [True, False])
def test_a_read_only_folder_is_named(open_folder, valid, prepare, packed):
    raw = open_folder / "raw"
    if packed:
        raw = Path(shutil.copy(valid("kvasir_seg", True) / "kvasir-seg.zip", open_folder))
        raw.chmod(0o444)
    (open_folder / "study").chmod(0o555)
    with _as_nobody():
        told = sentence(*prepare("kvasir_seg", raw, out=open_folder / "study" / "prepared"))
    assert re.search(r"/study(/prepared)?: .*permission denied; change the permissions", told)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named_while_arrays_are_written(valid, prepare, small_disk):
    told = sentence(
        *prepare("kvasir_seg", valid("kvasir_seg", False), "--image-size", 200, out=small_disk / "prepared")
    )
    assert f"{small_disk}/prepared: no space left on device; free some disk space" in told


def test_a_full_disk_is_named_before_an_archive_is_unpacked(valid, prepare, small_disk):
    told = sentence(*prepare("kvasir_seg", valid("kvasir_seg", True), out=small_disk / "prepared"))
    assert re.search(r"kvasir-seg\.zip: expands to \d+ MiB, but only 0 MiB of the disk are free", told)


def test_a_full_disk_is_named_while_an_archive_is_unpacked(valid, prepare, small_disk, monkeypatch):
    """The disk may become full after the check."""
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**40))
    told = sentence(*prepare("monuseg", valid("monuseg", True), out=small_disk / "prepared"))
    assert re.search(r"Data\.zip: cannot be unpacked to .*: no space left on device; free some disk space", told)


def test_a_limit_on_the_size_of_files_is_named(valid, prepare, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        status, errors = prepare("kvasir_seg", valid("kvasir_seg", False), "--image-size", 200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{tmp_path}/study/prepared: file too large; raise the limit" in sentence(status, errors)


@pytest.mark.parametrize("dataset", ["kvasir_seg", "acdc"])
def test_an_output_that_is_a_file_is_named_and_kept(valid, tmp_path, repository, capsys, dataset):
    (tmp_path / "prepared").write_text("mine")
    specification = repository / "workflow" / "rules" / "datasets" / f"{dataset}.smk"
    arguments = ["prepare", specification, "--raw", valid(dataset, False), "--out", tmp_path / "prepared"]
    status = cli.main([str(argument) for argument in [*arguments, "--allow-partial"]])
    told = sentence(status, capsys.readouterr().err)
    assert f"{tmp_path}/prepared: file exists; choose another name" in told
    assert os.listdir(tmp_path) == ["prepared"]
    assert (tmp_path / "prepared").read_text() == "mine"


def _damaged(content, rng):
    """A copy with bytes changed, removed, doubled or truncated, mostly in the header."""
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(rng.choice([64, 512, len(content)])) % len(damaged)
        part = slice(place, place + rng.choice([1, 1, 2, 4, 16]))
        change = rng.choice(["flip", "set", "set", "cut", "double", "end"])
        if change == "flip":
            damaged[place] ^= 1 << rng.randrange(8)
        elif change == "set":
            damaged[part] = bytes([rng.choice([0, 127, 255, rng.randrange(256)])]) * len(damaged[part])
        elif change == "double":
            damaged[part] = damaged[part] * 2
        else:
            del damaged[part if change == "cut" else slice(place, None)]
        damaged = damaged or bytearray(1)
    return bytes(damaged)


# Patterns of further cases, which would take long.
OTHERS = {
    "monuseg": ["MoNuSeg 2018 Training Data"],
    "coca": ["*/deidentified_nongated", "*/*/patient/[!2]*", "*/*/calcium_xml/[!2]*"],
}


@pytest.mark.slow
@pytest.mark.parametrize("dataset", DATASETS)
def test_random_damage_never_crashes(dataset, valid, tmp_path, repository, monkeypatch):
    """Volumes are damaged before compression, too, as damaged gzip files would be refused early."""
    specification = read_specification(repository / "workflow" / "rules" / "datasets" / f"{dataset}.smk")
    raw = Path(shutil.copytree(valid(dataset, False), tmp_path / "raw"))
    for path in [path for pattern in OTHERS.get(dataset, ()) for path in raw.glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    rng = random.Random(f"damage {dataset}")
    files = [path for kind in (IMAGE, LABEL) for path in sorted(raw.glob(kind[dataset]))[:1]]
    files += sorted(raw.rglob("Info.cfg"))[:1]
    outcomes = Counter()
    for path in files:
        content = path.read_bytes()
        for attempt in range(100 if path.suffix != ".xml" else 30):
            if path.suffix == ".gz" and attempt % 3:
                path.write_bytes(gzip.compress(_damaged(gzip.decompress(content), rng), 1, mtime=0))
            else:
                path.write_bytes(_damaged(content, rng))
            with contextlib.suppress(InputError):
                for case in read_cases(specification.reader, raw, specification.reader_options):
                    if not case.defect:
                        for load in (case.load, partial(case.load_reduced, 16) if case.load_reduced else case.load):
                            image = load().image
                            normalise(image, *intensity_limits(image, specification.intensity))
                outcomes["read"] += 1
            outcomes["all"] += 1
        path.write_bytes(content)
    assert 5 < outcomes["read"] < outcomes["all"] - 5


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_randomly_damaged_archives_leave_no_files(suffix, tmp_path):
    archive, folder = tmp_path / f"a{suffix}", tmp_path / "folder"
    members = {f"top/{n}.txt": bytes([n]) * 300 for n in range(5)}
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
            for name, text in members.items():
                content.writestr(name, text)
    else:
        with tarfile.open(archive, "w" if suffix == ".tar" else "w:gz") as content:
            for name, text in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(text)
                content.addfile(info, io.BytesIO(text))
    whole, rng, read = archive.read_bytes(), random.Random(suffix), 0
    for attempt in range(300):
        head = rng.choice([0, len(whole) // 2])  # the directory of a zip is at its end
        damaged = whole[:head] + _damaged(whole[head:], rng)
        if suffix == ".tar.gz" and attempt % 2:
            damaged = gzip.compress(_damaged(gzip.decompress(whole), rng), 1, mtime=0)
        archive.write_bytes(damaged)
        with contextlib.suppress(InputError):
            archives.unpack(archive, folder)
            read += 1
            shutil.rmtree(folder)
        assert os.listdir(tmp_path) == [archive.name]
    assert 5 < read < 295
