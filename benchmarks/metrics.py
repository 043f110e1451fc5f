"""How long metrics take, beside other implementations of the same.

All ways of a task take turns on the same synthetic labels in one process with one thread, and must agree in what they
find. The scoring of a whole case runs in a process of its own, so that its peak of memory is its own. See
benchmarks/README.md for what was found.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from machine import describe, markdown, memory, write
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from spectralseg._torchvision import ensure_operators
from spectralseg.evaluation.label_maps import native_labels, to_labels
from spectralseg.evaluation.score import reliabilities, score_reliabilities, score_segmentation
from spectralseg.metrics import Reliability, hausdorff95, overlap_counts

ensure_operators()  # the others import torchvision
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from medpy.metric import binary as medpy
    from monai.metrics import compute_hausdorff_distance
    from torchmetrics.functional.classification import binary_calibration_error

PACKAGES = ("numpy", "scipy", "opencv-python-headless", "torch", "medpy", "monai", "torchmetrics")
OURS = "spectralseg"
# Organs of a CT: centre and radii as shares of slices, rows and columns. About those of the Synapse set.
ORGANS = [
    ((0.50, 0.49, 0.50), (0.47, 0.05, 0.05)),  # aorta
    ((0.47, 0.39, 0.70), (0.08, 0.03, 0.035)),  # gall bladder
    ((0.61, 0.55, 0.31), (0.17, 0.08, 0.06)),  # kidneys
    ((0.61, 0.55, 0.68), (0.17, 0.08, 0.06)),
    ((0.54, 0.41, 0.35), (0.30, 0.21, 0.19)),  # liver
    ((0.51, 0.51, 0.51), (0.08, 0.05, 0.12)),  # pancreas
    ((0.54, 0.37, 0.76), (0.20, 0.10, 0.09)),  # spleen
    ((0.53, 0.35, 0.60), (0.20, 0.12, 0.12)),  # stomach
]
LIVER = ORGANS[4]


# Inputs.


def organ(shape: Sequence[int], place: Any, phase: float) -> NDArray[np.bool_]:
    """An ellipse or ellipsoid with a wavy surface."""
    centre, radii = (np.multiply(part[-len(shape) :], shape) for part in place)
    axes = [(grid - c) / r for grid, c, r in zip(np.ogrid[tuple(slice(n) for n in shape)], centre, radii, strict=True)]
    waves = 1 + 0.05 * np.sin(9 * np.arctan2(axes[-2], axes[-1]) + phase + 2 * sum(axes[:-2], np.zeros(1)))
    inside: NDArray[np.bool_] = sum(axis**2 for axis in axes) <= waves**2
    return inside


def case(slices: int, side: int) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Probabilities (N, 9, 224, 224) of a plausible prediction, masks at that size, and native labels."""
    rng = np.random.default_rng(0)
    native, drawn = np.zeros((2, slices, side, side), np.uint8)
    for label, place in enumerate(ORGANS, 1):
        native[organ(native.shape, place, 0)] = label
        drawn[organ(native.shape, np.add(place, rng.normal(0, 0.004, (2, 3))), 1)] = label
    masks, predicted = (
        np.stack([cv2.resize(plane, (224, 224), interpolation=cv2.INTER_NEAREST_EXACT) for plane in labels])
        for labels in (native, drawn)
    )
    probabilities = np.empty((slices, len(ORGANS) + 1, 224, 224), np.float32)
    for plane, labels in zip(probabilities, predicted, strict=True):
        for label, logits in enumerate(plane):
            cv2.GaussianBlur((labels == label).astype(np.float32) * 10, (0, 0), 1.5, dst=logits)
        plane += rng.normal(0, 0.3, plane.shape)
        plane[:] = np.exp(plane - plane.max(0))
        plane /= plane.sum(0)
    return probabilities, masks, native


# The other ways.


