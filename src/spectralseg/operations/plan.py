"""Cost estimate of a study: runs, masked autoencoders, device-hours, disk, money."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spectralseg.config import Config
from spectralseg.errors import InputError
from spectralseg.files import visible
from spectralseg.grid import Autoencoder, Run
from spectralseg.operations.status import FINAL, RunStatus, study_status
from spectralseg.operations.status_text import amounts, duration, table
from spectralseg.operations.throughput import Estimate, Measured, estimate, setting_of_autoencoder, settings_of


@dataclass(frozen=True)
class Part:
    """Runs of one dataset and architecture, or a masked autoencoder of one dataset.

    Attributes:
        dataset: name in the configuration.
        name: architecture or masked autoencoder, in the configuration.
        runs: number of runs; 1 for an autoencoder.
        finished: number of trained runs.
        evaluated: number of evaluated runs; trained autoencoders.
        outdated: number of runs that are retrained, because settings or data have changed or files are damaged.
        iterations: optimizer steps of a run; 0 for an untrained autoencoder.
        estimate: estimated speed; None without any measurement.
    """

    dataset: str
    name: str
    runs: int
    finished: int
    evaluated: int
    outdated: int
    iterations: int
    estimate: Estimate | None

    @property
    def measured(self) -> bool:
        """Whether the hours are known; an untrained autoencoder needs none."""
        return self.estimate is not None or not self.iterations

    def hours(self, which: str = "seconds") -> float:
        """Device-hours to train and evaluate the remaining runs; ``which`` is ``seconds``, ``low`` or ``high``."""
        if self.estimate is None:
            return 0.0
        training = (self.runs - self.finished) * self.iterations * float(getattr(self.estimate, which))
        evaluation = (self.runs - self.evaluated) * (self.estimate.evaluation or 0.0)
        return (training + evaluation) / self.estimate.share / 3600


@dataclass(frozen=True)
class Plan:
    """Cost estimate of a study.

    Attributes:
        study: name of the study.
        parts: runs by dataset and architecture.
        pretraining: masked autoencoders.
        run_bytes: disk space of the runs: as measured, otherwise the size of their weights.
        pretraining_bytes: disk space of the masked autoencoders, likewise.
        prepared_bytes: disk space of the prepared datasets.
        unprepared: datasets that are not prepared, and not in ``prepared_bytes``.
        price: price per device-hour; None if not given.
        devices: number of devices used in parallel.
    """

    study: str
    parts: tuple[Part, ...]
    pretraining: tuple[Part, ...]
    run_bytes: int
    pretraining_bytes: int
    prepared_bytes: int
    unprepared: tuple[str, ...]
    price: float | None
    devices: int

    @property
    def unknown(self) -> list[str]:
        """Masked autoencoders whose speed is unknown, which the hours leave out."""
        return [f"{part.dataset}/{part.name}" for part in self.pretraining if not part.measured]

    def hours(self, which: str = "seconds") -> float | None:
        """Device-hours of all parts but those of :attr:`unknown`; None if the speed of runs is unknown."""
        if not all(part.measured for part in self.parts):
            return None
        return sum(part.hours(which) for part in self.pretraining + self.parts if part.measured)


def plan(config: Config, results: Path, measurements: Sequence[Measured], *, price: float | None, devices: int) -> Plan:
    """Estimate the cost of a study from measurements.

    Args:
        config: the study.
        results: its results folder, whose finished runs are not retrained; it need not exist.
        measurements: measured speeds.
        price: price per device-hour, in any currency.
        devices: number of devices used in parallel.

    Raises:
        InputError: the number of iterations depends on epochs, and a dataset is not prepared.
    """
    groups: dict[tuple[str, str], list[RunStatus]] = {}
    autoencoders: dict[Autoencoder, list[RunStatus]] = {}
    for status in study_status(config, results):
        if isinstance(status.run, Run):
            groups.setdefault((status.run.dataset, status.run.architecture), []).append(status)
        else:
            autoencoders[status.run] = [status]
    parts = []
    for (dataset, architecture), members in groups.items():
        speed = estimate(settings_of(config, dataset)[architecture], measurements)
        parts.append(_part(dataset, architecture, members, _iterations(config, results, dataset), speed))
    pretraining = []
    for item, members in autoencoders.items():
        iterations = config.pretraining[item.name].iterations
        speed = estimate(setting_of_autoencoder(config, item), measurements) if iterations else None
        pretraining.append(_part(item.dataset, item.name, members, iterations, speed))
    sizes = _measured_bytes(parts)
    sizes |= {name: _weights_bytes(config, name) for name in {part.name for part in parts} - sizes.keys()}
    folders = {name: results / "prepared" / name for name in config.datasets}
    return Plan(
        config.name,
        tuple(parts),
        tuple(pretraining),
        sum(part.runs * sizes[part.name] for part in parts),
        sum(
            (part.estimate and part.estimate.bytes) or _autoencoder_bytes(config, part.dataset, part.name)
            for part in pretraining
        ),
        sum(file.stat().st_size for folder in folders.values() for file in visible(folder.glob("*"))),
        tuple(name for name, folder in folders.items() if not (folder / "dataset.json").is_file()),
        price,
        devices,
    )


def _part(dataset: str, name: str, members: Sequence[RunStatus], iterations: int, speed: Estimate | None) -> Part:
    retrained = [status.state in ("outdated", "unreadable") for status in members]
    finished = sum(status.trained and not again for status, again in zip(members, retrained, strict=True))
    evaluated = sum(status.state in FINAL for status in members)
    return Part(dataset, name, len(members), finished, evaluated, sum(retrained), iterations, speed)


def _measured_bytes(parts: Iterable[Part]) -> dict[str, int]:
    return {part.name: part.estimate.bytes for part in parts if part.estimate and part.estimate.bytes}


def _iterations(config: Config, results: Path, dataset: str) -> int:
    training = config.training_of(dataset)
    if training.epochs is None:
        return training.iterations
    from spectralseg.data import open_prepared
    from spectralseg.training.schedule import iterations

    folder = results / "prepared" / dataset
    if not folder.is_dir():
        raise InputError(
            f"{folder}: does not exist, but the number of iterations depends on epochs; run 'snakemake data' first"
        )
    return iterations(training, open_prepared(folder))


def _weights_bytes(config: Config, architecture: str) -> int:
    """Size of the weights that a run keeps, best and last, in single precision."""
    import torch

    from spectralseg.building import model_of, without_files

    settings = without_files(config, architecture)
    try:
        with torch.device("meta"):  # allocates no memory
            model = model_of(settings, 3, 1, image_size=config.image_size)
    except InputError:  # constructors that read values, such as that of SwinUNETR, fail there
        model = model_of(settings, 3, 1, image_size=config.image_size)
    return 8 * sum(parameter.numel() for parameter in model.parameters())


def _autoencoder_bytes(config: Config, dataset: str, name: str) -> int:
    """Size of the weights of a masked autoencoder of images with three channels, and of its residual map."""
    import torch

    from spectralseg.models._masked_autoencoder import MaskedAutoencoder, ResidualMap

    with torch.device("meta"):  # allocates no memory
        residual_map = ResidualMap(MaskedAutoencoder(3, config.pretraining[name].sizes), config.size_of(dataset))
    return sum(tensor.numel() * tensor.element_size() for tensor in residual_map.state_dict().values())


def as_json(study_plan: Plan) -> dict[str, Any]:
    """A plan as plain values."""
    parts = {
        "parts": [_plain(part, "architecture") for part in study_plan.parts],
        "pretraining": [_plain(part, "pretraining") for part in study_plan.pretraining],
    }
    hours = {which: study_plan.hours(which) for which in ("seconds", "low", "high")}
    totals = {"hours": hours["seconds"], "hours_low": hours["low"], "hours_high": hours["high"]}
    money = None if study_plan.price is None or totals["hours"] is None else totals["hours"] * study_plan.price
    values = {**asdict(study_plan), **parts, "unknown": study_plan.unknown, **totals, "money": money}
    return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def _plain(part: Part, key: str) -> dict[str, Any]:
    values = {key if name == "name" else name: value for name, value in asdict(part).items()}
    return {**values, "hours": part.hours() if part.measured else None}


def as_text(study_plan: Plan) -> str:
    """A plan for a terminal: tables of masked autoencoders and of runs by dataset and architecture, totals, and the
    sources of the estimates.
    """
    headings = ("runs", "trained", "outdated", "iterations", "hours left")
    lines = [
        f"{study_plan.study}: {amounts(sum(part.runs for part in study_plan.parts), len(study_plan.pretraining))}",
        "",
    ]
    if study_plan.pretraining:
        rows = [(part.dataset, part.name, *_cells(part)[1:]) for part in study_plan.pretraining]
        lines += [table(("dataset", "autoencoder", *headings[1:]), rows), ""]
    rows = [(part.dataset, part.name, *_cells(part)) for part in study_plan.parts]
    lines += [table(("dataset", "architecture", *headings), rows), ""]
    hours, low, high = (study_plan.hours(which) for which in ("seconds", "low", "high"))
    if hours is None or low is None or high is None:
        lines.append("time: unknown; finish a run, or measure the speed with spectralseg doctor")
    else:
        count = len(study_plan.unknown)
        without = f", without {count} autoencoder{'s' * (count > 1)} whose speed is unknown until one is trained"
        lines.append(f"time: {hours:.1f} device-hours ({low:.1f} to {high:.1f}){without if count else ''}")
        if study_plan.devices > 1:
            lines.append(f"      {duration(3600 * hours / study_plan.devices)} on {study_plan.devices} devices")
        if study_plan.price is not None:
            money = (f"{study_plan.price * amount:,.2f}" for amount in (hours, low, high))
            lines.append("money: {} ({} to {})".format(*money))
    lines += [_disk(study_plan), *_sources(study_plan)]
    return "\n".join(lines)


def _cells(part: Part) -> tuple[str, ...]:
    hours = f"{part.hours():.1f}" if part.measured else "?"
    return f"{part.runs}", f"{part.finished}", f"{part.outdated}", f"{part.iterations:,}", hours


def _disk(study_plan: Plan) -> str:
    prepared = f"{gigabytes(study_plan.prepared_bytes)} of prepared datasets"
    if study_plan.unprepared:
        prepared += f", without {len(study_plan.unprepared)} that are not prepared yet"
    autoencoders = f"{gigabytes(study_plan.pretraining_bytes)} for the autoencoders, " if study_plan.pretraining else ""
    return f"disk: {gigabytes(study_plan.run_bytes)} for the runs, {autoencoders}{prepared}"


def _sources(study_plan: Plan) -> list[str]:
    """Sources of the estimates, one line per masked autoencoder and architecture."""
    autoencoders = {part.name: _speed(part) for part in study_plan.pretraining}
    architectures = {}
    for part in study_plan.parts:
        evaluated = part.estimate is None or part.estimate.evaluation is not None
        architectures[part.name] = _speed(part) + ("" if evaluated else "; evaluation not measured and not included")
    return [line for line in (*autoencoders.values(), *architectures.values()) if line]


def _speed(part: Part) -> str:
    """Seconds per iteration and their source; empty if unknown."""
    if not (speed := part.estimate):
        return ""
    shared = f" shared by {speed.share} runs" if speed.share > 1 else ""
    return (
        f"{part.name}: {1000 * speed.seconds:.0f} ms per iteration "
        f"({1000 * speed.low:.0f} to {1000 * speed.high:.0f}) from {speed.source}, on {speed.device}{shared}"
    )


def gigabytes(size: int) -> str:
    """A number of bytes in GB, or in MB if below 1 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
