"""How long ``spectralseg prepare`` takes, and how much memory, compared with a baseline implementation.

The baseline implementation is what most preparation scripts do: decode in full with Pillow or nibabel, resize, save one
file per image or slice. Each measurement is one process; all ways take turns on the same synthetic photographs and
volumes. Results: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from machine import describe, markdown, memory, write
from PIL import Image
from tqdm import tqdm

from spectralseg.data import open_prepared, phantoms
from spectralseg.data.archives import unpack
from spectralseg.data.prepare import prepare
from spectralseg.data.specification import DatasetSpecification, read_specification

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "opencv-python-headless", "pillow", "nibabel", "isal")
SIZE = 224
LARGE_PHOTOGRAPHS = 6  # about how many are drawn, as that takes seconds each
MIRRORS = [np.s_[::rows, ::columns] for rows in (1, -1) for columns in (1, -1)]


# Options of ``prepare``; None is the baseline implementation.
WAYS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "1 thread": {"threads": 1},
    "1 thread, full decoding": {"threads": 1, "reduced_decoding": False},
    "2 threads": {"threads": 2},
}


# Inputs: phantoms in the official layout, made as large and as hard to compress as the originals.


def draw_photographs(folder: Path, cases: int, side: int, grain: float) -> None:
    """JPEG photographs of quality 90 and PNG masks in the layout of ISIC-2018: a few, and their mirror images.

    Args:
        folder: where they go.
        cases: about how many.
        side: typical shorter side in pixels.
        grain: standard deviation of noise in grey levels, which decides how large the files are.
    """
    rng = np.random.default_rng(0)
    _draw("isic2018", folder, cases, 64)
    _draw("isic2018", folder.with_name("large"), LARGE_PHOTOGRAPHS, side)
    large, small = (
        list(zip(sorted(f.rglob("*.jpg")), sorted(f.rglob("*.png")), strict=True))
        for f in (folder.with_name("large"), folder)
    )
    turned = itertools.cycle(itertools.product(MIRRORS, large))
    for (image, mask), (mirror, (picture, outline)) in zip(tqdm(small, desc="draw photographs"), turned, strict=False):
        pixels = np.asarray(Image.open(picture))[mirror]
        noisy = pixels + grain * rng.standard_normal((*pixels.shape[:2], 1), np.float32)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(image, quality=90)
        # As Pillow filters rows; OpenCV's choice takes longer to decode.
        Image.fromarray(np.asarray(Image.open(outline))[mirror]).save(mask)
    shutil.rmtree(folder.with_name("large"))


def draw_volumes(folder: Path, cases: int, side: int, slices: int) -> None:
    """Gzipped CT volumes of int16 with noise, and their labels, in the layout of BTCV."""
    rng = np.random.default_rng(0)
    _draw("synapse", folder, cases, side)
    for path in tqdm(sorted(folder.rglob("Training/*/*.nii.gz")), desc="draw volumes", unit="file"):
        image = nib.load(path)
        drawn = np.asanyarray(image.dataobj)
        voxels = drawn[..., np.arange(slices) * drawn.shape[2] // slices]
        if path.name.startswith("img"):
            voxels = voxels + rng.normal(0, 8, voxels.shape).astype(np.int16)
        nib.Nifti1Image(voxels, image.affine, image.header).to_filename(path)


def _draw(name: str, folder: Path, cases: int, side: int) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as archives:
        for archive in phantoms.generate(name, Path(archives), cases=cases, side=side):
            unpack(archive, folder)


# The baseline implementation.


def plain(specification: DatasetSpecification, raw: Path, out: Path) -> None:
    """Prepare a dataset as scripts commonly do, taking for granted that files are complete and belong together."""
    out.mkdir()
    volumes = specification.dimensions == 3
    images, masks = ("Training/img/*.nii.gz", "Training/label/*.nii.gz") if volumes else ("*.jpg", "*.png")
    for image, mask in zip(sorted(raw.rglob(images)), sorted(raw.rglob(masks)), strict=True):
        (plain_volume if volumes else plain_photograph)(specification, image, mask, out / image.name.split(".")[0])


def plain_photograph(specification: DatasetSpecification, image: Path, mask: Path, stem: Path) -> None:
    """Decode, resize, save two files."""
    picture = Image.open(image).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    labels = Image.open(mask).convert("L").resize((SIZE, SIZE), Image.Resampling.NEAREST)
    np.save(f"{stem}_image.npy", np.asarray(picture))
    np.save(f"{stem}_mask.npy", (np.asarray(labels) > 127).astype(np.uint8))


def plain_volume(specification: DatasetSpecification, image: Path, mask: Path, stem: Path) -> None:
    """Decode, clip to the window, then resize and save slice by slice."""
    low, high = specification.intensity.window
    organs = np.zeros(256, np.uint8)
    organs[specification.reader_options["organs"]] = np.arange(1, len(specification.classes) + 1)
    volume = (np.clip(nib.load(image).get_fdata(), low, high) - low) / (high - low)
    labels = organs[nib.load(mask).get_fdata().astype(np.uint8)]
    for z in range(volume.shape[2]):
        plane = Image.fromarray(volume[..., z].astype(np.float32)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        label = Image.fromarray(labels[..., z]).resize((SIZE, SIZE), Image.Resampling.NEAREST)
        np.savez(f"{stem}_{z:03}.npz", image=np.asarray(plane), label=np.asarray(label))


# Measuring: every run in a process of its own, so that its peak of memory is its own.


def measure(dataset: str, raw: Path, out: Path, options: dict[str, Any] | None) -> dict[str, float]:
    """Prepare once in this process: seconds, seconds of processor time, and MiB of memory before and at the peak."""
    specification = read_specification(REPOSITORY / f"workflow/rules/datasets/{dataset}.smk")
    before, start, processor = memory("VmRSS"), time.perf_counter(), time.process_time()
    if options is None:
        plain(specification, raw, out)
    else:
        prepare(specification, raw, out, image_size=SIZE, source="phantom", allow_partial=True, **options)
    return {
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - processor,
        "memory_before_mib": before,
        "memory_peak_mib": memory("VmHWM"),
    }


def compare(dataset: str, raw: Path, scratch: Path, repeats: int) -> dict[str, Any]:
    """Measure all ways turn by turn, so that what else the machine does falls on all alike."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # nobody needs its threads, which spin while they wait
    turns = [name for turn in range(repeats) for name in list(WAYS)[:: 1 if turn % 2 == 0 else -1]]
    for name in tqdm(turns, desc=f"measure {dataset}", unit="run"):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            job = {"dataset": dataset, "raw": str(raw), "out": f"{folder}/out", "options": WAYS[name]}
            command = [sys.executable, __file__, "--run", json.dumps(job)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        runs[name].append(json.loads(done.stdout))
    return {name: _summary(mine, runs["plain"]) for name, mine in runs.items()}


def _summary(runs: list[dict[str, float]], plain_runs: list[dict[str, float]]) -> dict[str, Any]:
    """Medians, and how many times faster than the baseline implementation of the same turn."""
    faster = sorted(other["seconds"] / one["seconds"] for one, other in zip(runs, plain_runs, strict=True))
    return {
        **{key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0] if runs[0][key] is not None},
        "times_faster": round(statistics.median(faster), 2),
        "times_faster_range": [round(faster[0], 2), round(faster[-1], 2)],
        "seconds_of_all_runs": [round(run["seconds"], 3) for run in runs],
    }


