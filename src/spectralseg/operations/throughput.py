"""What is known of the speed of training: from finished runs, from the doctor, from benchmarks."""

from __future__ import annotations

import json
import math
import operator
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectralseg.config import Architecture, Config
from spectralseg.errors import InputError
from spectralseg.files import visible
from spectralseg.parsing import read_json
from spectralseg.study_folder import StudyFolder

DOCTOR = "doctor.json"  # what the doctor measured, in the folder of the study
THREADS = 4  # that the workflow gives to a run at most
_ELSEWHERE = 3.0  # factor of doubt for a setting that was not measured itself
_BARE_STEP = 2.0  # ... for validation, loading and saving, where only steps were measured
_LONGEST = 2**24  # bytes of a file that is read
_SOURCES = ("finished runs", "doctor", "benchmark")  # the best first
_OURS = re.compile(r"ours(?:, (fp32|bf16|fp16))?")  # ways of the benchmark of training that training goes by itself


@dataclass(frozen=True)
class Setting:
    """What the time of an optimizer step depends on."""

    model: str
    encoder: str
    options: str
    image_size: int
    batch_size: int
    precision: str

    @property
    def pixels(self) -> int:
        """In all images of a batch."""
        return self.batch_size * self.image_size**2

    @classmethod
    def of(cls, architecture: dict[str, Any], image_size: int, training: dict[str, Any]) -> Setting:
        """From plain values, as run.json and a dumped configuration hold them."""
        options = json.dumps(architecture.get("options", {}), sort_keys=True)
        names = architecture["model"], architecture["encoder"]
        return cls(*names, options, image_size, training["batch_size"], training["precision"])


@dataclass(frozen=True)
class Measured:
    """Seconds per iteration of a setting.

    Attributes:
        setting: what was trained.
        seconds: per iteration, all else in a run included as far as it was measured.
        device: name of what it was trained on.
        source: ``finished runs``, ``doctor`` or ``benchmark``.
        share: how many runs the device was shared by.
        bytes: that a run leaves on disk; None where that was not measured.
        evaluation: seconds of an evaluation; None likewise.
    """

    setting: Setting
    seconds: float
    device: str
    source: str
    share: int = 1
    bytes: int | None = None
    evaluation: float | None = None


@dataclass(frozen=True)
class Estimate:
    """Seconds per iteration with the least and the most that they may be, and where that is from."""

    seconds: float
    low: float
    high: float
    source: str
    device: str
    share: int = 1
    bytes: int | None = None
    evaluation: float | None = None


def settings_of(config: Config, dataset: str) -> dict[str, Setting]:
    """The setting of every architecture of a study on a dataset, by its name there."""
    training = config.training.model_dump(mode="json")

    def setting(architecture: Architecture) -> Setting:
        return Setting.of(architecture.model_dump(mode="json"), config.size_of(dataset), training)

    return {name: setting(architecture) for name, architecture in config.architectures.items()}


def measured(studies: Iterable[Path], benchmarks: Path | None, *, accelerated: bool = True) -> list[Measured]:
    """All that was measured, the best evidence first: finished runs of studies, the doctor, benchmarks.

    Args:
        studies: results folders.
        benchmarks: folder of committed benchmarks.
        accelerated: whether the study will run on GPUs, so that benchmarks of processors say nothing, or the reverse.
    """
    folders = list(studies)
    found = [one for folder in folders for one in _of_runs(folder)]
    found += [one for folder in folders for one in _of_the_doctor(folder)]
    found += list(_of_benchmarks(benchmarks, accelerated) if benchmarks else ())
    return [one for one in found if 0 < one.seconds < math.inf and (one.evaluation or 0) < math.inf]


def estimate(setting: Setting, known: Sequence[Measured]) -> Estimate | None:
    """What a setting will take by the best evidence that there is; None without any.

    All evidence is of one device, the same for every setting. For a setting that was not measured there stands the
    slowest other one with as many pixels, else of the same model, else any, in proportion to pixels and images, with a
    factor of three of doubt either way.
    """
    known = _of_one_device(known)
    for source in _SOURCES:
        if same := [one for one in known if one.source == source and one.setting == setting]:
            return _summary(same)
    if not known:
        return None
    same_size = [
        one for one in known if (one.setting.pixels, one.setting.precision) == (setting.pixels, setting.precision)
    ]
    same_model = [one for one in known if one.setting.model == setting.model]
    slowest = max(same_size or same_model or known, key=lambda one: one.seconds)
    source = (
        f"{slowest.source} of {slowest.setting.model}, as this one was not measured; spectralseg doctor measures it"
    )
    mean = slowest.seconds * setting.pixels / slowest.setting.pixels
    return Estimate(mean, mean / _ELSEWHERE, mean * _ELSEWHERE, source, slowest.device, slowest.share)


