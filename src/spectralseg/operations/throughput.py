"""Speed of training, estimated from finished runs, the doctor or benchmarks."""

from __future__ import annotations

import json
import math
import operator
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectralseg.config import Architecture, Config
from spectralseg.errors import InputError
from spectralseg.files import visible
from spectralseg.grid import Autoencoder, Run
from spectralseg.operations.stages import Basis, Kind
from spectralseg.parsing import read_json
from spectralseg.patches import Sizes
from spectralseg.study_folder import StudyFolder

DOCTOR = "doctor.json"  # measurement of the doctor, in the results folder
THREADS = 4  # most threads that the workflow gives to a run
START = 5.0  # seconds until a command has started, where it was not measured
SCORING = 0.032  # seconds to score an image of 512 x 512 with 8 classes, in benchmarks/README.md
AUTOENCODER = "masked autoencoder"  # model of a setting; no model of the registry has a blank in its name
_EXTRAPOLATED = 3.0  # uncertainty factor for a setting that was not measured
_STEPS_ONLY = 2.0  # uncertainty factor if only training steps were measured, not validation, loading and saving
_MAX_BYTES = 2**24  # of a file
_BASES: dict[str, Basis] = {"finished runs": "measured", "doctor": "doctor", "benchmark": "benchmark"}
_SOURCES = tuple(_BASES)  # the best first
# Variants in the benchmark of training that use its default settings.
_DEFAULT_VARIANT = re.compile(r"ours(?:, (fp32|bf16|fp16))?")


@dataclass(frozen=True)
class Setting:
    """Settings that the time of an optimizer step depends on."""

    model: str
    encoder: str
    options: str
    image_size: int
    batch_size: int
    precision: str

    @property
    def pixels(self) -> int:
        """Number of pixels of a batch."""
        return self.batch_size * self.image_size**2

    @classmethod
    def of(cls, architecture: dict[str, Any], image_size: int, training: dict[str, Any]) -> Setting:
        """Create a setting from plain values of ``run.json`` or a dumped configuration."""
        autoencoders = architecture.get("pretrained")
        pretrained = {"pretrained": autoencoders} if autoencoders else {}
        options = json.dumps({**architecture.get("options", {}), **pretrained}, sort_keys=True)
        names = architecture["model"], architecture.get("encoder", "")
        return cls(*names, options, image_size, training["batch_size"], training["precision"])

    @classmethod
    def of_autoencoder(cls, pretraining: dict[str, Any], image_size: int, training: dict[str, Any]) -> Setting:
        """Create the setting of a masked autoencoder from plain values, as :meth:`of` does."""
        sizes = json.dumps({name: pretraining[name] for name in sorted(Sizes.__dataclass_fields__)})
        return cls(AUTOENCODER, "", sizes, image_size, training["batch_size"], training["precision"])


@dataclass(frozen=True)
class Measured:
    """Seconds per iteration of a setting.

    Attributes:
        setting: the setting that was measured.
        seconds: seconds per iteration, including validation, loading and saving if they were measured.
        device: name of the device.
        source: ``finished runs``, ``doctor`` or ``benchmark``.
        share: number of runs that shared the device.
        bytes: disk space of a run; None if not measured.
        evaluation: seconds of an evaluation; None if not measured.
        start: seconds of a training in addition to its iterations: imports, loading, saving.
        dataset: dataset of a run; empty if it was not a run.
        kind: kind of the device; None if not recorded.
        threads: number of CPU cores of a run; None if not recorded.
    """

    setting: Setting
    seconds: float
    device: str
    source: str
    share: int = 1
    bytes: int | None = None
    evaluation: float | None = None
    start: float = 0.0
    dataset: str = ""
    kind: Kind | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Estimate:
    """Estimated seconds per iteration with a range, and the source of the estimate; see :class:`Measured`."""

    seconds: float
    low: float
    high: float
    source: str
    device: str
    share: int = 1
    bytes: int | None = None
    start: float = 0.0
    basis: Basis = "measured"


def settings_of(config: Config, dataset: str) -> dict[str, Setting]:
    """The settings of all architectures of a study on a dataset, by name."""
    training = config.training.model_dump(mode="json")

    def setting(architecture: Architecture) -> Setting:
        return Setting.of(architecture.model_dump(mode="json"), config.size_of(dataset), training)

    return {name: setting(architecture) for name, architecture in config.architectures.items()}


def setting_of_autoencoder(config: Config, autoencoder: Autoencoder) -> Setting:
    """The setting of a masked autoencoder of a study."""
    pretraining = config.pretraining[autoencoder.name]
    training = pretraining.training(config.training_of(autoencoder.dataset))
    plain = pretraining.model_dump(mode="json"), training.model_dump(mode="json")
    return Setting.of_autoencoder(plain[0], config.size_of(autoencoder.dataset), plain[1])