def pixel_differences(raw: Path, scratch: Path) -> dict[str, Any]:
    """What decoding at reduced size changes in the prepared images, in grey levels of 0..255; beside it, what taking
    Pillow's bilinear filter instead of area averaging would change.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        measure("isic2018", raw, folder / "reduced", {})
        measure("isic2018", raw, folder / "full", {"reduced_decoding": False})
        measure("isic2018", raw, folder / "plain", None)
        full, reduced = open_prepared(folder / "full"), open_prepared(folder / "reduced")
        pillow = np.stack([np.load(path) for path in sorted((folder / "plain").glob("*_image.npy"))])
        return {
            "reduced_decoding": _difference(reduced.images, full.images),
            "bilinear_filter": _difference(pillow, full.images),
            "masks_equal": bool(np.array_equal(reduced.masks, full.masks)),
        }


def _difference(images: Any, reference_images: Any) -> dict[str, float]:
    difference = images[:].astype(np.int16) - reference_images[:]
    size = np.abs(difference)
    return {
        "mean": round(float(difference.mean()), 4),
        "mean_absolute": round(float(size.mean()), 4),
        "99th_percentile": float(np.percentile(size, 99)),
        "largest": int(size.max()),
    }


# The whole.


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """Draw, measure and describe."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark.") as name:
        scratch = Path(name)
        for grain in options.grain:
            raw = scratch / f"photographs{grain}"
            draw_photographs(raw, options.photographs, options.side, grain)
            results[f"photographs, grain {grain:g}"] = {
                "input": _inputs(raw, "*.jpg"),
                "ways": compare("isic2018", raw, scratch, options.repeats),
                "pixel_differences": pixel_differences(raw, scratch),
            }
        raw = scratch / "volumes"
        draw_volumes(raw, options.volumes, options.volume_side, options.slices)
        results["volumes"] = {
            "input": _inputs(raw, "Training/img/*.gz"),
            "ways": compare("synapse", raw, scratch, options.repeats),
        }
    return {
        **describe(PACKAGES),
        "settings": {"image_size": SIZE, **{k: v for k, v in vars(options).items() if k not in ("out", "run")}},
        "results": results,
    }


