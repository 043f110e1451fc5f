"""Accuracy against cost.

Dice against training time and peak memory per dataset and method, with 95 % intervals over seeds and cases; the legend
gives the number of parameters, the footer the machine.

Times depend on the machine, which the footer names; times on different machines are not comparable.
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
from spectralseg.reporting.example_cases import Method
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD

_COLUMNS = 6
_HEIGHT = 0.95  # inches
_LEFT, _GAP = 0.42, 0.3  # inches
_COSTS = {"seconds": "training time", "memory": "peak memory / GiB"}
_READING = (
    "DSC in percent on the own test set, mean over foreground classes, sound protocol, against the cost of a run, mean "
    "over seeds. In the legend: parameters in millions. Vertical bars: {interval}. Horizontal bars: smallest and "
    "largest of the seeds. Memory: peak during training, {memory}. {counts}"
)


def build(results: Results) -> Figure:
    """One column per training dataset, training time above, peak memory below, one point per method."""
    records = series.read(results, ["dsc"], suite={"iid"})
    spent = costs(results.trained())
    if records.empty or spent.empty:
        return layout.no_data("No run was trained and evaluated.", demonstration=results.demonstration)
    compared, every = series.compared(results, records), series.datasets(results, records)
    datasets = every[:_COLUMNS]
    memory = "on the CUDA device" if spent["on_device"].all() else "resident memory of the process"
    reading = _READING.format(interval=series.INTERVAL, memory=memory, counts=series.counts_text(records))
    sheet = layout.sheet(
        [layout.fitting(_COLUMNS, left=_LEFT, gap=_GAP)] * len(datasets),
        [_HEIGHT] * len(_COSTS),
        [
            reading,
            compared.rule,
            layout.paragraph(
                _remarks(spent, records, datasets, compared), layout.left_out("Datasets", len(every[_COLUMNS:]))
            ),
        ],
        demonstration=results.demonstration,
        left=_LEFT,
        gap=_GAP,
        taller={1: 0.16},
        below=0.32,
        legend=compared.handles(_sizes(spent, compared)),
    )
    sheet.column_titles(0, [dataset_label(name) for name in datasets])
    unit, factor = ("h", 3600) if spent["seconds"].median() > 5400 else ("min", 60)
    scaled = spent.assign(seconds=spent["seconds"] / factor)
    for column, name in enumerate(datasets):
        own, paid = records[records["dataset"] == name], scaled[scaled["dataset"] == name]
        for row, key in enumerate(_COSTS):
            panel = sheet.panels[row][column]
            _draw(panel, own, paid, key, compared)
            panel.set_xlim(0, 1.2 * scaled[key].max())
            panel.set_xlabel(f"{_COSTS[key]} / {unit}" if key == "seconds" else _COSTS[key])
            if column == 0:
                panel.set_ylabel("DSC / %")
    return sheet.figure


def costs(trained: Mapping[Run, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per run: its keys, ``seconds``, ``memory`` in GiB, ``on_device``, ``parameters`` and ``device``.

    Memory is that of the CUDA device where every run of the suite used one, resident memory otherwise; NaN where it
    was not measured, as the number of parameters.
    """
    peaks = [info["peak_memory"] for run, info in trained.items() if not run.external]
    key = "cuda_mib" if all("cuda_mib" in peak for peak in peaks) else "resident_mib"
    rows = [
        {
            **run.keys,
            "seconds": float(info["seconds"]),
            "memory": info["peak_memory"].get(key, np.nan) / 1024,
            "on_device": key == "cuda_mib",
            "parameters": np.nan if info["parameters"] is None else int(info["parameters"]),
            "device": f"{info['hardware']['device_name']}, {info['hardware']['threads']} CPU thread(s)",
        }
        for run, info in trained.items()
    ]
    return pd.DataFrame(rows)


def _remarks(spent: pd.DataFrame, records: pd.DataFrame, datasets: list[str], compared: series.Compared) -> str:
    devices = sorted(spent["device"].unique())
    points = {(name, *method.keys) for name in datasets for method in compared.methods}
    for frame in (spent, records):
        points &= set(frame[["dataset", *METHOD]].itertuples(index=False, name=None))
    missing = len(datasets) * len(compared.methods) - len(points)
    several = " Times on different devices are not comparable." if len(devices) > 1 else ""
    return f"Trained on: {'; '.join(devices)}.{several} Points without a run: {missing}."


def _sizes(spent: pd.DataFrame, compared: series.Compared) -> dict[Method, str]:
    """Labels of methods with their number of parameters, the largest over datasets."""
    sizes = {method: series.of_method(spent, method)["parameters"].max() / 1e6 for method in compared.methods}
    return {m: f"{m.label}, {size:.3g} M" if np.isfinite(size) else m.label for m, size in sizes.items()}


def _draw(panel: Axes, records: pd.DataFrame, spent: pd.DataFrame, key: str, compared: series.Compared) -> None:
    for method in compared.methods:
        own, paid = series.of_method(records, method), series.of_method(spent, method)[key]
        if own.empty or paid.isna().all():
            continue
        look, interval = compared.look(method), series.mean(own)
        x = float(paid.mean())
        series.bar(panel, x, interval, look)
        panel.plot([paid.min(), paid.max()], [interval.estimate] * 2, color=look["color"], linewidth=0.7)
        panel.plot(x, interval.estimate, look["marker"], color=look["color"], markersize=3.6, markeredgewidth=0)
    panel.locator_params(axis="x", nbins=3)
    panel.locator_params(axis="y", nbins=4)