def _of_one_device(known: Sequence[Measured]) -> list[Measured]:
    """What was measured on one device with as many runs at once: the one that the most of the best source is from, of
    several the fastest.
    """
    groups: dict[tuple[str, int], list[Measured]] = {}
    for one in known:
        groups.setdefault((one.device, one.share), []).append(one)

    def evidence(group: list[Measured]) -> tuple[object, ...]:
        return *(sum(one.source == source for one in group) for source in _SOURCES), -min(one.seconds for one in group)

    return max(groups.values(), key=evidence, default=[])


def _summary(same: Sequence[Measured]) -> Estimate:
    times = [one.seconds for one in same]
    source, measured_whole = same[0].source, same[0].source == "finished runs"
    sizes = [one.bytes for one in same if one.bytes is not None]
    evaluations = [one.evaluation for one in same if one.evaluation is not None]
    return Estimate(
        statistics.fmean(times),
        min(times),
        max(times) * (1 if measured_whole else _BARE_STEP),
        f"{len(same)} {source}" if measured_whole else source,
        same[0].device,
        same[0].share,
        round(statistics.fmean(sizes)) if sizes else None,
        statistics.fmean(evaluations) if evaluations else None,
    )


def _of_runs(study: Path) -> Iterator[Measured]:
    folder = StudyFolder(study, None)
    for file in (folder.run_folder(run) / "run.json" for run in folder.runs_with("run.json")):
        run = _read(file)
        try:
            setting = Setting.of(run["architecture"], run["data"]["image_size"], run["training"])
            seconds, device = run["seconds"] / run["iterations"], run["hardware"]["device_name"]
            share = operator.index(run.get("share", 1))
        except (KeyError, TypeError, ArithmeticError):
            continue  # of another version, or damaged
        if run.get("diverged"):
            continue  # ended early, and its evaluation takes no time
        size = sum(path.stat().st_size for path in file.parent.iterdir() if path.is_file())
        yield Measured(setting, seconds, device, "finished runs", share, size, _evaluation(file.parent))


def _evaluation(folder: Path) -> float | None:
    """Seconds of the last evaluation, as Snakemake measured them."""
    try:
        last = (folder / "evaluate.benchmark.jsonl").read_text(encoding="utf-8").splitlines()[-1]
        return float(json.loads(last)["s"])
    except (OSError, IndexError, ValueError, KeyError, TypeError):
        return None


def _of_the_doctor(study: Path) -> Iterator[Measured]:
    found = _read(study / DOCTOR)
    try:
        yield Measured(Setting(**found["setting"]), found["seconds"]["together"], found["device_name"], "doctor")
    except (KeyError, TypeError):
        return


def _of_benchmarks(folder: Path, accelerated: bool) -> Iterator[Measured]:
    """Steps as training does them, from the benchmark of training, which goes by ``auto`` if it does not say: bf16 on
    GPUs; elsewhere as the file says, else fp32.
    """
    for file in visible(folder.glob("training_*.json")):
        found = _read(file)
        try:
            device, settings = found["machine"], found["settings"]
            if (device["device"] != "cpu") != accelerated:
                continue
            usual = settings.get("precision", "bf16" if device["device"] == "cuda" else "fp32")
            for name, ways in found["results"].items():
                model, batch = name.split(", ")
                encoder = settings.get("encoder", "resnet50")
                for way, result in ways.items():
                    if ours := _OURS.fullmatch(way):
                        seconds = int(batch) / result["images_per_second"]
                        for precision in [ours[1]] if ours[1] else [usual, "auto"]:
                            setting = Setting(model, encoder, "{}", settings["size"], int(batch), precision)
                            yield Measured(setting, seconds, device["device_name"], "benchmark")
        except (KeyError, TypeError, ValueError, AttributeError):
            continue


def _read(file: Path) -> Any:
    try:
        return read_json(file, _LONGEST)
    except (InputError, OSError):
        return {}
