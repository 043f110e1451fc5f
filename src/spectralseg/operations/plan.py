"""Cost estimate of a study: runs, device-hours, disk, money."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spectralseg.config import Config
from spectralseg.errors import InputError
from spectralseg.files import visible
from spectralseg.operations.status import FINAL, duration, study_status, table
from spectralseg.operations.throughput import Estimate, Measured, estimate, settings_of


@dataclass(frozen=True)
class Part:
    """Runs of one dataset and architecture.

    Attributes:
        dataset: name in the configuration.
        architecture: name in the configuration.
        runs: number of runs.
        finished: number of trained runs.
        evaluated: number of evaluated runs.
        outdated: number of runs that are retrained, because settings or data have changed or files are damaged.
        iterations: optimizer steps of a run.
        estimate: estimated speed; None without any measurement.
    """

    dataset: str
    architecture: str
    runs: int
    finished: int
    evaluated: int
    outdated: int
    iterations: int
    estimate: Estimate | None

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
        run_bytes: disk space of the runs: as measured, otherwise the size of their weights.
        prepared_bytes: disk space of the prepared datasets.
        unprepared: datasets that are not prepared, and not in ``prepared_bytes``.
        price: price per device-hour; None if not given.
        devices: number of devices used in parallel.
    """

    study: str
    parts: tuple[Part, ...]
    run_bytes: int
    prepared_bytes: int
    unprepared: tuple[str, ...]
    price: float | None
    devices: int

    def hours(self, which: str = "seconds") -> float | None:
        """Device-hours of all parts; None if the speed of a part is unknown."""
        if any(part.estimate is None for part in self.parts):
            return None
        return sum(part.hours(which) for part in self.parts)


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
    total: Counter[tuple[str, str]] = Counter()
    finished: Counter[tuple[str, str]] = Counter()
    evaluated: Counter[tuple[str, str]] = Counter()
    outdated: Counter[tuple[str, str]] = Counter()
    for status in study_status(config, results):
        cell, retrain = (status.run.dataset, status.run.architecture), status.state in ("outdated", "unreadable")
        total[cell] += 1
        finished[cell] += status.trained and not retrain
        evaluated[cell] += status.state in FINAL
        outdated[cell] += retrain
    parts = tuple(
        Part(
            *cell,
            count,
            finished[cell],
            evaluated[cell],
            outdated[cell],
            _iterations(config, results, cell[0]),
            estimate(settings_of(config, cell[0])[cell[1]], measurements),
        )
        for cell, count in total.items()
    )
    sizes = {part.architecture: part.estimate.bytes for part in parts if part.estimate and part.estimate.bytes}
    sizes |= {name: _weights_bytes(config, name) for name in {part.architecture for part in parts} - sizes.keys()}
    folders = {name: results / "prepared" / name for name in config.datasets}
    return Plan(
        config.name,
        parts,
        sum(part.runs * sizes[part.architecture] for part in parts),
        sum(file.stat().st_size for folder in folders.values() for file in visible(folder.glob("*"))),
        tuple(name for name, folder in folders.items() if not (folder / "dataset.json").is_file()),
        price,
        devices,
    )


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

    from spectralseg.building import model_of

    settings = config.architectures[architecture].model_copy(update={"encoder_weights": None})
    with torch.device("meta"):  # allocates no memory
        return 8 * sum(parameter.numel() for parameter in model_of(settings, 3, 1).parameters())


def as_json(study_plan: Plan) -> dict[str, Any]:
    """A plan as plain values."""
    parts = [{**asdict(part), "hours": part.hours()} for part in study_plan.parts]
    hours = {which: study_plan.hours(which) for which in ("seconds", "low", "high")}
    totals = {"hours": hours["seconds"], "hours_low": hours["low"], "hours_high": hours["high"]}
    money = None if study_plan.price is None or totals["hours"] is None else totals["hours"] * study_plan.price
    return json.loads(json.dumps({**asdict(study_plan), "parts": parts, **totals, "money": money}))  # type: ignore[no-any-return]


def as_text(study_plan: Plan) -> str:
    """A plan for a terminal: a table by dataset and architecture, totals, and the sources of the estimates."""
    rows = [
        (
            part.dataset,
            part.architecture,
            f"{part.runs}",
            f"{part.finished}",
            f"{part.outdated}",
            f"{part.iterations:,}",
            f"{part.hours():.1f}" if part.estimate else "?",
        )
        for part in study_plan.parts
    ]
    headings = ("dataset", "architecture", "runs", "trained", "outdated", "iterations", "hours left")
    lines = [f"{study_plan.study}: {sum(part.runs for part in study_plan.parts)} runs", "", table(headings, rows), ""]
    hours, low, high = (study_plan.hours(which) for which in ("seconds", "low", "high"))
    if hours is None or low is None or high is None:
        lines.append("time: unknown; finish a run, or measure the speed with spectralseg doctor")
    else:
        lines.append(f"time: {hours:.1f} device-hours ({low:.1f} to {high:.1f})")
        if study_plan.devices > 1:
            lines.append(f"      {duration(3600 * hours / study_plan.devices)} on {study_plan.devices} devices")
        if study_plan.price is not None:
            money = (f"{study_plan.price * amount:,.2f}" for amount in (hours, low, high))
            lines.append("money: {} ({} to {})".format(*money))
    lines += [_disk(study_plan), *_sources(study_plan)]
    return "\n".join(lines)


def _disk(study_plan: Plan) -> str:
    prepared = f"{gigabytes(study_plan.prepared_bytes)} of prepared datasets"
    if study_plan.unprepared:
        prepared += f", without {len(study_plan.unprepared)} that are not prepared yet"
    return f"disk: {gigabytes(study_plan.run_bytes)} for the runs, {prepared}"


def _sources(study_plan: Plan) -> list[str]:
    """Sources of the estimates, one line per architecture."""
    lines = {}
    for part in study_plan.parts:
        if speed := part.estimate:
            evaluation = "" if speed.evaluation is not None else "; evaluation not measured and not included"
            shared = f" shared by {speed.share} runs" if speed.share > 1 else ""
            lines[part.architecture] = (
                f"{part.architecture}: {1000 * speed.seconds:.0f} ms per iteration "
                f"({1000 * speed.low:.0f} to {1000 * speed.high:.0f}) from {speed.source}, "
                f"on {speed.device}{shared}{evaluation}"
            )
    return list(lines.values())


def gigabytes(size: int) -> str:
    """A number of bytes in GB, or in MB if below 1 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
