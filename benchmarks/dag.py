"""How long the workflow plans studies of many runs, and what a job costs besides its work.

Beside a plain Snakefile with as many jobs, one output each, and beside bare imports of the same libraries. Wall and
processor time are both given, as planning keeps one core busy. See benchmarks/README.md for what was found.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import machine
import yaml
from tqdm import tqdm

from spectralseg.config import load_config
from spectralseg.grid import runs

REPOSITORY = Path(__file__).resolve().parents[1]
DATASETS = ["synapse", "acdc", "kvasir_seg", "isic2018", "monuseg", "btseg"]
CELLS = 60  # runs of one seed in the study below
OUTPUTS = {
    "runs": ["model.pt", "run.json", "history.jsonl", "records.parquet", "reliability.parquet", "examples.npz"],
    "prepared": ["dataset.json", "cases.csv", "images.npy", "masks.npy", "native_labels.bin"],
}
SLURM = ["--profile", REPOSITORY / "workflow" / "profiles" / "slurm", "--slurm-init-seconds-before-status-checks", 1]
LIBRARIES = "import pandas, torch, spectralseg.models, segmentation_models_pytorch, albumentations"

PLAIN = """
RUNS = [f"runs/{{n % {cells}}}/seed{{n // {cells}}}" for n in range({count})]
rule all:
    input: [f"{{run}}/records.parquet" for run in RUNS]
rule prepare:
    output: "dataset.json"
    shell: "touch {{output}}"
rule train:
    input: "dataset.json"
    output: "runs/{{cell}}/seed{{seed}}/model.pt"
    shell: "touch {{output}}"
rule evaluate:
    input: "runs/{{cell}}/seed{{seed}}/model.pt"
    output: "runs/{{cell}}/seed{{seed}}/records.parquet"
    shell: "touch {{output}}"
