"""What would stop a study on this machine, or slow it down, and what to do about it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from spectralseg import registry
from spectralseg.config import Config
from spectralseg.data.disk import free_space
from spectralseg.data.fetch import RECEIPTS
from spectralseg.data.specification import DatasetSpecification
from spectralseg.errors import InputError
from spectralseg.grid import runs
from spectralseg.operations.devices import visible_devices
from spectralseg.operations.plan import gigabytes, plan
from spectralseg.operations.status import study_status
from spectralseg.operations.throughput import measured
from spectralseg.study_folder import StudyFolder

Level = Literal["ok", "note", "problem"]
_MARKS: dict[Level, str] = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}
_SHARED_MEMORY = 2**30  # bytes; loaders hand batches over in it


@dataclass(frozen=True)
class Finding:
    """One line of the examination: ``problem`` would stop a study, ``note`` is worth knowing."""

    level: Level
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{_MARKS[self.level]}  {self.subject}: {self.text}"


def examine(
    config: Config, specifications: dict[str, DatasetSpecification], results: Path, lock: Path | None
) -> Iterator[Finding]:
    """All findings but the measurement, which takes longer; see :func:`measurement`.

    Args:
        config: the study.
        specifications: the dataset files.
        results: folder of the study; it need not exist.
        lock: file of pinned versions, if it is at hand.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # weights must be in the cache; read when the library is imported
    yield from python()
    yield from packages(lock)
    yield from devices()
    yield from disk(results, config.training.workers, _needed(config, results))
    yield from trained_runs(config, results)
    yield from archives(config, specifications, results)
    yield from objectives(config, specifications)
    yield from models(config, specifications)
    yield from weights(config, StudyFolder(results, config).home)
    yield from slurm()


def python() -> Iterator[Finding]:
    """The interpreter."""
    wanted = metadata.metadata("spectralseg")["Requires-Python"]
    low, high = sorted(tuple(map(int, bound.split("."))) for bound in re.findall(r"[\d.]+", wanted))
    fits = low <= sys.version_info[:2] < high
    advice = "" if fits else f"; it must be {wanted}, make .venv anew with another PYTHON="
    yield Finding("ok" if fits else "problem", "python", f"{platform.python_version()} on {platform.system()}{advice}")