def monai_hausdorff95(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """The larger directed percentile."""
    batch = [torch.from_numpy(mask[None, None]) for mask in (prediction, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compute_hausdorff_distance(*batch, include_background=True, percentile=95).item()


def scipy_hausdorff95(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Erosion and Euclidean distance transform in the box around both masks; pooled."""
    box = ndimage.find_objects((prediction | reference).astype(np.uint8))[0]
    edges = [np.pad(mask[box], 1) ^ ndimage.binary_erosion(np.pad(mask[box], 1)) for mask in (prediction, reference)]
    distances = [ndimage.distance_transform_edt(~edges[1 - i])[edges[i]] for i in (0, 1)]
    return float(np.percentile(np.concatenate(distances), 95))


def plain_counts(prediction: NDArray[Any], reference: NDArray[Any], classes: int) -> list[list[int]]:
    """One class after the other."""
    pairs = [(prediction == k, reference == k) for k in range(1, classes + 1)]
    return [[int(np.sum(part)) for part in (p & r, p & ~r, ~p & r, ~p & ~r)] for p, r in pairs]


def bincount_counts(prediction: NDArray[Any], reference: NDArray[Any], classes: int) -> list[list[int]]:
    """A confusion matrix from pairs of labels as int64."""
    size = classes + 1
    pairs = reference.astype(np.int64).ravel() * size + prediction.astype(np.int64).ravel()
    table = np.bincount(pairs, minlength=size * size).reshape(size, size)
    tp, predicted, present = (part[1:] for part in (np.diag(table), table.sum(0), table.sum(1)))
    return np.stack([tp, predicted - tp, present - tp, pairs.size - predicted - present + tp], 1).tolist()


def plain_labels(probabilities: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.uint8]:
    """Every pixel of every channel is interpolated."""
    tensors = (torch.from_numpy(plane[None]) for plane in probabilities)
    planes = [torch.nn.functional.interpolate(tensor, tuple(shape[-2:]), mode="bilinear") for tensor in tensors]
    return np.concatenate([plane.argmax(1).numpy().astype(np.uint8) for plane in planes])


# Tasks: what takes turns, each a name and a function without arguments. The first way is ours.


def distance_ways(shape: Sequence[int], place: Any) -> dict[str, Callable[[], Any]]:
    """HD95 of two structures."""
    masks = organ(shape, place, 0), organ(shape, np.multiply(place, 1.02), 1)
    return {
        OURS: lambda: hausdorff95(*masks, definition="pooled"),
        "medpy": lambda: float(medpy.hd95(*masks)),
        "scipy, cropped": lambda: scipy_hausdorff95(*masks),
        f"{OURS}, max": lambda: hausdorff95(*masks),
        "MONAI, max": lambda: monai_hausdorff95(*masks),
    }


def tasks(options: argparse.Namespace) -> dict[str, tuple[int, dict[str, Callable[[], Any]]]]:
    """Number of turns and ways of each task."""
    image = (options.side, options.side)
    probabilities, _, native = case(options.case_slices, options.side)
    labels, classes = native_labels(probabilities, native.shape), len(ORGANS)
    p = np.concatenate([plane[LIVER_CHANNEL].ravel() for plane in probabilities])
    y = (np.random.default_rng(0).random(p.size) < p).astype(np.uint8)
    exact = torch.from_numpy(p).double(), torch.from_numpy(y)  # in single precision its sums lose digits
    return {
        f"HD95, organ in {options.slices} x {options.side} x {options.side}": (
            options.repeats,
            distance_ways((options.slices, *image), LIVER),
        ),
        f"HD95, large structure in {options.side} x {options.side}": (
            5 * options.repeats,
            distance_ways(image, ((0.5, 0.5), (0.4, 0.4))),
        ),
        f"HD95, small structure in {options.side} x {options.side}": (
            5 * options.repeats,
            distance_ways(image, ((0.4, 0.6), (0.1, 0.08))),
        ),
        f"counts of {classes} classes": (
            options.repeats,
            {
                OURS: lambda: np.stack(overlap_counts(labels, native, classes), 1).tolist(),
                "one bincount, int64": lambda: bincount_counts(labels, native, classes),
                "class by class": lambda: plain_counts(labels, native, classes),
            },
        ),
        "labels in native geometry": (
            options.repeats,
            {
                OURS: lambda: native_labels(probabilities, native.shape),
                "all interpolated": lambda: plain_labels(probabilities, native.shape),
            },
        ),
        f"calibration of {p.size / 1e6:.1f} million pixels": (
            options.repeats,
            {
                f"{OURS}, all errors": lambda: Reliability.of(p, y).expected_error(),
                "torchmetrics, ECE only": lambda: binary_calibration_error(*exact, n_bins=15).item(),
            },
        ),
    }


LIVER_CHANNEL = 1 + ORGANS.index(LIVER)


# Measuring.


def take_turns(name: str, repeats: int, ways: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Seconds of each way, and how many times as long as ours of the same turn it took."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    values = {}
    for turn in tqdm(range(repeats), desc=name, unit="turn"):
        for way, function in list(ways.items())[:: 1 if turn % 2 == 0 else -1]:
            start = time.perf_counter()
            values[way] = function()
            seconds[way].append(time.perf_counter() - start)
    reference_seconds = seconds[next(iter(ways))]
    return {
        way: {
            "seconds": round(statistics.median(mine), 5),
            "times_ours": round(statistics.median(b / a for a, b in zip(reference_seconds, mine, strict=True)), 2),
            "times_ours_range": [
                round(pick(b / a for a, b in zip(reference_seconds, mine, strict=True)), 2) for pick in (min, max)
            ],
            "agrees": _agree(values[way], values, way),
        }
        for way, mine in seconds.items()
    }


def _agree(value: Any, values: Mapping[str, Any], way: str) -> bool:
    """Whether our way of the same definition found the same."""
    same = [other for name, other in values.items() if name.startswith(OURS) and ("max" in name) == ("max" in way)]
    if isinstance(value, np.ndarray):  # where two classes are equally probable, rounding decides
        return bool((value != same[0]).mean() < 1e-6)
    return bool(np.allclose(value, same[0], rtol=1e-5, atol=1e-8))


def score_case(slices: int, side: int) -> dict[str, float | None]:
    """Score one case in this process: seconds, and MiB of memory before and at the peak."""
    probabilities, masks, native = case(slices, side)
    to_labels(probabilities[:1])
    before, start, processor = memory("VmRSS"), time.perf_counter(), time.process_time()
    values = len(list(score_segmentation(probabilities, masks, native, (3.0, 0.8, 0.8), len(ORGANS))))
    middle, middle_processor = time.perf_counter(), time.process_time()
    peak = memory("VmHWM")
    values += len(list(score_reliabilities(reliabilities(probabilities, masks, len(ORGANS)))))
    return {
        "seconds": round(middle - start, 3),
        "processor_seconds": round(middle_processor - processor, 3),
        "calibration_seconds": round(time.perf_counter() - middle, 3),
        "memory_before_mib": before,
        "memory_peak_mib": peak,
        "values": values,
    }


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and describe."""
    job = json.dumps([options.case_slices, options.side])
    command = [sys.executable, __file__, "--run", job]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        for _ in tqdm(range(options.repeats), desc="score a case", unit="run")
    ]
    scoring = {key: statistics.median(run[key] for run in runs) for key in runs[0] if runs[0][key] is not None}
    settings = {key: value for key, value in vars(options).items() if key not in ("out", "run")}
    return {
        **describe(PACKAGES),
        "settings": settings,
        "results": {name: take_turns(name, *task) for name, task in tasks(options).items()},
        "scoring": {"shape": [options.case_slices, options.side, options.side], **scoring},
    }


def report(outcome: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    rows = []
    for task, ways in outcome["results"].items():
        for way, found in ways.items():
            low, high = found["times_ours_range"]
            ratio = f"{found['times_ours']:.1f} ({low:.1f} to {high:.1f})"
            rows.append((task, way, f"{1000 * found['seconds']:.1f}", ratio, "yes" if found["agrees"] else "**no**"))
    scoring = outcome["scoring"]
    whole = (
        f"one case of {' x '.join(map(str, scoring['shape']))}: {scoring['seconds']:.2f} s to score "
        f"({scoring['processor_seconds']:.2f} s of CPU time), {scoring['calibration_seconds']:.2f} s for "
        f"calibration, {scoring.get('memory_peak_mib', float('nan')):.0f} MiB at the peak"
    )
    return f"{markdown(('task', 'way', 'ms', 'times ours (range)', 'same result'), rows)}\n\n{whole}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/metrics_<processor>.json)")
    parser.add_argument("--repeats", type=int, default=3, help="turns; of images five times (default: %(default)s)")
    parser.add_argument("--side", type=int, default=512, help="rows and columns (default: %(default)s)")
    parser.add_argument("--slices", type=int, default=120, help="of the volume with one organ (default: %(default)s)")
    parser.add_argument("--case-slices", type=int, default=148, help="of the case scored (default: %(default)s)")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if options.run:
        print(json.dumps(score_case(*json.loads(options.run))))
        return
    outcome = benchmark(options)
    path = write(outcome, options.out, "metrics")
    print(f"{report(outcome)}\nwrote {path}")


if __name__ == "__main__":
    main()
