"""What each objective adds to a training step of a U-Net over ``bce_dice`` alone.

Objectives are measured as auxiliaries to ``bce_dice``, from given logits to their gradient, as their share of a step is
too small to be seen in the step. See benchmarks/README.md for what was found.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import machine
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from tqdm import tqdm

from spectralseg import provenance
from spectralseg.config import Training
from spectralseg.models import build_model
from spectralseg.objectives import Combined, Objective, available, build_objective
from spectralseg.torch_setup import choose_device
from spectralseg.training.learner import Learner

TASKS = {"1 class": 1, "8 classes": 9}  # channels of the logits
BASE = "bce_dice"
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "spectral, transformed": ("spectral", {"method": "fft"}),
    "spectral, middle band": ("spectral", {"band": [8, 32]}),
    "spectral, middle band, matched": ("spectral", {"band": [8, 32], "matched": True}),
    "spectral, weighting 1": ("spectral", {"weighting": 1.0}),
    "spectral, phase": ("spectral", {"part": "phase", "band": [8, 32]}),
    "spectral, amplitude": ("spectral", {"part": "amplitude"}),
    "frc, middle band": ("frc", {"band": [8, 32]}),
}


def objectives() -> dict[str, Objective]:
    """The base alone, and each objective or variant added to it."""
    chosen = {name: (name, {}) for name in available() if name != BASE} | VARIANTS
    auxiliaries = {label: build_objective(name, **options) for label, (name, options) in sorted(chosen.items())}
    base = build_objective(BASE)
    return {BASE: base} | {label: Combined(base, auxiliary, 0.2) for label, auxiliary in auxiliaries.items()}


def scene(channels: int, batch: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random logits (B, C, H, W), and masks (B, H, W) with smooth boundaries."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch, max(2, channels), size, size, generator=generator)
    masks = avg_pool2d(avg_pool2d(noise, 15, 1, 7), 15, 1, 7).argmax(1)
    logits = torch.randn(batch, channels, size, size, generator=generator)
    return logits.to(device).requires_grad_(), masks.to(device)


def seconds(work: Callable[[], object], device: torch.device, calls: int) -> float:
    """Mean time of a call, until the device has finished."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    _wait(device)
    return (time.perf_counter() - start) / calls


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def training_step(channels: int, batch: int, size: int, device: torch.device) -> Callable[[], object]:
    """A step of a U-Net with a ResNet-50 encoder and ``bce_dice``, as training does it."""
    model = build_model("unet", 3, channels, encoder="resnet50").to(device)
    learner = Learner(model, build_objective(BASE), Training(), [0.5] * 3, [0.25] * 3)
    images, masks = torch.rand(batch, size, size, 3), scene(channels, batch, size, device)[1]
    return lambda: learner.step(images, masks, 0.01)


def loss_step(objective: Objective, logits: Tensor, masks: Tensor) -> None:
    """The loss and its gradient in the logits."""
    logits.grad = None
    objective(logits, masks).backward()


def measure(channels: int, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Median milliseconds of a step, and of what each objective adds, turn by turn."""
    scale = (channels, options.batch, options.size, device)
    step = training_step(*scale)
    step()
    step_seconds = statistics.median(seconds(step, device, 1) for _ in range(options.steps))
    del step
    logits, masks = scene(*scale)
    work = {name: functools.partial(loss_step, built, logits, masks) for name, built in objectives().items()}
    runs: dict[str, list[float]] = {name: [] for name in work}
    for run in work.values():
        run()  # tables are made in the first call
    for _ in tqdm(range(options.repeats), desc=f"measure {channels} channels", unit="turn"):
        for name, run in work.items():
            runs[name].append(seconds(run, device, options.calls))
    added = {
        name: [one - base for one, base in zip(mine, runs[BASE], strict=True)]
        for name, mine in runs.items()
        if name != BASE
    }
    return {
        "step_ms": round(1000 * step_seconds, 3),
        "base_ms": round(1000 * statistics.median(runs[BASE]), 3),
        "added": {
            name: {
                "ms": round(1000 * statistics.median(times), 3),
                "percent_of_step": round(100 * statistics.median(times) / step_seconds, 3),
                "ms_of_all_runs": [round(1000 * one, 3) for one in times],
            }
            for name, times in added.items()
        },
    }


def report(outcome: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    results = outcome["results"]
    tasks = list(results)
    headings = ["added to `bce_dice`", *(f"{task}, {unit}" for task in tasks for unit in ("ms", "% of the step"))]
    rows = []
    for name in results[tasks[0]]["added"]:
        found = [results[task]["added"][name] for task in tasks]
        rows.append([name, *(f"{one[key]:.{d}f}" for one in found for key, d in (("ms", 1), ("percent_of_step", 2)))])
    notes = [f"{task}: {found['base_ms']:.1f} of {found['step_ms']:.1f} ms" for task, found in results.items()]
    return f"{machine.markdown(headings, rows)}\n\n`bce_dice` itself takes, of the whole step: {'; '.join(notes)}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/objectives_<device>.json)")
    parser.add_argument("--device", default="auto", help="torch device, or auto (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads of torch (default: its own choice)")
    parser.add_argument("--batch", type=int, default=8, help="images (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="their side in pixels (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=5, help="training steps measured (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="turns of all objectives (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=3, help="calls in each turn (default: %(default)s)")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    hardware = provenance.hardware(str(device))
    results = {task: measure(channels, options, device) for task, channels in TASKS.items()}
    outcome = {
        "machine": hardware,
        "versions": provenance.versions(),
        "settings": {key: value for key, value in vars(options).items() if key != "out"},
        "results": results,
    }
    path = machine.write(outcome, options.out, "objectives")
    print(report(outcome))
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
