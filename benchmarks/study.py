"""A simulated study as large as the paper's: finished runs without training, on datasets without pictures of anybody.

Every dataset has as many test cases as the original, every run the records, histograms, examples and notes that a real
one leaves. Values are drawn: cases differ, seeds differ, methods hardly. Images are ellipses. Stamped as phantoms.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from spectralseg import __version__
from spectralseg.config import Config, load_config
from spectralseg.data.audit import LEAKS, PAIRS, Audit, finding
from spectralseg.data.prepared import COLUMNS as CASE_COLUMNS
from spectralseg.data.prepared import FORMAT, identity_of
from spectralseg.data.specification import DatasetSpecification, read_specifications
from spectralseg.grid import Run, runs
from spectralseg.interpretation.scores import CAM_METRICS, SPECTRAL_METRICS
from spectralseg.metrics.averaging import OVERLAP
from spectralseg.metrics.policy import POLICY
from spectralseg.metrics.records import COLUMNS, POOLED, WHOLE_CASE
from spectralseg.study_outputs import with_outputs
from spectralseg.training.settings import settings_of

REPOSITORY = Path(__file__).parents[1]
CALIBRATION = ("ece", "mce", "ace", "brier", "nll")
COUNTS = ("tp", "fp", "fn", "tn")


class Test(NamedTuple):
    """Test part of a dataset: cases, slices per case, and training cases that overlap with another test set."""

    cases: int
    slices: int = 1
    overlapping_cases: int = 0


TESTS = {
    "synapse": Test(12, 12),
    "acdc": Test(40, 6),
    "kvasir_seg": Test(120),
    "polypgen": Test(1537),
    "isic2018": Test(520, overlapping_cases=169),
    "isic2017": Test(600),
    "monuseg": Test(14),
    "btseg": Test(613),
}


def simulate(
    folder: Path,
    *,
    side: int = 224,
    share: float = 1.0,
    seeds: int | None = None,
    tests: Mapping[str, Test] = TESTS,
    grid: Mapping[str, Any] | None = None,
) -> Config:
    """Write a results folder up to, and without, what ``spectralseg collect`` makes of its runs.

    Args:
        folder: results folder, new.
        side: image size.
        share: of the test cases of each dataset, at least four.
        seeds: instead of those of the configuration.
        tests: test parts of the datasets.
        grid: a block instead of the grid of the configuration, on the datasets of ``tests``, without corruptions.

    Returns:
        The configuration of the paper, or of its grid, whose runs are there.
    """
    config = load_config(REPOSITORY / "config" / "config.yaml")
    raw = config.model_dump(mode="json", by_alias=True)
    if grid:
        raw["grid"], raw["datasets"] = {"main": dict(grid)}, {name: raw["datasets"][name] for name in tests}
        raw["evaluation"]["noise"]["datasets"] = []
        raw |= dict.fromkeys(("tables", "figures", "studies"))
    for block in raw["grid"].values():
        block["seeds"] = list(range(seeds)) if seeds else block["seeds"]
    raw["image_size"] = side
    specifications = read_specifications(REPOSITORY / "workflow" / "rules" / "datasets")
    config = with_outputs(Config.model_validate(raw), specifications, REPOSITORY / "config" / "published")
    folder.mkdir(parents=True)
    resolved = config.model_dump(mode="json", by_alias=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(resolved, sort_keys=False), encoding="utf-8")
    scaled = {
        name: test._replace(
            cases=max(4, round(share * test.cases)), overlapping_cases=round(share * test.overlapping_cases)
        )
        for name, test in tests.items()
    }
    masks = {name: _prepare(folder, specifications[name], scaled[name], side) for name in scaled}
    _audit(scaled, specifications).write(folder / "leakage.parquet")
    for run in tqdm(runs(config), desc="simulate", unit="run", disable=None):
        card = json.loads((folder / "prepared" / run.dataset / "dataset.json").read_text(encoding="utf-8"))
        _run(folder / "runs" / run.folder, run, specifications, scaled, masks, config, card)
    return config


def _prepare(folder: Path, specification: DatasetSpecification, test: Test, side: int) -> NDArray[np.uint8]:
    """A prepared dataset of test cases, then some training cases, with one ellipse per class; returns its masks."""
    out, rng = folder / "prepared" / specification.name, np.random.default_rng(len(specification.name))
    out.mkdir(parents=True)
    count, classes = (test.cases + test.overlapping_cases) * test.slices, len(specification.classes)
    y, x = np.mgrid[:side, :side] / side
    masks = np.zeros((count, side, side), np.uint8)
    for row, label in itertools.product(range(count), range(1, classes + 1)):
        centre, radii = rng.uniform(0.2, 0.8, 2), rng.uniform(0.05, 0.2, 2)
        masks[row][((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1] = label
    images = np.lib.format.open_memmap(
        out / "images.npy", mode="w+", dtype=np.uint8, shape=(count, side, side, specification.channels)
    )
    for row in range(count):
        noise = rng.integers(0, 60, (side, side, 1), np.uint8)
        images[row] = noise + (masks[row] * (150 // classes))[..., None]
    np.save(out / "masks.npy", masks)
    (out / "native_labels.bin").touch()
    size = "[" + ", ".join(map(str, [test.slices] * (specification.dimensions == 3) + [side, side])) + "]"
    rows = [
        [
            *(f"{specification.name}_{case:04}", f"{part}{case // 2}", part),
            *(case * test.slices, test.slices, size, "", 0, 0, "", "", "{}", "", ""),
        ]
        for case in range(test.cases + test.overlapping_cases)
        for part in ("test" if case < test.cases else "train",)
    ]
    pd.DataFrame(rows, columns=list(CASE_COLUMNS)).to_csv(out / "cases.csv", index=False)
    card = specification.model_dump(mode="json", exclude={"intensity"})
    card |= {"format": FORMAT, "source": "phantom", "image_size": side, "files": {}}
    card |= {"mean": [0.5] * specification.channels, "std": [0.2] * specification.channels}
    card |= {"id_namespace": specification.id_namespace or specification.name}
    (out / "dataset.json").write_text(json.dumps(card), encoding="utf-8")
    return masks


def _audit(tests: dict[str, Test], specifications: dict[str, DatasetSpecification]) -> Audit:
    """Every dataset against itself and its partners; its last training cases equal the first cases of each partner."""
    pairs, leaks = [], []
    for training, test in [*((n, n) for n in tests), *((n, other) for n in tests for other in specifications[n].ood)]:
        overlap_count = min(tests[training].overlapping_cases, tests[test].cases) if training != test else 0
        counts = {"train": overlap_count, "validation": 0, "test": 0}
        finding_text = finding(training, test, tests[test].cases, counts)
        role = "own" if training == test else "ood"
        pairs.append([training, test, role, tests[test].cases, 0, *counts.values(), finding_text])
        first = tests[training].cases
        leaks += [
            [training, test, f"{test}_{n:04}", "bytes", f"{training}_{first + n:04}", "train", np.nan]
            for n in range(overlap_count)
        ]
    return Audit(pd.DataFrame(pairs, columns=list(PAIRS)), pd.DataFrame(leaks, columns=list(LEAKS)))


def _run(
    folder: Path,
    run: Run,
    specifications: dict[str, DatasetSpecification],
    tests: dict[str, Test],
    masks: dict[str, NDArray[np.uint8]],
    config: Config,
    card: Mapping[str, Any],
) -> None:
    folder.mkdir(parents=True)
    names = [run.dataset, *specifications[run.dataset].ood]
    rng = np.random.default_rng([ord(letter) for letter in run.folder])
    conditions = [("iid" if name == run.dataset else "ood", name, "none", "0") for name in names]
    noise = config.evaluation.noise
    if run.dataset in noise.datasets:
        conditions += [
            ("noise", run.dataset, kind, level) for kind, levels in noise.corruptions.items() for level in levels
        ]
    frames = [_records(specifications[name], tests[name], suite, rng) for suite, name, *_ in conditions]
    keyed = [
        frame.assign(suite=suite, test_dataset=test, corruption=corruption, severity=severity)
        for frame, (suite, test, corruption, severity) in zip(frames, conditions, strict=True)
    ]
    records = pd.concat(keyed, ignore_index=True).assign(**run.keys)
    records[list(COLUMNS)].to_parquet(folder / "records.parquet", index=False)
    bins = pd.DataFrame(
        [
            {"suite": suite, "test_dataset": test, "class": name, "region": region, "bin": number}
            for suite, test, corruption, _ in conditions
            if corruption == "none"
            for name, region, number in itertools.product(specifications[test].classes, ("image", "band"), range(15))
        ]
    )
    pixels = rng.integers(1000, 9000, len(bins))
    middle = (bins["bin"] + 0.5) / 15
    bins = bins.assign(pixels=pixels, probability=middle * pixels, foreground=(0.9 * middle * pixels).astype(int))
    pd.DataFrame({**run.keys}, index=bins.index).join(bins).to_parquet(folder / "reliability.parquet", index=False)
    _examples(folder, names, tests, masks, specifications, config.evaluation.examples, rng)
    info: dict[str, Any] = {"seconds": 5000.0, "iterations": 14000, "best_iteration": 9000, "validation_dice": 0.8}
    info |= {"parameters": 32_500_000, "peak_memory": {"resident_mib": 3000.0, "cuda_mib": 6000.0}}
    info |= {
        "hardware": {"device_name": "simulated", "threads": 2},
        "versions": {"spectralseg": __version__},
        "git": {},
    }
    info |= settings_of(config, run, identity_of(card))
    (folder / "run.json").write_text(json.dumps(info))
    for name in ("train", "evaluate"):
        (folder / f"{name}.benchmark.jsonl").write_text(json.dumps({"s": 5000.0, "cpu_time": 6000.0}) + "\n")


def _records(specification: DatasetSpecification, test: Test, suite: str, rng: np.random.Generator) -> pd.DataFrame:
    """Records of a condition: a Dice per case and class, from which the other values follow roughly."""
    calibrated = suite != "noise"
    requested_metrics = [(protocol, metric) for protocol in POLICY for metric in (*COUNTS, *POLICY[protocol])]
    if specification.dimensions == 3:
        requested_metrics += [("sound", f"{prefix}_{metric}") for metric in OVERLAP for prefix in ("slice", "slices")]
    if calibrated:
        requested_metrics += [("published", metric) for metric in CALIBRATION[:2]]
        requested_metrics += [("sound", f"{prefix}{metric}") for metric in CALIBRATION for prefix in ("", "band_")]
    requested_metrics += [("sound", metric) for metric in SPECTRAL_METRICS] if calibrated else []
    cases = [f"{specification.name}_{case:04}" for case in range(test.cases)]
    difficulty = np.random.default_rng(test.cases).normal(1.6, 0.8, (test.cases, len(specification.classes)))
    dice = 1 / (1 + np.exp(-difficulty - rng.normal(0, 0.1) - rng.normal(0, 0.3, difficulty.shape)))
    frame = pd.DataFrame(itertools.product(cases, specification.classes), columns=["case", "class"]).assign(
        dice=dice.ravel()
    )
    whole = pd.DataFrame({"case": cases, "class": WHOLE_CASE, "dice": dice.mean(1)})
    parts = list(_values(frame, requested_metrics, rng))
    parts += list(_values(whole, [("sound", metric) for metric in CAM_METRICS], rng)) if calibrated else []
    if calibrated:
        pooled = frame.groupby("class", sort=False)["dice"].mean().reset_index().assign(case=POOLED)
        parts += list(_values(pooled, [("sound", f"pooled_{metric}") for metric in CALIBRATION], rng))
    records = pd.concat(parts, ignore_index=True)
    groups = {case: f"g{number // 2}" for number, case in enumerate(cases)} | {POOLED: POOLED}
    counted = records["metric"].isin(COUNTS) | records["metric"].str.startswith("slices_")
    undefined = (rng.random(len(records)) < 0.01) & ~counted
    return records.assign(
        group=records["case"].map(groups),
        value=records["value"].where(~undefined),
        flag=np.where(undefined, "absent", ""),
    ).drop(columns="dice")


def _values(
    frame: pd.DataFrame, requested_metrics: list[tuple[str, str]], rng: np.random.Generator
) -> Iterator[pd.DataFrame]:
    noise = rng.normal(0, 0.01, len(frame))
    for protocol, metric in requested_metrics:
        dice = frame["dice"]
        if metric in COUNTS or metric.startswith("slices_"):
            value = (5000 * dice).round()
        elif "iou" in metric:
            value = dice / (2 - dice)
        elif metric.removeprefix("pooled_").removeprefix("band_") in CALIBRATION:
            value = 0.3 * (1 - dice) + noise.clip(0)
        elif metric in ("hd95", "assd"):
            value = 60 * (1 - dice)
        else:
            value = (dice + noise).clip(0, 1)
        yield frame.assign(protocol=protocol, metric=metric, value=value)


def _examples(
    folder: Path,
    names: list[str],
    tests: dict[str, Test],
    masks: dict[str, NDArray[np.uint8]],
    specifications: dict[str, DatasetSpecification],
    count: int,
    rng: np.random.Generator,
) -> None:
    """Examples of each test dataset, their predictions the masks moved a little."""
    selected_cases = [
        (name, case) for name in names for case in np.unique(np.linspace(0, tests[name].cases - 1, count).astype(int))
    ]
    rows = [int(case) * tests[name].slices for name, case in selected_cases]
    labels = np.stack(
        [
            np.roll(masks[name][row], rng.integers(-4, 5, 2), (0, 1))
            for (name, _), row in zip(selected_cases, rows, strict=True)
        ]
    )
    classes = range(1, len(specifications[names[0]].classes) + 1)
    np.savez_compressed(
        folder / "examples.npz",
        dataset=np.array([name for name, _ in selected_cases]),
        case=np.array([f"{name}_{case:04}" for name, case in selected_cases]),
        row=np.array(rows),
        prediction=labels,
        probability=np.stack([labels == label for label in classes], 1).astype(np.float16),
        cam=(labels > 0).astype(np.float16),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new results folder")
    parser.add_argument("--side", type=int, default=224, help="image size (default: %(default)s)")
    parser.add_argument("--share", type=float, default=1.0, help="of the test cases (default: all)")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: those of config/config.yaml)")
    options = parser.parse_args()
    simulate(options.folder, side=options.side, share=options.share, seeds=options.seeds)