def packages(lock: Path | None) -> Iterator[Finding]:
    """What is installed, against what the package needs and against the lock."""
    needed = [
        re.split(r"[^\w.-]", text)[0] for text in metadata.requires("spectralseg") or () if "extra ==" not in text
    ]
    if missing := [name for name in needed if _version(name) is None]:
        yield Finding("problem", "packages", f"missing: {', '.join(missing)}; pip install -r envs/requirements.lock")
    if lock is None or not lock.is_file():
        yield Finding(
            "note", "packages", "the lock is not at hand, versions are not compared; run this in the repository"
        )
        return
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(encoding="utf-8"), re.MULTILINE))
    other = {
        name: found
        for name, version in pinned.items()
        if (found := _version(name)) is not None and found.partition("+")[0] != version.partition("+")[0]
    }
    if other:
        told = ", ".join(f"{name} {found} instead of {pinned[name]}" for name, found in list(other.items())[:5])
        more = f" and {len(other) - 5} more" if len(other) > 5 else ""
        yield Finding("note", "packages", f"not as in {lock}: {told}{more}; pip install -r {lock} has the tested ones")
    elif not missing:
        yield Finding("ok", "packages", f"all as in {lock}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def devices() -> Iterator[Finding]:
    """Accelerators, their driver, and whether torch can use them."""
    found = visible_devices()
    if driver := _output(
        "nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.used", "--format=csv,noheader"
    ):
        for line in driver.splitlines():
            name, version, total, used = (part.strip() for part in line.split(","))
            yield Finding("ok", "GPU", f"{name}, driver {version}, {used} of {total} in use")
    import torch

    if torch.cuda.is_available():
        try:
            torch.ones(8, device="cuda").sum().item()
            yield Finding("ok", "torch", f"{torch.__version__} uses {torch.cuda.device_count()} GPU(s)")
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            yield Finding("problem", "torch", f"cannot compute on the GPU ({reason}); install a torch built for it")
    elif torch.backends.mps.is_available():
        yield Finding("ok", "torch", f"{torch.__version__} uses the GPU of this computer (MPS)")
    elif found:
        built = torch.version.cuda or torch.version.hip or "the CPU only"
        yield Finding(
            "problem",
            "torch",
            f"{len(found)} device(s) are here, but torch {torch.__version__}, built for {built}, sees none; "
            "install a torch that fits the driver",
        )
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        yield Finding("note", "GPU", f"none is visible; training uses the CPU, {cores} cores, and is far slower")


def _needed(config: Config, results: Path) -> int:
    """Bytes that the runs will still take; 0 where an option of the configuration keeps that from being known."""
    with contextlib.suppress(InputError):
        needed = plan(config, results, measured([results], None), price=None, devices=1).run_bytes
        folders = map(StudyFolder(results, config).run_folder, runs(config))
        there = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
        return max(0, needed - there)
    return 0


def disk(results: Path, workers: int, needed: int) -> Iterator[Finding]:
    """Room for results, ``needed`` bytes of runs among them, and for what ``workers`` of a loader hand over."""
    free = free_space(results)
    place = results.resolve()
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        yield Finding(
            "problem", "disk", f"{place} cannot be written to; change its permissions or link results elsewhere"
        )
    elif free <= needed:
        told = f"{gigabytes(max(0, free))} free for {results}, and runs need {gigabytes(needed)}; make room"
        yield Finding("problem", "disk", told)
    else:
        yield Finding("ok", "disk", f"{gigabytes(free)} free for {results}, runs need {gigabytes(needed)}")
    shared = Path("/dev/shm")
    if workers and shared.is_dir() and (size := shutil.disk_usage(shared).total) < _SHARED_MEMORY:
        yield Finding(
            "problem",
            "shared memory",
            f"{gigabytes(size)} in {shared} is too little for 'workers: {workers}'; give the container more, by "
            "--shm-size=2g, or set 'workers: 0'",
        )


def trained_runs(config: Config, results: Path) -> Iterator[Finding]:
    """Runs that are trained, those that will be trained again, and what lies in the folder without belonging to it."""
    found = study_status(config, results)
    states = Counter(one.state for one in found)
    trained = sum(one.trained for one in found) - states["unreadable"]
    if trained:
        yield Finding("ok", "runs", f"{trained} of {len(found)} are trained")
    if outdated := [one for one in found if one.state == "outdated"]:
        first = outdated[0]
        yield Finding("note", "runs", f"{len(outdated)} outdated, first {first.run.folder}: {first.error}")
    for one in found:
        if one.state == "unreadable":
            yield Finding("problem", "runs", one.error)
    if sentence := StudyFolder(results, config).left_out_sentence():
        yield Finding("note", "results", sentence)


def archives(config: Config, specifications: dict[str, DatasetSpecification], results: Path) -> Iterator[Finding]:
    """Official files and those of the user's own: what is there, and what needs the network."""
    study = StudyFolder(results, config)
    downloads = study.home / config.downloads
    for name, choice in config.datasets.items():
        if (results / "prepared" / name / "dataset.json").is_file():
            changed = study.unprepared(name)
            text = f", and will be again, as '{changed}' differs from its dataset.json" if changed else ""
            yield Finding("note" if changed else "ok", "data", f"{name} is prepared{text}")
        elif choice.source == "phantom":
            yield Finding("ok", "data", f"{name} is drawn, which needs no download")
        elif choice.source == "path":
            there = (study.home / str(choice.path)).exists()
            text = f"{name} is taken from {choice.path}" + ("" if there else ", which does not exist; correct 'path'")
            yield Finding("ok" if there else "problem", "data", text)
        elif (downloads / name / RECEIPTS).is_file():
            yield Finding("ok", "data", f"{name} is downloaded")
        else:
            yield _to_fetch(name, specifications[name], downloads / name)


def _to_fetch(name: str, specification: DatasetSpecification, folder: Path) -> Finding:
    missing = [source for source in specification.sources if not (folder / source.file).is_file()]
    hosts = sorted({_host(source.url) for source in missing})
    silent = [host for host in hosts if not _reachable(host)]
    told = f"{name} has to be fetched: {len(missing)} file(s) from {', '.join(hosts)}"
    if silent:
        advice = f"run spectralseg prefetch where there is a network, or put the files into {folder}"
        return Finding("problem", "network", f"{told}, and {', '.join(silent)} cannot be reached from here; {advice}")
    return Finding("note", "network", f"{told}; spectralseg prefetch does it now, the workflow when it starts")


def _host(url: str) -> str:
    known = {"synapse": "repo-prod.prod.sagebase.org", "gdrive": "drive.google.com"}
    parts = urlsplit(url)
    return known.get(parts.scheme) or parts.hostname or url


def _reachable(host: str) -> bool:
    import requests

    try:
        requests.head(f"https://{host}", timeout=5)  # any answer will do; proxies are honoured
    except (requests.RequestException, OSError):
        return False
    return True


def models(config: Config, specifications: Mapping[str, DatasetSpecification]) -> Iterator[Finding]:
    """Whether every architecture of the grid can be built and takes a batch of each dataset that it is trained on."""
    trained: dict[str, dict[tuple[int, int, int], None]] = {}
    for run in runs(config):
        data = specifications[run.dataset]
        task = data.channels, config.size_of(run.dataset), len(data.classes)
        trained.setdefault(run.architecture, {})[task] = None
    for name, tasks in trained.items():
        try:
            for channels, size, classes in tasks:
                _try_model(config, name, channels, size, 1 if classes == 1 else classes + 1)
        except InputError as error:
            yield Finding("problem", "models", str(error))
        else:
            yield Finding("ok", "models", f"{name} can be built")


def objectives(config: Config, specifications: Mapping[str, DatasetSpecification]) -> Iterator[Finding]:
    """Whether every objective of the grid takes its options, and logits of each dataset that is trained with it."""
    from spectralseg.training.loop import objective_of

    trained: dict[str, dict[tuple[str, int, int], None]] = {}
    for run in runs(config):
        classes = len(specifications[run.dataset].classes)
        task = run.lam, 1 if classes == 1 else classes + 1, config.size_of(run.dataset)
        trained.setdefault(run.objective, {})[task] = None
    for name, tasks in trained.items():
        try:
            for lam, outputs, size in tasks:
                objective_of(config.objectives[name], lam, outputs, size)
        except InputError as error:
            yield Finding("problem", "objectives", f"objectives.{name}: {error}")
        else:
            yield Finding("ok", "objectives", f"{name} can be built")


def _try_model(config: Config, name: str, channels: int, size: int, outputs: int) -> None:
    """A batch through a model with random weights: on the meta device, which knows shapes only; where the model cannot
    do that, on the CPU.
    """
    import torch

    from spectralseg.training.learner import first_logits
    from spectralseg.training.loop import model_of

    architecture = config.architectures[name].model_copy(update={"encoder_weights": None})
    shape = (config.training.batch_size, channels, size, size)
    key = f"architectures.{name}"
    for device in ("meta", "cpu"):
        try:
            with torch.device(device), torch.no_grad():
                first_logits(model_of(architecture, channels, outputs).train(), torch.zeros(shape), outputs, key)
            return
        except InputError as error:
            if device == "cpu":
                raise InputError(str(error) if str(error).startswith(key) else f"{key}: {error}") from error


def weights(config: Config, home: Path = Path()) -> Iterator[Finding]:
    """Whether pretrained weights are in the cache, by loading them without a network."""
    chosen = {(a.model, a.encoder, a.encoder_weights) for a in config.architectures.values() if a.encoder_weights}
    for model, encoder, name in sorted(chosen, key=str):
        if file := registry.weights_file(name):
            there = (home / file).is_file()
            text = f"{file} " + ("is there" if there else "does not exist; correct 'encoder_weights'")
            yield Finding("ok" if there else "problem", "weights", text)
            continue
        try:
            _load_offline(model, encoder, str(name))
            yield Finding("ok", "weights", f"'{name}' of {encoder} are in the cache")
        except InputError as error:
            yield Finding("problem", "weights", str(error))


def _load_offline(model: str, encoder: str, name: str) -> None:
    from spectralseg.models import build_model

    build_model(model, 3, 1, encoder=encoder, encoder_weights=name)


def slurm() -> Iterator[Finding]:
    """Whether there is a SLURM, and what its profile must say."""
    if not shutil.which("sbatch"):
        yield Finding("note", "SLURM", "there is none here; snakemake --cores 8 runs on this machine")
        return
    version = _output("sbatch", "--version") or "of unknown version"
    if (nodes := _output("sinfo", "--noheader", "--format=%P %D %G")) is None:
        yield Finding("problem", "SLURM", f"{version} does not answer; ask the site's administrators")
        return
    offered = "; ".join(" ".join(line.split()) for line in nodes.splitlines())
    yield Finding("ok", "SLURM", f"{version}; partitions, nodes, devices: {offered}")
    if "gpu" not in nodes:
        yield Finding("note", "SLURM", "no partition offers GPUs; jobs that ask for gpu=1 will be refused")
    if _output("sacct", "--noheader", "--allocations") is None:
        yield Finding("note", "SLURM", "there is no accounting; the profile needs none")


def _output(*command: str) -> str | None:
    """What a command prints; None if there is no such command, or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def measurement(found: dict[str, Any]) -> Finding:
    """Which of loading and learning is the bottleneck, and by how much, from what ``speed.measure`` found."""
    load, step, together = (1000 * found["seconds"][key] for key in ("loading", "step", "together"))
    figures = f"a batch loads in {load:.0f} ms and is learnt in {step:.0f} ms, {together:.0f} ms together"
    figures += f", on {found['device_name']} with {found['workers']} workers"
    if load > step:
        advice = f"loading is the bottleneck, {load / step:.1f} times as slow as the step; set 'workers' higher"
        return Finding("note", "speed", f"{figures}: {advice}")
    lost = 100 * max(0.0, 1 - step / together)
    advice = (
        f"the step is the bottleneck, {step / load:.1f} times as slow as loading; {lost:.0f} % of the time it waits"
    )
    return Finding("ok", "speed", f"{figures}: {advice}")


def as_json(findings: Iterable[Finding], speed: dict[str, Any] | None) -> dict[str, Any]:
    """The examination as plain values."""
    found = [asdict(finding) for finding in findings]
    return json.loads(json.dumps({"findings": found, "speed": speed}))  # type: ignore[no-any-return]
