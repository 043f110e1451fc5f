"""Accuracy against cost.

Dice against training time and peak memory per dataset and method, with 95 % intervals over seeds and cases; the legend
gives the number of parameters, the footer the machine.

Times depend on the machine, which the footer names; times of different machines are not comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectralseg.grid import Run
from spectralseg.reporting.drawing import layout, series
from spectralseg.reporting.examples import Method
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results

_COLUMNS = 6
_HEIGHT = 0.95  # inches
_LEFT, _GAP = 0.42, 0.3  # inches
_COSTS = {"seconds": "training time", "memory": "peak memory / GiB"}
_READING = (
    "DSC in percent on the own test set, mean over foreground classes, sound protocol, against what a run costs, mean "
    "over seeds. In the legend: parameters in millions. Vertical bars: {interval}. Horizontal bars: smallest and "
    "largest of the seeds. Memory: the largest amount that training held, {memory}. {counts}"
)


def build(results: Results) -> Figure:
    """One column per training dataset, training time above, peak memory below, one point per method."""
    records = series.read(results, ["dsc"], suite={"iid"})
    spent = costs(results.trained())
    if records.empty or spent.empty:
        return layout.nothing("No run was trained and evaluated.", demonstration=results.demonstration)
    shown = series.compared(results, records)
    datasets = series.datasets(results, records)
    left_out, datasets = datasets[_COLUMNS:], datasets[:_COLUMNS]
    memory = "on the CUDA device" if spent["on_device"].all() else "resident memory of the process"
    reading = _READING.format(interval=series.INTERVAL, memory=memory, counts=series.counted(records))
    sheet = layout.sheet(
        [layout.fitting(_COLUMNS, left=_LEFT, gap=_GAP)] * len(datasets),
        [_HEIGHT] * len(_COSTS),
        [reading, shown.rule, _remarks(spent, records, datasets, shown, left_out)],
        demonstration=results.demonstration,
        left=_LEFT,
        gap=_GAP,
        taller={1: 0.16},
        below=0.32,
        legend=shown.handles(_sizes(spent, shown)),
    )
    sheet.column_titles(0, [dataset_label(name) for name in datasets])
    unit, factor = ("h", 3600) if spent["seconds"].median() > 5400 else ("min", 60)
    scaled = spent.assign(seconds=spent["seconds"] / factor)
    for column, name in enumerate(datasets):
        own, paid = records[records["dataset"] == name], scaled[scaled["dataset"] == name]
        for row, key in enumerate(_COSTS):
            panel = sheet.panels[row][column]
            _draw(panel, own, paid, key, shown)
            panel.set_xlim(0, 1.2 * scaled[key].max())
            panel.set_xlabel(f"{_COSTS[key]} / {unit}" if key == "seconds" else _COSTS[key])
            if column == 0:
                panel.set_ylabel("DSC / %")
    return sheet.figure


def costs(trained: Mapping[Run, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per run: its keys, ``seconds``, ``memory`` in GiB, ``on_device``, ``parameters`` and ``device``.

    Memory is that of the CUDA device where every run used one, resident memory otherwise.
    """
    peaks = [info["peak_memory"] for info in trained.values()]
    key = "cuda_mib" if all("cuda_mib" in peak for peak in peaks) else "resident_mib"
    rows = [
        {
            **run.keys,
            "seconds": float(info["seconds"]),
            "memory": info["peak_memory"][key] / 1024,
            "on_device": key == "cuda_mib",
            "parameters": int(info["parameters"]),
            "device": f"{info['hardware']['device_name']}, {info['hardware']['threads']} CPU thread(s)",
        }
        for run, info in trained.items()
    ]
    return pd.DataFrame(rows)


def _remarks(
    spent: pd.DataFrame, records: pd.DataFrame, datasets: list[str], shown: series.Compared, left_out: list[str]
) -> str:
    devices = "; ".join(sorted(spent["device"].unique()))
    spent_on = {(run.dataset, run.architecture, run.objective, run.lam) for run in series.runs_of(spent)}
    there = spent_on & {(run.dataset, run.architecture, run.objective, run.lam) for run in series.runs_of(records)}
    wanted = {(name, m.architecture, m.objective, m.lam) for name in datasets for m in shown.methods}
    others = f" Datasets left out as they do not fit: {len(left_out)}." if left_out else ""
    several = " Times of several devices do not compare." if spent["device"].nunique() > 1 else ""
    return f"Trained on: {devices}.{several} Points without a run: {len(wanted - there)}.{others}"


def _sizes(spent: pd.DataFrame, shown: series.Compared) -> dict[Method, str]:
    """Labels of methods with their number of parameters; of several datasets the largest."""
    sizes = {method: series.of_method(spent, method)["parameters"].max() / 1e6 for method in shown.methods}
    return {m: f"{m.label}, {size:.3g} M" if np.isfinite(size) else m.label for m, size in sizes.items()}


def _draw(panel: Axes, records: pd.DataFrame, spent: pd.DataFrame, key: str, shown: series.Compared) -> None:
    for method in shown.methods:
        own, paid = series.of_method(records, method), series.of_method(spent, method)[key]
        if own.empty or paid.empty:
            continue
        look, found = shown.look(method), series.mean(own)
        x = float(paid.mean())
        series.bar(panel, x, found, look)
        panel.plot([paid.min(), paid.max()], [found.estimate] * 2, color=look["color"], linewidth=0.7)
        panel.plot(x, found.estimate, look["marker"], color=look["color"], markersize=3.6, markeredgewidth=0)
    panel.locator_params(axis="x", nbins=3)
    panel.locator_params(axis="y", nbins=4)