def _inputs(raw: Path, pattern: str) -> dict[str, Any]:
    paths = sorted(raw.rglob(pattern))
    shapes = [nib.load(path).shape if path.suffix == ".gz" else Image.open(path).size for path in paths]
    return {
        "cases": len(paths),
        "mean_megabytes": round(statistics.mean(path.stat().st_size for path in paths) / 1e6, 2),
        "shapes": [" x ".join(map(str, shape)) for shape in dict.fromkeys(shapes)],
    }


def report(outcome: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    headings = ("input", "way", "times faster (range)", "ms per case", "CPU time", "peak memory, MiB")
    rows = []
    for name, result in outcome["results"].items():
        files = result["input"]
        for way, found in result["ways"].items():
            low, high = found["times_faster_range"]
            rows.append(
                (
                    f"{name}, {files['mean_megabytes']:.1f} MB each",
                    way,
                    f"{found['times_faster']:.1f} ({low:.1f} to {high:.1f})",
                    *(f"{1000 * found[key] / files['cases']:.0f}" for key in ("seconds", "processor_seconds")),
                    f"{found.get('memory_peak_mib', float('nan')):.0f}",
                )
            )
    return markdown(headings, rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/prepare_<processor>.json)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default: %(default)s)")
    parser.add_argument("--photographs", type=int, default=60, help="about how many (default: %(default)s)")
    parser.add_argument("--side", type=int, default=2200, help="their typical shorter side (default: %(default)s)")
    parser.add_argument(
        "--grain",
        type=float,
        nargs="+",
        default=[0, 4],
        help="their noise in grey levels, which makes files larger; each is measured (default: %(default)s)",
    )
    parser.add_argument("--volumes", type=int, default=3, help="about how many (default: %(default)s)")
    parser.add_argument("--volume-side", type=int, default=512, help="their rows and columns (default: %(default)s)")
    parser.add_argument("--slices", type=int, default=120, help="and slices (default: %(default)s)")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.run:
        job = json.loads(options.run)
        print(json.dumps(measure(job["dataset"], Path(job["raw"]), Path(job["out"]), job["options"])))
        return
    outcome = benchmark(options)
    path = write(outcome, options.out, "prepare")
    print(report(outcome))
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