"""

# Stands in for the command line: writes the outputs that the rule declares and notes when it was started.
STAND_IN = """#!/bin/sh
date +%s.%N >> "$STAND_IN_LOG"
while [ $# -gt 0 ]; do case "$1" in --out) out="$2";; esac; shift; done
mkdir -p "$out"; for name in model.pt run.json history.jsonl; do : > "$out/$name"; done
"""


def study(seeds: int) -> dict[str, Any]:
    """60 runs of every seed: six datasets, two architectures, one objective alone and one with four weights."""
    demo = yaml.safe_load((REPOSITORY / "config" / "demo.yaml").read_text(encoding="utf-8"))
    block = {"datasets": DATASETS, "architectures": ["unet", "transunet"], "seeds": list(range(seeds))}
    objectives = {"objectives": ["spatial", "spatial_spectral"], "lambdas": ["0.1", "0.2", "0.3", "0.5"]}
    return {**demo, "name": "many", "grid": {"main": {**block, **objectives}}, "comparison": {}}


def write_study(folder: Path, seeds: int) -> Path:
    """Write the configuration of a study and return its path."""
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study(seeds), sort_keys=False), encoding="utf-8")
    return file


def timed(command: Sequence[object], **options: Any) -> tuple[float, float, str]:
    """Wall time and processor time of a command in seconds, and what it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{process.stdout[-2000:]}{process.stderr[-2000:]}")
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu_seconds, process.stdout + process.stderr


def snakemake(
    folder: Path, *arguments: object, snakefile: Path = REPOSITORY / "Snakefile", cores: int = 2
) -> list[object]:
    """A Snakemake command in a folder."""
    base = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--directory", folder]
    return [*base, "--cores", cores, *arguments]


def turns(ways: dict[str, Callable[[], tuple[float, float, str]]], repeats: int) -> dict[str, Any]:
    """Median times of several ways that take turns, and how many times as long as the last each takes."""
    timings: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            timings[name].append(work()[:2])
    peer = timings[list(ways)[-1]]
    return {
        name: {
            "seconds": round(statistics.median(wall for wall, _ in times), 3),
            "processor_seconds": round(statistics.median(cpu_seconds for _, cpu_seconds in times), 3),
            "times_as_long": round(statistics.median(a[1] / b[1] for a, b in zip(times, peer, strict=True)), 2),
            "seconds_of_all_runs": [round(wall, 3) for wall, _ in times],
        }
        for name, times in timings.items()
    }


def planning(count: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Dry runs of a study without results."""
    config = write_study(folder, max(1, count // CELLS))
    plain = folder / "plain.smk"
    total = len(runs(load_config(config)))
    plain.write_text(PLAIN.format(count=total, cells=CELLS), encoding="utf-8")
    workflow_command = snakemake(folder, "--dry-run", "--quiet", "--configfile", config)
    baseline_command = snakemake(folder, "--dry-run", "--quiet", snakefile=plain)
    return {
        "runs": total,
        "ways": turns(
            {"spectralseg": lambda: timed(workflow_command), "plain": lambda: timed(baseline_command)}, repeats
        ),
    }


def another_seed(count: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Dry runs after a seed was added to a study that is finished, as Snakemake's records of it say."""
    seeds = max(1, count // CELLS)
    config = write_study(folder, seeds)
    results = folder / "results" / "many"
    for run in runs(load_config(config)):
        _touch(results / "runs" / run.folder, OUTPUTS["runs"])
    for name in study(1)["datasets"]:
        _touch(results / "prepared" / name, OUTPUTS["prepared"])
        _touch(results / "raw" / name, [])
    _touch(results, ["records.parquet", "leakage.parquet", "leakage.csv"])
    # Many cores, so that the jobs that only touch their files need few rounds of scheduling.
    timed(snakemake(folder, "--touch", "--quiet", "all", "--configfile", config, "--", "runs", cores=4096))
    _, _, text = timed(snakemake(folder, "--dry-run", "--configfile", config, "--", "runs"))
    if "Nothing to be done" not in text:
        sys.exit(f"the finished study is not finished:\n{text[-2000:]}")
    config = write_study(folder, seeds + 1)
    command = snakemake(folder, "--dry-run", "--quiet", "rules", "--configfile", config, "--", "runs")
    _, _, text = timed(command)
    planned = {name: int(n) for name, n in re.findall(r"^(train|evaluate|prepare)\s+(\d+)$", text, re.MULTILINE)}
    return {
        "runs": seeds * CELLS,
        "added": CELLS,
        "planned": planned,
        **turns({"plan": lambda: timed(command)}, repeats),
    }


def _touch(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def jobs(count: int, folder: Path, *options: object) -> dict[str, Any]:
    """What Snakemake adds to each of the workflow's jobs, with a stand-in for the work."""
    config = write_study(folder, max(1, count // CELLS))
    results = Path("results") / "many"
    for name in study(1)["datasets"]:
        _touch(folder / results / "raw" / name, [])
        _touch(folder / results / "prepared" / name, OUTPUTS["prepared"])
    stand_in = folder / "bin" / "spectralseg"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN, encoding="utf-8")
    stand_in.chmod(0o755)
    log = folder / "started"
    path = {"PATH": f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}", "STAND_IN_LOG": str(log)}
    targets = [results / "runs" / run.folder / "model.pt" for run in runs(load_config(config))][:count]
    settings = [*options, "--quiet", "all", "--set-threads", "train=1", "--configfile", config]
    command = snakemake(folder, *settings, "--", *targets)
    start = time.time()
    wall, cpu_seconds, _ = timed(command, env={**os.environ, **path})
    started = [float(line) for line in log.read_text().split()]
    if len(started) != count:
        sys.exit(f"{len(started)} jobs were started instead of {count}")
    return {
        "jobs": count,
        "seconds_to_first_job": round(started[0] - start, 3),
        "milliseconds_per_job": round(1000 * (wall - (started[0] - start)) / count, 1),
        "processor_milliseconds_per_job": round(1000 * cpu_seconds / count, 1),
    }


def commands(repeats: int, folder: Path) -> dict[str, Any]:
    """Processes of our own up to their first useful work: a training of one iteration, and commands without torch."""
    ours = [sys.executable, "-m", "spectralseg"]
    config = study(1)
    config["training"] |= {"iterations": 1, "batch_size": 2}
    config["datasets"] = {"kvasir_seg": {"source": "phantom"}}
    config["grid"]["main"]["datasets"] = ["kvasir_seg"]
    config["evaluation"] = {}
    file = folder / "one.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    raw, data = folder / "raw", folder / "prepared"
    specification = REPOSITORY / "workflow" / "rules" / "datasets" / "kvasir_seg.smk"
    timed([*ours, "phantom", "kvasir_seg", "--out", raw, "--cases", 6, "--side", 48])
    small = ["--image-size", 32, "--source", "phantom", "--validation", 0.3, "--allow-partial"]
    timed([*ours, "prepare", specification, "--raw", raw, "--out", data, *small])
    chosen = ["--architecture", "unet", "--objective", "spatial", "--device", "cpu", "--threads", 1]
    train = [*ours, "train", "--config", file, "--data", data, *chosen, "--out", folder / "run"]
    return {
        "training": turns(
            {
                "one iteration": lambda: timed(train),
                "bare imports": lambda: timed([sys.executable, "-c", LIBRARIES]),
            },
            repeats,
        ),
        "without torch": turns(
            {
                "spectralseg status": lambda: timed([*ours, "status", file], cwd=folder),
                "spectralseg verify-dataset": lambda: timed([*ours, "verify-dataset", data]),
                "bare interpreter": lambda: timed([sys.executable, "-c", "pass"]),
            },
            repeats,
        ),
    }


def report(outcome: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    results = outcome["results"]
    rows = []
    for found in results["planning"]:
        for name, way in found["ways"].items():
            rows.append([f"dry run, {found['runs']:,} runs", name, *_figures(way)])
    for found in results["another_seed"]:
        rows.append([f"one seed more, {found['runs']:,} runs finished", "spectralseg", *_figures(found["plan"])])
    for task, ways in results["commands"].items():
        rows += [[task, name, *_figures(way)] for name, way in ways.items()]
    places = {"local_jobs": "on this machine", "slurm_jobs": "submitted to SLURM on this machine"}
    notes = [
        f"{results[key]['jobs']} jobs {place}: the first starts after {results[key]['seconds_to_first_job']:.1f} s, "
        f"then {results[key]['milliseconds_per_job']:.0f} ms each."
        for key, place in places.items()
        if key in results
    ]
    return "\n\n".join([machine.markdown(["what", "way", "s", "processor s", "times as long"], rows), *notes])


def _figures(way: dict[str, Any]) -> list[str]:
    return [f"{way['seconds']:.1f}", f"{way['processor_seconds']:.1f}", f"{way['times_as_long']:.1f}"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/dag_<processor>.json)")
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 5000], help="default: %(default)s")
    parser.add_argument("--finished", type=int, nargs="+", default=[300], help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=60, help="of a stand-in for the work (default: %(default)s)")
    parser.add_argument("--slurm", type=Path, help="submit such jobs also to SLURM, in this folder that all nodes see")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default: %(default)s)")
    options = parser.parse_args(argv)
    results: dict[str, Any] = {"planning": [], "another_seed": []}
    if options.slurm:
        options.slurm.mkdir(parents=True, exist_ok=True)
    steps: list[tuple[str, Any, Callable[[Path], Any]]] = [
        *(("planning", n, lambda folder, n=n: planning(n, options.repeats, folder)) for n in options.runs),
        *(("another_seed", n, lambda folder, n=n: another_seed(n, options.repeats, folder)) for n in options.finished),
        ("local_jobs", None, lambda folder: jobs(options.jobs, folder)),
        *([("slurm_jobs", None, lambda folder: jobs(options.jobs, folder, *SLURM))] if options.slurm else []),
        ("commands", None, lambda folder: commands(options.repeats, folder)),
    ]
    for name, size, work in tqdm(steps, desc="dag", unit="step"):
        with tempfile.TemporaryDirectory(dir=options.slurm if name == "slurm_jobs" else None) as folder:
            found = work(Path(folder))
        if size is None:
            results[name] = found
        else:
            results[name].append(found)
    outcome = {
        **machine.describe(["snakemake", "torch", "segmentation-models-pytorch"]),
        "settings": {key: value for key, value in vars(options).items() if key not in ("out", "slurm")},
        "load": os.getloadavg()[1] if hasattr(os, "getloadavg") else None,
        "results": results,
    }
    path = machine.write(outcome, options.out, "dag")
    print(report(outcome))
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
