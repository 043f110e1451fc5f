"""What a study will take: runs, hours of a device, disk, money."""

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
        architecture: likewise.
        runs: how many.
        finished: how many of them are trained already.
        evaluated: how many of these are evaluated, too.
        outdated: how many were trained with other settings or data, or have damaged files, and are trained again.
        iterations: optimizer steps of a run.
        estimate: what is known of the speed; None where nothing is.
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
        """Hours of a device for the runs that are still to be trained and evaluated; ``which`` may be low or high."""
        if self.estimate is None:
            return 0.0
        training = (self.runs - self.finished) * self.iterations * float(getattr(self.estimate, which))
        evaluation = (self.runs - self.evaluated) * (self.estimate.evaluation or 0.0)
        return (training + evaluation) / self.estimate.share / 3600


@dataclass(frozen=True)
class Plan:
    """What a study will take.

    Attributes:
        study: its name.
        parts: by dataset and architecture.
        run_bytes: what the runs will leave on disk: as measured, or else their weights.
        prepared_bytes: of the datasets that are prepared.
        unprepared: datasets that are not, and not in it.
        price: of an hour of a device; None if it was not given.
        devices: how many work at once.
    """

    study: str
    parts: tuple[Part, ...]
    run_bytes: int
    prepared_bytes: int
    unprepared: tuple[str, ...]
    price: float | None
    devices: int

    def hours(self, which: str = "seconds") -> float | None:
        """Hours of a device in all; None where the speed of a part is not known."""
        if any(part.estimate is None for part in self.parts):
            return None
        return sum(part.hours(which) for part in self.parts)


def plan(config: Config, results: Path, known: Sequence[Measured], *, price: float | None, devices: int) -> Plan:
    """Plan a study by what was measured.

    Args:
        config: the study.
        results: its folder, whose finished runs are not trained again; it need not exist.
        known: what was measured.
        price: of an hour of a device, in any currency.
        devices: how many work at once.

    Raises:
        InputError: iterations follow from epochs, and a dataset is not prepared.
    """
    total: Counter[tuple[str, str]] = Counter()
    finished: Counter[tuple[str, str]] = Counter()
    evaluated: Counter[tuple[str, str]] = Counter()
    outdated: Counter[tuple[str, str]] = Counter()
    for one in study_status(config, results):
        cell, lost = (one.run.dataset, one.run.architecture), one.state in ("outdated", "unreadable")
        total[cell] += 1
        finished[cell] += one.trained and not lost
        evaluated[cell] += one.state in FINAL
        outdated[cell] += lost
    parts = tuple(
        Part(
            *cell,
            count,
            finished[cell],
            evaluated[cell],
            outdated[cell],
            _iterations(config, results, cell[0]),
            estimate(settings_of(config, cell[0])[cell[1]], known),
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
        raise InputError(f"{folder}: iterations follow from epochs, and the dataset is not there; snakemake data first")
    return iterations(training, len(open_prepared(folder).rows("train")))


def _weights_bytes(config: Config, architecture: str) -> int:
    """Of the two sets of weights that a run keeps in single precision: the best, and the last."""
    import torch

    from spectralseg.training.loop import model_of

    choice = config.architectures[architecture].model_copy(update={"encoder_weights": None})
    with torch.device("meta"):  # shapes only
        return 8 * sum(parameter.numel() for parameter in model_of(choice, 3, 1).parameters())


def as_json(found: Plan) -> dict[str, Any]:
    """A plan as plain values."""
    parts = [{**asdict(part), "hours": part.hours()} for part in found.parts]
    hours = {which: found.hours(which) for which in ("seconds", "low", "high")}
    totals = {"hours": hours["seconds"], "hours_low": hours["low"], "hours_high": hours["high"]}
    money = None if found.price is None or totals["hours"] is None else totals["hours"] * found.price
    return json.loads(json.dumps({**asdict(found), "parts": parts, **totals, "money": money}))  # type: ignore[no-any-return]


def as_text(found: Plan) -> str:
    """A plan for a terminal: a table by dataset and architecture, totals, and where the figures are from."""
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
        for part in found.parts
    ]
    headings = ("dataset", "architecture", "runs", "trained", "outdated", "iterations", "hours left")
    lines = [f"{found.study}: {sum(part.runs for part in found.parts)} runs", "", table(headings, rows), ""]
    hours, low, high = (found.hours(which) for which in ("seconds", "low", "high"))
    if hours is None or low is None or high is None:
        lines.append("time: not known; spectralseg doctor measures it, and finished runs tell it best")
    else:
        lines.append(f"time: {hours:.1f} hours of a device ({low:.1f} to {high:.1f})")
        if found.devices > 1:
            lines.append(f"      {duration(3600 * hours / found.devices)} on {found.devices} devices")
        if found.price is not None:
            money = (f"{found.price * amount:,.2f}" for amount in (hours, low, high))
            lines.append("money: {} ({} to {})".format(*money))
    lines += [_disk(found), *_sources(found)]
    return "\n".join(lines)


def _disk(found: Plan) -> str:
    prepared = f"{gigabytes(found.prepared_bytes)} of prepared datasets"
    if found.unprepared:
        prepared += f", of which {len(found.unprepared)} are yet to be prepared and not in it"
    return f"disk: {gigabytes(found.run_bytes)} for the runs, {prepared}"


def _sources(found: Plan) -> list[str]:
    """Where the figures come from, once for each architecture."""
    told = {}
    for part in found.parts:
        if one := part.estimate:
            evaluation = "" if one.evaluation is not None else "; evaluation not measured and not in it"
            shared = f" that {one.share} runs share" if one.share > 1 else ""
            told[part.architecture] = (
                f"{part.architecture}: {1000 * one.seconds:.0f} ms an iteration "
                f"({1000 * one.low:.0f} to {1000 * one.high:.0f}) by {one.source}, on {one.device}{shared}{evaluation}"
            )
    return list(told.values())


def gigabytes(size: int) -> str:
    """A number of bytes as GB, or MB below one."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