def measured(
    studies: Iterable[Path],
    benchmarks: Path | None,
    *,
    accelerated: bool = True,
    only: Kind | None = None,
    threads: int | None = None,
) -> list[Measured]:
    """All measurements, the best source first: finished runs and masked autoencoders, the doctor, benchmarks.

    Args:
        studies: results folders.
        benchmarks: folder of committed benchmarks.
        accelerated: whether to use the benchmarks of GPUs or those of CPUs.
        only: kind of device to which finished runs and the doctor are restricted; None uses all.
        threads: number of CPU cores of a run, to which benchmarks of CPUs are scaled; None leaves them unchanged.
    """
    folders = list(studies)
    measurements = [measurement for folder in folders for measurement in _from_runs(folder)]
    measurements += [measurement for folder in folders for measurement in _from_doctor(folder)]
    measurements += list(_from_benchmarks(benchmarks, accelerated, threads) if benchmarks else ())
    return [
        measurement
        for measurement in measurements
        if 0 < measurement.seconds < math.inf and (measurement.evaluation or 0) < math.inf
        if only is None or measurement.kind in (only, None)
    ]


def estimate(setting: Setting, measurements: Sequence[Measured]) -> Estimate | None:
    """Estimate the speed of a setting from the best source; None without measurements.

    All measurements used are of one device, the same for all runs; autoencoders may have another. A setting
    that was not measured gets the time of the slowest other setting with the same number of pixels, otherwise of the
    same model, otherwise of any model, scaled by the number of pixels, with an uncertainty factor of three either way.
    Runs give no estimate for masked autoencoders, nor vice versa.
    """
    autoencoder = setting.model == AUTOENCODER
    measurements = _of_one_device([item for item in measurements if (item.setting.model == AUTOENCODER) == autoencoder])
    for source in _SOURCES:
        if same := [item for item in measurements if item.source == source and item.setting == setting]:
            return _summary(same)
    if not measurements:
        return None
    size = setting.pixels, setting.precision
    same_size = [item for item in measurements if (item.setting.pixels, item.setting.precision) == size]
    same_model = [item for item in measurements if item.setting.model == setting.model]
    slowest = max(same_size or same_model or measurements, key=lambda item: item.seconds)
    origin = "finished autoencoders" if autoencoder else f"{slowest.source} of {slowest.setting.model}"
    remedy = "finish one" if autoencoder else "spectralseg doctor measures it"
    source = f"{origin}, as this one was not measured; {remedy}"
    mean = slowest.seconds * setting.pixels / slowest.setting.pixels
    return Estimate(
        *(mean, mean / _EXTRAPOLATED, mean * _EXTRAPOLATED, source, slowest.device, slowest.share),
        start=slowest.start,
        basis=_BASES[slowest.source],
    )


def evaluation(
    dataset: str,
    setting: Setting,
    images: Mapping[str, int | None],
    measurements: Sequence[Measured],
    speed: Estimate | None,
) -> tuple[float | None, Basis]:
    """Estimate the seconds of an evaluation, and what they rest on; None without measurements.

    It is the mean over evaluated runs on the same dataset, of the same setting if there are any. Otherwise the seconds
    per image of other datasets; otherwise a third of a training step, which has a backward pass, and the scoring.

    Args:
        dataset: training dataset of the run.
        setting: setting of the run.
        images: number of images that an evaluation predicts, by training dataset; None if unknown.
        measurements: all measurements.
        speed: estimated speed of training, if any.
    """
    evaluated = [
        (item, item.evaluation)
        for item in _of_one_device([item for item in measurements if item.setting.model != AUTOENCODER])
        if item.evaluation is not None
    ]
    here = [pair for pair in evaluated if pair[0].dataset == dataset]
    if same := [pair for pair in here if pair[0].setting == setting] or here:
        return statistics.fmean(seconds for _, seconds in same), "measured"
    count = images.get(dataset)
    if count is None:
        return None, "unknown"
    rates = [max(0.0, seconds - START) / number for item, seconds in evaluated if (number := images.get(item.dataset))]
    if rates:
        return START + count * statistics.fmean(rates), "measured"
    if speed is None:
        return None, "unknown"
    return START + count * (speed.seconds / setting.batch_size / 3 + SCORING), "assumption"


def _of_one_device(measurements: Sequence[Measured]) -> list[Measured]:
    """Measurements on one device with one number of parallel runs.

    It is the device with the most measurements of the best source; if several have as many, the fastest.
    """
    groups: dict[tuple[str, int], list[Measured]] = {}
    for measurement in measurements:
        groups.setdefault((measurement.device, measurement.share), []).append(measurement)

    def evidence(group: list[Measured]) -> tuple[object, ...]:
        counts = (sum(item.source == source for item in group) for source in _SOURCES)
        return *counts, -min(item.seconds for item in group)

    return max(groups.values(), key=evidence, default=[])


