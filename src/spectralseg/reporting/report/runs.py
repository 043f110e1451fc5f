"""Runs of a study: which are there, what made them and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from spectralseg.grid import Run
from spectralseg.loading import read_json_lines
from spectralseg.reporting.labels import dataset_label, objective_label
from spectralseg.reporting.rendering.html_table import NOTHING, Cell, Grid, number
from spectralseg.reporting.results import Results, read_run

EVALUATED, TRAINED, MISSING = "evaluated", "trained", "missing"
DIVERGED = "diverged"
_KEYS = ["dataset", "architecture", "objective", "lambda", "seed"]
_COST = ["training", "evaluation", "processor", "resident", "cuda"]
_NUMBERS = (*_COST, "iterations", "best_iteration", "validation_dice", "parameters")


def read_runs(results: Results) -> pd.DataFrame:
    """One row per run of the study, in the order of the grid.

    Columns are the identity of the run, ``state``, what ``run.json`` tells (``description``, a dictionary) and, NaN
    where unknown, ``training`` and ``evaluation`` in seconds of wall time, ``processor`` in seconds of CPU time,
    ``resident`` and ``cuda``: peak memory in MiB. Without a configuration the runs that are there are the grid.

    Raises:
        InputError: the description of a run is damaged.
    """
    rows = [_row(results, run) for run in results.study.runs]
    return pd.DataFrame(rows, columns=[*_KEYS, "state", "description", *_NUMBERS]).astype(
        dict.fromkeys(_NUMBERS, float)
    )


def _row(results: Results, run: Run) -> dict[str, Any]:
    folder = results.study.run_folder(run)
    if not (folder / "run.json").is_file():
        return {**run.keys, "state": MISSING, "description": {}}
    told = read_run(folder)
    jobs = {name: _last_line(folder / f"{name}.benchmark.jsonl") for name in ("train", "evaluate")}
    state = EVALUATED if (folder / "records.parquet").is_file() else TRAINED
    if told.get("diverged") or run in results.diverged:
        state = DIVERGED
    return {
        **run.keys,
        "state": state,
        "description": told,
        "training": told.get("seconds"),
        "evaluation": jobs["evaluate"].get("s"),
        "processor": sum(times) if all(times := [job.get("cpu_time") for job in jobs.values()]) else None,
        "resident": told.get("peak_memory", {}).get("resident_mib"),
        "cuda": told.get("peak_memory", {}).get("cuda_mib"),
        **{name: told.get(name) for name in ("iterations", "best_iteration", "validation_dice", "parameters")},
    }


def _last_line(file: Path) -> dict[str, Any]:
    """What the workflow measured when a job ran last; nothing where it measured nothing."""
    measured = read_json_lines(file, "measurements of a job", "remove the file") if file.exists() else []
    return {name: value for name, value in measured[-1].items() if isinstance(value, int | float)} if measured else {}


def runs_grid(runs: pd.DataFrame) -> Grid:
    """One row per run: its state, what it learned, what it took and on what."""
    texts = ("Dataset", "Architecture", "Objective")
    numbers = (
        *("Seed", "Steps", "Best step", "Validation Dice, %", "Parameters, million"),
        *("Training, min", "Evaluation, min", "CPU time, min", "Peak memory, MiB", "GPU memory, MiB"),
    )
    columns = (*((name, False) for name in texts), *((name, True) for name in numbers))
    return Grid(
        name="runs-table",
        caption="All runs",
        columns=(*columns, ("Device", False), ("Commit", False), ("State", False)),
        rows=[_run_cells(row) for row in runs.to_dict("records")],
        choices={"Dataset": "", "Architecture": "", "Objective": "", "State": ""},
    )


def _run_cells(row: Mapping[Any, Any]) -> list[Cell]:
    told = row["description"]
    return [
        Cell(dataset_label(row["dataset"])),
        Cell(row["architecture"]),
        Cell(objective_label(row["objective"], row["lambda"])),
        number(row["seed"], 0),
        number(row["iterations"], 0),
        number(row["best_iteration"], 0),
        number(100 * row["validation_dice"]),
        number(row["parameters"] / 1e6),
        *(number(row[name] / 60, 1) for name in ("training", "evaluation", "processor")),
        number(row["resident"], 0),
        number(row["cuda"], 0),
        Cell(told.get("hardware", {}).get("device_name", NOTHING)),
        Cell(_revision(told)[:12]),
        Cell(row["state"], kind=f"state {row['state'].replace(' ', '-')}"),
    ]


def cost_grid(runs: pd.DataFrame) -> Grid:
    """What the runs took, by dataset, architecture and objective, and all together. Runs without a measurement do not
    add to a sum; a column says how many there are.
    """
    counted = runs[runs["state"] != MISSING]
    rows = [
        [Cell(dataset_label(dataset)), Cell(architecture), Cell(objective_label(objective, weight)), *_sums(part)]
        for key, part in counted.groupby(_KEYS[:-1], sort=False)
        for dataset, architecture, objective, weight in [map(str, key)]
    ]
    numbers = (
        *("Runs", "Not measured", "Training, h", "Evaluation, h", "CPU time, h"),
        *("Peak memory, MiB", "GPU memory, MiB"),
    )
    return Grid(
        name="cost-table",
        caption="Sum of time and largest memory",
        columns=(
            *((name, False) for name in ("Dataset", "Architecture", "Objective")),
            *((name, True) for name in numbers),
        ),
        rows=rows,
        feet=[[Cell("All runs"), Cell(""), Cell(""), *_sums(counted)]],
    )


def _sums(part: pd.DataFrame) -> list[Cell]:
    unknown = int(part[["training", "evaluation"]].isna().any(axis=1).sum())
    hours = (part[name].sum(min_count=1) / 3600 for name in ("training", "evaluation", "processor"))
    return [
        number(len(part), 0),
        number(unknown, 0),
        *(number(value) for value in hours),
        *(number(part[name].max(), 0) for name in ("resident", "cuda")),
    ]


def origins(results: Results, runs: pd.DataFrame) -> list[tuple[str, list[tuple[str, int]]]]:
    """What made the runs: each kind of origin with its values and how many runs have each.

    More than one value of anything means that the runs were not made alike.
    """
    told = [description for description in runs["description"] if description]
    kinds: dict[str, Iterable[str]] = {
        "Commit": (_revision(one) for one in told),
        "Device": (_device(one.get("hardware", {})) for one in told),
        "Data": (_data(results, one.get("data", {})) for one in told),
        "Encoder weights, SHA-256": (str(one.get("encoder_sha256") or "no file") for one in told),
    }
    versions = {name: None for one in told for name in one.get("versions", {})}
    kinds |= {name: [str(one.get("versions", {}).get(name, NOTHING)) for one in told] for name in versions}
    return [(kind, Counter(values).most_common()) for kind, values in kinds.items()]


def _revision(told: Mapping[str, Any]) -> str:
    git = told.get("git", {})
    return str(git.get("commit", "not recorded")) + (" with uncommitted changes" if git.get("dirty") else "")


def _device(hardware: Mapping[str, Any]) -> str:
    parts = (
        hardware.get("device_name"),
        hardware.get("machine"),
        f"cores: {hardware.get('cores')}",
        f"threads: {hardware.get('threads')}",
    )
    return ", ".join(str(part) for part in parts) if hardware else "not recorded"


def _data(results: Results, data: Mapping[str, Any]) -> str:
    """Whether the files that a run was trained on are those that are prepared now."""
    name = str(data.get("name", ""))
    if name not in results.prepared_names:
        return "trained on a dataset that is not here any more"
    same = results.prepared(name).info["files"] == data.get("files")
    return "trained on the prepared files below" if same else "trained on other files than those prepared now"
