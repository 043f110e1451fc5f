"""Checks of an installation: problems that would stop or slow down a study on this machine, with remedies."""

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from spectralseg import registry
from spectralseg.config import Config
from spectralseg.data.disk import free_space
from spectralseg.data.receipts import RECEIPTS
from spectralseg.data.specification import DatasetSpecification
from spectralseg.errors import InputError
from spectralseg.extras import requirements
from spectralseg.grid import grid_runs
from spectralseg.operations.devices import cpu_cores, visible_devices
from spectralseg.operations.parts import study_parts
from spectralseg.operations.plan import gigabytes, plan
from spectralseg.operations.status import RunStatus, of_autoencoders, of_runs, study_status
from spectralseg.operations.throughput import measured
from spectralseg.study_folder import StudyFolder

Level = Literal["ok", "note", "problem"]
_MARKS: dict[Level, str] = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}
_EXTRAS_OF_A_STUDY = ("data", "report", "train", "workflow")
_SHARED_MEMORY = 2**30  # bytes; loader workers pass batches through it


@dataclass(frozen=True)
class Finding:
    """Result of a check: a ``problem`` would stop a study, a ``note`` is for information."""

    level: Level
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{_MARKS[self.level]}  {self.subject}: {self.text}"


def examine(
    config: Config, specifications: dict[str, DatasetSpecification], results: Path, lock: Path | None
) -> Iterator[Finding]:
    """Run all checks except the speed measurement, which takes longer; see :func:`measurement`.

    Args:
        config: the study.
        specifications: the dataset files.
        results: results folder of the study; it need not exist.
        lock: file of pinned versions; None if not available.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # only cached weights count; the variable is read when the library is imported
    yield from python()
    yield from packages(lock, recheck=config.evaluation.recheck > 0)
    yield from devices()
    yield from disk(results, config.training.workers, _required_space(config, results))
    yield from trained_runs(config, results)
    yield from archives(config, specifications, results)
    yield from objectives(config, specifications)
    yield from models(config, specifications)
    yield from weights(config, StudyFolder(results, config).home)
    yield from slurm()


def python() -> Iterator[Finding]:
    """Check the version of Python."""
    required = metadata.metadata("spectralseg")["Requires-Python"]
    low, high = sorted(tuple(map(int, bound.split("."))) for bound in re.findall(r"[\d.]+", required))
    supported = low <= sys.version_info[:2] < high
    advice = "" if supported else f"; it must be {required}, recreate .venv with another PYTHON="
    yield Finding(
        "ok" if supported else "problem", "python", f"{platform.python_version()} on {platform.system()}{advice}"
    )


def packages(lock: Path | None, *, recheck: bool) -> Iterator[Finding]:
    """Compare the installed packages with those that a study needs, and with the lock file.

    Args:
        lock: file of pinned versions; None if not available.
        recheck: whether evaluations compare metrics with independent implementations.
    """
    extras = ("", *_EXTRAS_OF_A_STUDY, *(("reference",) if recheck else ()))
    required = sorted(set().union(*(requirements()[extra] for extra in extras)))
    if missing := [name for name in required if _version(name) is None]:
        locked = lock is not None and lock.is_file()
        command = f"pip install -r {lock}" if locked else "pip install 'spectralseg[all,reference]'"
        yield Finding("problem", "packages", f"missing: {', '.join(missing)}; {command}")
    if lock is None or not lock.is_file():
        yield Finding("note", "packages", "no lock file, versions are not compared; run this in the repository")
        return
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(encoding="utf-8"), re.MULTILINE))
    differing = {
        name: installed
        for name, version in pinned.items()
        if (installed := _version(name)) is not None and installed.partition("+")[0] != version.partition("+")[0]
    }
    if differing:
        examples = list(differing.items())[:5]
        versions = ", ".join(f"{name} {installed} instead of {pinned[name]}" for name, installed in examples)
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        text = f"not as in {lock}: {versions}{more}; pip install -r {lock} installs the tested versions"
        yield Finding("note", "packages", text)
    elif not missing:
        yield Finding("ok", "packages", f"all as in {lock}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def devices() -> Iterator[Finding]:
    """Check accelerators, their driver, and whether torch can use them."""
    visible = visible_devices()
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
    elif visible:
        platform_name = torch.version.cuda or torch.version.hip or "the CPU only"
        yield Finding(
            "problem",
            "torch",
            f"{len(visible)} device(s) are available, but torch {torch.__version__}, built for {platform_name}, finds "
            "none; install a torch that fits the driver",
        )
    else:
        yield Finding("note", "GPU", f"none available; training uses the CPU, {cpu_cores()} cores, and is much slower")


def _required_space(config: Config, results: Path) -> int:
    """Disk space in bytes that runs and autoencoders still need; 0 if an invalid option prevents the estimate."""
    with contextlib.suppress(InputError):
        parts = study_parts(config, results, study_status(config, results), measured([results], None), {})
        estimate = plan(config, results, parts, price=None)
        total, study = estimate.run_bytes + estimate.pretraining_bytes, StudyFolder(results, config)
        folders = [*map(study.run_folder, study.autoencoders), *map(study.run_folder, study.runs)]
        used = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
        return max(0, total - used)
    return 0


def disk(results: Path, workers: int, required: int) -> Iterator[Finding]:
    """Check the disk space for results, with ``required`` bytes of runs, and the shared memory for loader workers."""
    free = free_space(results)
    folder = results.resolve()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        yield Finding(
            "problem", "disk", f"{folder} cannot be written to; change its permissions or link results elsewhere"
        )
    elif free <= required:
        text = f"{gigabytes(max(0, free))} free for {results}, but runs need {gigabytes(required)}; free disk space"
        yield Finding("problem", "disk", text)
    else:
        yield Finding("ok", "disk", f"{gigabytes(free)} free for {results}, runs need {gigabytes(required)}")
    shared = Path("/dev/shm")
    if workers and shared.is_dir() and (size := shutil.disk_usage(shared).total) < _SHARED_MEMORY:
        yield Finding(
            "problem",
            "shared memory",
            f"{gigabytes(size)} in {shared} is too little for 'workers: {workers}'; start the container with "
            "--shm-size=2g or set 'workers: 0'",
        )


def trained_runs(config: Config, results: Path) -> Iterator[Finding]:
    """Check for trained, outdated and unreadable runs and masked autoencoders, and for results that do not belong to
    the study.
    """
    statuses = study_status(config, results)
    yield from _trained("autoencoders", of_autoencoders(statuses))
    yield from _trained("runs", of_runs(statuses))
    if sentence := StudyFolder(results, config).left_out_sentence():
        yield Finding("note", "results", sentence)


def _trained(subject: str, statuses: Sequence[RunStatus]) -> Iterator[Finding]:
    states = Counter(status.state for status in statuses)
    trained = sum(status.trained for status in statuses) - states["unreadable"]
    if trained:
        yield Finding("ok", subject, f"{trained} of {len(statuses)} are trained")
    if outdated := [status for status in statuses if status.state == "outdated"]:
        first = outdated[0]
        yield Finding("note", subject, f"{len(outdated)} outdated, first {first.title}: {first.error}")
    for status in statuses:
        if status.state == "unreadable":
            yield Finding("problem", subject, status.error)


def archives(config: Config, specifications: dict[str, DatasetSpecification], results: Path) -> Iterator[Finding]:
    """Check which datasets are available, and which need the network."""
    study = StudyFolder(results, config)
    downloads = study.home / config.downloads
    for name, dataset in config.datasets.items():
        if (results / "prepared" / name / "dataset.json").is_file():
            changed = study.unprepared(name)
            text = f", but will be prepared again, as '{changed}' differs from its dataset.json" if changed else ""
            yield Finding("note" if changed else "ok", "data", f"{name} is prepared{text}")
        elif dataset.source == "phantom":
            yield Finding("ok", "data", f"{name} is a phantom, which needs no download")
        elif dataset.source == "path":
            exists = (study.home / str(dataset.path)).exists()
            text = f"{name} is taken from {dataset.path}" + ("" if exists else ", which does not exist; correct 'path'")
            yield Finding("ok" if exists else "problem", "data", text)
        elif access := specifications[name].access:
            yield Finding("problem", "data", f"{name}: {access}")
        elif (downloads / name / RECEIPTS).is_file():
            yield Finding("ok", "data", f"{name} is downloaded")
        else:
            yield _to_fetch(name, specifications[name], downloads / name)


def _to_fetch(name: str, specification: DatasetSpecification, folder: Path) -> Finding:
    missing = [source for source in specification.sources if not (folder / source.file).is_file()]
    hosts = sorted({_host(source.url) for source in missing})
    unreachable = [host for host in hosts if not _reachable(host)]
    text = f"{name} must be downloaded: {len(missing)} file(s) from {', '.join(hosts)}"
    if unreachable:
        advice = f"run spectralseg prefetch on a machine with a network, or put the files into {folder}"
        return Finding("problem", "network", f"{text}, but {', '.join(unreachable)} cannot be reached; {advice}")
    return Finding("note", "network", f"{text}; the workflow does it, or run spectralseg prefetch now")


def _host(url: str) -> str:
    hosts = {"synapse": "repo-prod.prod.sagebase.org", "gdrive": "drive.google.com"}
    parts = urlsplit(url)
    return hosts.get(parts.scheme) or parts.hostname or url


def _reachable(host: str) -> bool:
    import requests

    try:
        requests.head(f"https://{host}", timeout=5)  # any response counts; proxies are respected
    except (requests.RequestException, OSError):
        return False
    return True


def models(config: Config, specifications: Mapping[str, DatasetSpecification]) -> Iterator[Finding]:
    """Check that every architecture of the grid can be built and takes a batch of each of its datasets."""
    trained: dict[str, dict[tuple[int, int, int], None]] = {}
    for run in grid_runs(config):
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
    """Check that every objective of the grid accepts its options, and logits of each of its datasets."""
    from spectralseg.building import objective_of

    trained: dict[str, dict[tuple[str, int, int], None]] = {}
    for run in grid_runs(config):
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
    """Pass a batch through a model with random weights, on the meta device or, if the model fails there, on the CPU."""
    import torch

    from spectralseg.building import model_of, without_files
    from spectralseg.training.learner import first_logits

    architecture = without_files(config, name)
    shape = (config.training.batch_size, channels, size, size)
    key = f"architectures.{name}"
    for device in ("meta", "cpu"):
        try:
            with torch.device(device), torch.no_grad():
                model = model_of(architecture, channels, outputs, image_size=size).train()
                first_logits(model, torch.zeros(shape), outputs, key)
            return
        except InputError as error:
            if device == "cpu":
                raise InputError(str(error) if str(error).startswith(key) else f"{key}: {error}") from error


def weights(config: Config, home: Path = Path()) -> Iterator[Finding]:
    """Check that pretrained weights are in the cache, by loading them without a network."""
    selected = {(a.model, a.encoder, a.encoder_weights) for a in config.architectures.values() if a.encoder_weights}
    for model, encoder, name in sorted(selected, key=str):
        if file := registry.weights_file(name):
            exists = (home / file).is_file()
            text = f"{file} " + ("exists" if exists else "does not exist; correct 'encoder_weights'")
            yield Finding("ok" if exists else "problem", "weights", text)
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
    """Check for SLURM, its partitions and its accounting."""
    if not shutil.which("sbatch"):
        yield Finding("note", "SLURM", "not available; snakemake --cores 8 runs on this machine")
        return
    version = _output("sbatch", "--version") or "of unknown version"
    if (nodes := _output("sinfo", "--noheader", "--format=%P %D %G")) is None:
        yield Finding("note", "SLURM", f"{version} does not answer; to use it, ask the site's administrators")
        return
    offered = "; ".join(" ".join(line.split()) for line in nodes.splitlines())
    yield Finding("ok", "SLURM", f"{version}; partitions, nodes, devices: {offered}")
    if "gpu" not in nodes:
        yield Finding("note", "SLURM", "no partition offers GPUs; jobs that ask for gpu=1 will be refused")
    if _output("sacct", "--noheader", "--allocations") is None:
        yield Finding("note", "SLURM", "no accounting; the profile does not need it")


def _output(*command: str) -> str | None:
    """Output of a command; None if the command does not exist or fails."""
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()


def measurement(speed: dict[str, Any]) -> Finding:
    """Whether loading or the training step is the bottleneck, from the result of ``speed.measure``."""
    load, step, together = (1000 * speed["seconds"][key] for key in ("loading", "step", "together"))
    figures = f"loading a batch takes {load:.0f} ms, a training step {step:.0f} ms, both together {together:.0f} ms"
    figures += f", on {speed['device_name']} with {speed['workers']} workers"
    if load > step:
        advice = f"loading is the bottleneck, {load / step:.1f} times as slow as the step; set 'workers' higher"
        return Finding("note", "speed", f"{figures}: {advice}")
    lost = 100 * max(0.0, 1 - step / together)
    advice = (
        f"the step is the bottleneck, {step / load:.1f} times as slow as loading; {lost:.0f} % of the time it waits"
    )
    return Finding("ok", "speed", f"{figures}: {advice}")


def as_json(findings: Iterable[Finding], speed: dict[str, Any] | None) -> dict[str, Any]:
    """Findings and speed as plain values."""
    values = [asdict(finding) for finding in findings]
    return json.loads(json.dumps({"findings": values, "speed": speed}))  # type: ignore[no-any-return]
