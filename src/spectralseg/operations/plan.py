"""Cost estimate of a study: runs, masked autoencoders, device-hours, disk, money."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spectralseg.config import Config
from spectralseg.errors import InputError
from spectralseg.files import visible
from spectralseg.operations import stages
from spectralseg.operations.parts import Part, Parts
from spectralseg.operations.stages import TimeLeft
from spectralseg.operations.status_text import amounts, table


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
        time: remaining time of all stages; None if only space is estimated.
    """

    study: str
    parts: tuple[Part, ...]
    pretraining: tuple[Part, ...]
    run_bytes: int
    pretraining_bytes: int
    prepared_bytes: int
    unprepared: tuple[str, ...]
    price: float | None
    time: TimeLeft | None = None

    @property
    def unknown(self) -> list[str]:
        """Masked autoencoders whose speed is unknown, which the hours leave out."""
        return [f"{part.dataset}/{part.name}" for part in self.pretraining if not part.measured]

    def hours(self, which: str = "seconds") -> float | None:
        """Device-hours of all parts but those of :attr:`unknown`; None if the speed of runs is unknown."""
        if not all(part.measured for part in self.parts):
            return None
        return sum(part.hours(which) for part in self.pretraining + self.parts if part.measured)


def plan(config: Config, results: Path, parts: Parts, *, price: float | None, time: TimeLeft | None = None) -> Plan:
    """Estimate the cost of a study.

    Args:
        config: the study.
        results: its results folder; it need not exist.
        parts: its runs and masked autoencoders, from :func:`spectralseg.operations.parts.study_parts`.
        price: price per device-hour, in any currency.
        time: its remaining time.

    Raises:
        InputError: the number of iterations depends on epochs, and a dataset is not prepared.
    """
    for part in parts.runs:
        if part.iterations is None:
            folder = results / "prepared" / part.dataset
            raise InputError(
                f"{folder}: does not exist, but the number of iterations depends on epochs; run 'snakemake data' first"
            )
    sizes = _measured_bytes(parts.runs)
    unmeasured = {part.name for part in parts.runs if not part.external} - sizes.keys()
    sizes |= {name: _weights_bytes(config, name) for name in unmeasured}
    folders = {name: results / "prepared" / name for name in config.datasets}
    return Plan(
        config.name,
        parts.runs,
        parts.pretraining,
        sum(part.runs * sizes.get(part.name, 0) for part in parts.runs),
        sum(
            (part.estimate and part.estimate.bytes) or _autoencoder_bytes(config, part.dataset, part.name)
            for part in parts.pretraining
        ),
        sum(file.stat().st_size for folder in folders.values() for file in visible(folder.glob("*"))),
        tuple(name for name, folder in folders.items() if not (folder / "dataset.json").is_file()),
        price,
        time,
    )


def _measured_bytes(parts: Iterable[Part]) -> dict[str, int]:
    return {part.name: part.estimate.bytes for part in parts if part.estimate and part.estimate.bytes}


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
    time = study_plan.time and stages.as_json(study_plan.time)
    values = {**asdict(study_plan), **parts, "unknown": study_plan.unknown, **totals, "money": money, "time": time}
    return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def _plain(part: Part, key: str) -> dict[str, Any]:
    values = {key if name == "name" else name: value for name, value in asdict(part).items()}
    return {**values, "hours": part.hours() if part.measured else None}


def as_text(study_plan: Plan) -> str:
    """A plan for a terminal: the total time, tables of masked autoencoders and of runs by dataset and architecture,
    cost, and the sources of the estimates.
    """
    headings = ("runs", "trained", "outdated", "iterations", "hours left")
    lines = [
        *([*stages.sentences(study_plan.time), ""] if study_plan.time else []),
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
        if study_plan.price is not None:
            money = (f"{study_plan.price * amount:,.2f}" for amount in (hours, low, high))
            lines.append("money: {} ({} to {})".format(*money))
    lines += [_disk(study_plan), *_sources(study_plan)]
    return "\n".join(lines)


def _cells(part: Part) -> tuple[str, ...]:
    hours = f"{part.hours():.1f}" if part.measured else "?"
    iterations = "" if part.external else f"{part.iterations or 0:,}"
    return f"{part.runs}", f"{part.finished}", f"{part.outdated}", iterations, hours


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
        evaluated = part.estimate is None or part.evaluation is not None
        architectures[part.name] = _speed(part) + ("" if evaluated else "; evaluation not measured and not included")
    return [line for line in (*autoencoders.values(), *architectures.values()) if line]


def _speed(part: Part) -> str:
    """Seconds per iteration, of an external method per run, and their source; empty if unknown."""
    if not (speed := part.estimate):
        return ""
    if part.external:
        return f"{part.name}: {stages.rounded(speed.seconds)} per run, from {speed.source}"
    shared = f" shared by {speed.share} runs" if speed.share > 1 else ""
    return (
        f"{part.name}: {1000 * speed.seconds:.0f} ms per iteration "
        f"({1000 * speed.low:.0f} to {1000 * speed.high:.0f}) from {speed.source}, on {speed.device}{shared}"
    )


def gigabytes(size: int) -> str:
    """A number of bytes in GB, or in MB if below 1 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