def _summary(same: Sequence[Measured]) -> Estimate:
    times = [item.seconds for item in same]
    source, whole_runs = same[0].source, same[0].source == "finished runs"
    sizes = [item.bytes for item in same if item.bytes is not None]
    return Estimate(
        statistics.fmean(times),
        min(times),
        max(times) * (1 if whole_runs else _STEPS_ONLY),
        f"{len(same)} finished {'autoencoders' if same[0].setting.model == AUTOENCODER else 'runs'}"
        if whole_runs
        else source,
        same[0].device,
        same[0].share,
        round(statistics.fmean(sizes)) if sizes else None,
        statistics.median(item.start for item in same),
        _BASES[source],
    )


def _from_runs(study: Path) -> Iterator[Measured]:
    """Measurements of finished runs and masked autoencoders."""
    folder = StudyFolder(study, None)
    runs: list[Run | Autoencoder] = [*folder.runs_with("run.json"), *folder.autoencoders]
    for run in runs:
        if measurement := _from_run(run, folder.run_folder(run)):
            yield measurement


def _from_run(run: Run | Autoencoder, folder: Path) -> Measured | None:
    """The measurement of a run; None if it is not finished, diverged, is of another version, or is damaged."""
    description = _read(folder / "run.json")
    try:
        size, training = description["data"]["image_size"], description["training"]
        if isinstance(run, Autoencoder):
            setting = Setting.of_autoencoder(description, size, training)
        else:
            setting = Setting.of(description["architecture"], size, training)
        seconds, device = description["seconds"] / description["iterations"], description["hardware"]["device_name"]
        share = operator.index(description.get("share", 1))
    except (KeyError, TypeError, ArithmeticError):
        return None
    if description.get("diverged"):
        return None  # training ended early, and evaluation takes no time
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    task = "pretrain" if isinstance(run, Autoencoder) else "train"
    whole = seconds_of_job(folder / f"{task}.benchmark.jsonl") or 0.0  # less than the training if that was resumed
    return Measured(
        *(setting, seconds, device, "finished runs", share, size),
        evaluation=seconds_of_job(folder / "evaluate.benchmark.jsonl"),
        start=max(0.0, whole - description["seconds"]),
        dataset=run.dataset,
        kind=_kind(description["hardware"]),
        threads=_threads(description["hardware"]),
    )


def _kind(hardware: Mapping[str, Any]) -> Kind | None:
    name = hardware.get("device")
    return None if name is None else "cpu" if name == "cpu" else "gpu"


def _threads(hardware: Mapping[str, Any]) -> int | None:
    threads = hardware.get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None


def seconds_of_job(file: Path) -> float | None:
    """Wall-clock seconds of the last execution of a job, as measured by Snakemake; None if not measured."""
    try:
        seconds = float(json.loads(file.read_text(encoding="utf-8").splitlines()[-1])["s"])
    except (OSError, IndexError, ValueError, KeyError, TypeError):
        return None
    return seconds if 0 < seconds < math.inf else None


def _from_doctor(study: Path) -> Iterator[Measured]:
    report = _read(study / DOCTOR)
    try:
        setting, seconds = Setting(**report["setting"]), report["seconds"]["together"]
        yield Measured(setting, seconds, report["device_name"], "doctor", start=START, kind=_kind(report))
    except (KeyError, TypeError):
        return


def _from_benchmarks(folder: Path, accelerated: bool, threads: int | None) -> Iterator[Measured]:
    """Training steps with the default settings, from the benchmark of training.

    A result without a precision was measured with ``auto``: bf16 on GPUs; elsewhere the precision of the file, or fp32.
    """
    for file in visible(folder.glob("training_*.json")):
        benchmark = _read(file)
        try:
            device, settings = benchmark["machine"], benchmark["settings"]
            if (device["device"] != "cpu") != accelerated:
                continue
            cores = device.get("threads", threads) / threads if threads and not accelerated else 1.0
            default = settings.get("precision", "bf16" if device["device"] == "cuda" else "fp32")
            for name, variants in benchmark["results"].items():
                model, batch = name.split(", ")
                encoder = settings.get("encoder", "resnet50")
                for variant, result in variants.items():
                    if match := _DEFAULT_VARIANT.fullmatch(variant):
                        seconds = cores * int(batch) / result["images_per_second"]
                        for precision in [match[1]] if match[1] else [default, "auto"]:
                            setting = Setting(model, encoder, "{}", settings["size"], int(batch), precision)
                            yield Measured(setting, seconds, device["device_name"], "benchmark", start=START)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue


def _read(file: Path) -> Any:
    try:
        return read_json(file, _MAX_BYTES)
    except (InputError, OSError):
        return {}
