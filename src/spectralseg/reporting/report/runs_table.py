"""Runs of a study: state, cost and provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from spectralseg.grid import Run
from spectralseg.loading import read_json_lines
from spectralseg.metrics.records import RUN_KEYS
from spectralseg.reporting.labels import dataset_label, objective_label
from spectralseg.reporting.rendering.html_table import DASH, Cell, Grid, columns, number
from spectralseg.reporting.results import Results, read_run

EVALUATED, TRAINED, MISSING = "evaluated", "trained", "missing"
DIVERGED = "diverged"
_TIMES, _MEMORY = ("training", "evaluation", "processor"), ("resident", "cuda")
_LEARNED = ("iterations", "best_iteration", "validation_dice", "parameters")
_NUMBERS = (*_TIMES, *_MEMORY, *_LEARNED)


def read_runs(results: Results) -> pd.DataFrame:
    """One row per run of the study, in the order of the grid.

    Columns are the identity of the run, ``state``, the content of ``run.json`` (``description``, a dictionary) and, NaN
    if unknown, ``training`` and ``evaluation`` in seconds of wall time, ``processor`` in seconds of CPU time,
    ``resident`` and ``cuda`` (peak memory in MiB). Without a configuration the grid consists of the existing runs.

    Raises:
        InputError: the description of a run is damaged.
    """
    columns = [*RUN_KEYS, "state", "description", *_NUMBERS]
    rows = [_row(results, run) for run in results.study.runs]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(_NUMBERS, float))


def _row(results: Results, run: Run) -> dict[str, Any]:
    folder = results.study.run_folder(run)
    if not (folder / "run.json").is_file():
        return {**run.keys, "state": MISSING, "description": {}}
    description = read_run(folder)
    train, evaluate = (_last_measurement(folder / f"{name}.benchmark.jsonl") for name in ("train", "evaluate"))
    state = EVALUATED if (folder / "records.parquet").is_file() else TRAINED
    if description.get("diverged") or run in results.diverged:
        state = DIVERGED
    cpu_times = [job.get("cpu_time") for job in (train, evaluate)]
    return {
        **run.keys,
        "state": state,
        "description": description,
        "training": description.get("seconds"),
        "evaluation": evaluate.get("s"),
        "processor": sum(cpu_times) if all(cpu_times) else None,
        **{kind: description.get("peak_memory", {}).get(f"{kind}_mib") for kind in _MEMORY},
        **{name: description.get(name) for name in _LEARNED},
    }


def _last_measurement(file: Path) -> dict[str, Any]:
    """What the workflow measured in the last execution of a job; empty without a measurement."""
    lines = read_json_lines(file, "measurements of a job", "delete the file") if file.exists() else []
    return {name: value for name, value in lines[-1].items() if isinstance(value, int | float)} if lines else {}


def runs_grid(runs: pd.DataFrame) -> Grid:
    """One row per run: result of training, cost, hardware and state."""
    return Grid(
        name="runs-table",
        caption="All runs",
        columns=columns(
            ("Dataset", "Architecture", "Objective"),
            (
                *("Seed", "Steps", "Best step", "Validation Dice, %", "Parameters, million"),
                *("Training, min", "Evaluation, min", "CPU time, min", "Peak memory, MiB", "GPU memory, MiB"),
            ),
            ("Device", "Commit", "State"),
        ),
        rows=[_run_cells(row) for row in runs.to_dict("records")],
        choices={"Dataset": "", "Architecture": "", "Objective": "", "State": ""},
    )


def _run_cells(row: Mapping[Any, Any]) -> list[Cell]:
    description = row["description"]
    return [
        *_method(row),
        *(number(row[name], 0) for name in ("seed", "iterations", "best_iteration")),
        number(100 * row["validation_dice"]),
        number(row["parameters"] / 1e6),
        *(number(row[name] / 60, 1) for name in _TIMES),
        *(number(row[name], 0) for name in _MEMORY),
        Cell(description.get("hardware", {}).get("device_name", DASH)),
        Cell(_revision(description)[:12]),
        Cell(row["state"], kind=f"state {row['state'].replace(' ', '-')}"),
    ]


def _method(row: Any) -> list[Cell]:
    texts = dataset_label(row["dataset"]), row["architecture"], objective_label(row["objective"], row["lambda"])
    return list(map(Cell, texts))


def cost_grid(runs: pd.DataFrame) -> Grid:
    """Cost of the runs of each dataset, architecture and objective, and of all together. Sums leave out runs without a
    measurement, which a column counts.
    """
    trained = runs[runs["state"] != MISSING]
    methods = trained.groupby(list(RUN_KEYS[:-1]), sort=False)
    return Grid(
        name="cost-table",
        caption="Sum of time and largest memory",
        columns=columns(
            ("Dataset", "Architecture", "Objective"),
            (
                *("Runs", "Not measured", "Training, h", "Evaluation, h", "CPU time, h"),
                *("Peak memory, MiB", "GPU memory, MiB"),
            ),
        ),
        rows=[[*_method(part.iloc[0]), *_sums(part)] for _, part in methods],
        feet=[[Cell("All runs"), Cell(""), Cell(""), *_sums(trained)]],
    )


def _sums(part: pd.DataFrame) -> list[Cell]:
    unknown = int(part[["training", "evaluation"]].isna().any(axis=1).sum())
    return [
        number(len(part), 0),
        number(unknown, 0),
        *(number(part[name].sum(min_count=1) / 3600) for name in _TIMES),
        *(number(part[name].max(), 0) for name in _MEMORY),
    ]


def origins(results: Results, runs: pd.DataFrame) -> list[tuple[str, list[tuple[str, int]]]]:
    """Provenance of the runs: code, hardware, data, weights and versions, each with its values and their numbers of
    runs. Several values mean that the runs are not comparable in that respect.
    """
    descriptions = [description for description in runs["description"] if description]
    versions = {name: None for run in descriptions for name in run.get("versions", {})}
    values: dict[str, list[str]] = {
        "Commit": [_revision(run) for run in descriptions],
        "Device": [_device(run.get("hardware", {})) for run in descriptions],
        "Data": [_data(results, run.get("data", {})) for run in descriptions],
        "Encoder weights, SHA-256": [str(run.get("encoder_sha256") or "no file") for run in descriptions],
        **{name: [str(run.get("versions", {}).get(name, DASH)) for run in descriptions] for name in versions},
    }
    return [(kind, Counter(texts).most_common()) for kind, texts in values.items()]


def _revision(description: Mapping[str, Any]) -> str:
    git = description.get("git", {})
    return str(git.get("commit", "not recorded")) + (" with uncommitted changes" if git.get("dirty") else "")


def _device(hardware: Mapping[str, Any]) -> str:
    texts = [str(hardware.get(key)) for key in ("device_name", "machine")]
    texts += [f"{key}: {hardware.get(key)}" for key in ("cores", "threads")]
    return ", ".join(texts) if hardware else "not recorded"


def _data(results: Results, data: Mapping[str, Any]) -> str:
    """Whether a run was trained on the files of the present prepared dataset."""
    name = str(data.get("name", ""))
    if name not in results.prepared_names:
        return "trained on a dataset that no longer exists"
    same = results.prepared(name).info["files"] == data.get("files")
    return "trained on the prepared files below" if same else "trained on other files than those prepared now"
