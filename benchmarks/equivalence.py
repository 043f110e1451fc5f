"""Measure whether fast training learns what the baseline implementation does: the same seeds, trained both ways.

The baseline implementation is float32 with the default layout, one image at a time through albumentations, kernel by
kernel. Fast training has every speed-up, and bf16 unless ``--precision`` says otherwise. Compared are the curves of
the objective and of validation Dice, relative to the spread over seeds. Results: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np
from tqdm import tqdm
from training import prepared

from spectralseg import provenance
from spectralseg.config import Architecture, Block, Config, Dataset, Objective, Training
from spectralseg.grid import Run
from spectralseg.torch_setup import choose_device
from spectralseg.training.loop import train
from spectralseg.training.precision import resolve

SLOW = {"precision": "fp32", "channels_last": False, "resident": False, "fused": False, "cuda_graph": False}
CURVES = ("loss", "validation_dice")


def study(options: argparse.Namespace, changes: dict[str, Any]) -> Config:
    """One network on one dataset."""
    return Config(
        name="equivalence",
        image_size=options.size,
        datasets={"isic2018": Dataset(source="phantom")},
        architectures={"network": Architecture(model=options.model, encoder=options.encoder, encoder_weights=None)},
        objectives={"spatial": Objective(base="bce_dice")},
        grid={"all": Block(datasets=["isic2018"], architectures=["network"], objectives=["spatial"], seeds=[0])},
        training=Training(
            iterations=options.iterations,
            validate_every=max(1, options.iterations // 10),
            workers=min(8, os.cpu_count() or 1),
            **changes,
        ),
    )


def summary(curves: dict[str, dict[str, list[list[float]]]]) -> dict[str, dict[str, float]]:
    """For each curve: the mean difference between the ways over the last half, and what seeds differ by."""
    curve_summaries = {}
    for key in CURVES:
        plain, fast = (np.array(curves[way][key]) for way in ("plain", "fast"))
        half = plain.shape[1] // 2
        late = [curve[:, half:].mean(1) for curve in (plain, fast)]
        curve_summaries[key] = {
            "plain": float(late[0].mean()),
            "fast": float(late[1].mean()),
            "mean_difference": float((late[1] - late[0]).mean()),
            "largest_difference_of_a_seed": float(np.abs(late[1] - late[0]).max()),
            "standard_deviation_over_seeds": float(np.sqrt(np.mean([one.var(ddof=1) for one in late]))),
        }
    return curve_summaries


def report(outcome: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    headings = ["mean over the last half of a run", *next(iter(outcome["summary"].values()))]
    rows = [[key, *(f"{value:.4f}" for value in found.values())] for key, found in outcome["summary"].items()]
    settings = outcome["settings"]
    settings_text = "{model}, {encoder}, {size} x {size}, {iterations} iterations, {seeds} seeds, {precision}".format(
        **{"precision": "bf16", **settings}
    )
    return f"{machine.markdown([heading.replace('_', ' ') for heading in headings], rows)}\n\n{settings_text}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/equivalence_<device>.json)")
    parser.add_argument("--device", default="auto", help="torch device, or auto (default: %(default)s)")
    parser.add_argument("--model", default="unet", help="(default: %(default)s)")
    parser.add_argument("--encoder", default="resnet50", help="(default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="bf16",
        help="of the fast way (default: %(default)s)",
    )
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=100, help="images of the dataset (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=300, help="steps of a run (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each way (default: %(default)s)")
    options = parser.parse_args(argv)
    device = str(choose_device(options.device))
    hardware = provenance.hardware(device)
    curves: dict[str, dict[str, list[list[float]]]] = {way: {key: [] for key in CURVES} for way in ("plain", "fast")}
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(Path(folder), options.size, options.cases)
        for seed in tqdm(range(options.seeds), desc="train", unit="seed"):
            for way, changes in (("plain", SLOW), ("fast", {"precision": options.precision})):
                out, run = Path(folder) / way / str(seed), Run("isic2018", "network", "spatial", "0", seed)
                train(study(options, changes), run, data, out, device_name=device)
                history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
                for key in CURVES:
                    curves[way][key].append([entry[key] for entry in history])
    outcome = {
        "machine": hardware,
        "versions": provenance.versions(),
        "settings": {key: value for key, value in vars(options).items() if key != "out"}
        | {"precision": resolve(options.precision, choose_device(device))},
        "summary": summary(curves),
        "curves": curves,
    }
    path = machine.write(outcome, options.out, "equivalence")
    print(report(outcome))
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
