"""How long it takes from the records of all runs to everything that shows them, on a study as large as the paper's.

Joining the records is measured beside pandas, which holds all of them. Tables, figures and studies are made as the
workflow makes them, each by a notebook, two at a time. The runs are simulated, see benchmarks/study.py.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import pyarrow.parquet
from machine import describe, markdown, write
from study import REPOSITORY, simulate
from tqdm import tqdm

from spectralseg.config import Config
from spectralseg.outputs import KINDS

PACKAGES = ("numpy", "pandas", "pyarrow", "matplotlib", "papermill")
PANDAS = (
    "import pathlib, sys, pandas; files = sorted(pathlib.Path(sys.argv[1]).glob('*/*/*/*/*/records.parquet')); "
    "pandas.concat([pandas.read_parquet(file) for file in files * int(sys.argv[3])]).to_parquet(sys.argv[2])"
)
COLLECT = (
    "import pathlib, sys; from spectralseg.config import load_config; from spectralseg.evaluation import collect as c; "
    "runs = c.runs; c.runs = lambda config: runs(config) * int(sys.argv[4]); "
    "c.collect(load_config(pathlib.Path(sys.argv[3])), pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))"
)


class Cost(NamedTuple):
    """Of a process and its children."""

    seconds: float
    processor_seconds: float
    peak_mib: float


def measure(command: Sequence[str | Path], log: Path) -> Cost:
    """Run a command with one thread per library; its output goes to a file.

    Raises:
        RuntimeError: it fails; with the end of its output.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    start = perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=output, cwd=REPOSITORY, env=environment
        )
        _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{shlex.join(map(str, command))} failed:\n{log.read_text()[-3000:]}")
    return Cost(perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def joining(folder: Path, times: Sequence[int], repeats: int, log: Path) -> list[dict[str, Any]]:
    """Costs of joining the records of all runs, each run taken once, or several times for a larger study."""
    rows = []
    for copies in times:
        costs: dict[str, list[Cost]] = {"spectralseg": [], "pandas": []}
        out = folder / "joined.parquet"
        for turn in tqdm(range(repeats), desc=f"join {copies} times", unit="turn", disable=None):
            ways = {
                "spectralseg": [COLLECT, folder / "runs", out, folder / "config.yaml", str(copies)],
                "pandas": [PANDAS, folder / "runs", out, str(copies)],
            }
            for way in list(ways)[:: -1 if turn % 2 else 1]:
                costs[way].append(measure([sys.executable, "-c", *ways[way]], log))
        count = pyarrow.parquet.read_metadata(out).num_rows
        out.unlink()
        runs = copies * len(list((folder / "runs").glob("*/*/*/*/*")))
        rows.append({"runs": runs, "rows": count, **{way: _middle(found) for way, found in costs.items()}})
    return rows


def _middle(costs: Sequence[Cost]) -> dict[str, float]:
    return {
        name: round(statistics.median(values), 2)
        for name, values in zip(Cost._fields, zip(*costs, strict=True), strict=True)
    }


def making(folder: Path, config: Config, notebooks: Collection[str], log: Path) -> dict[str, Any]:
    """Costs of all that is made from the joined records, in the order of the workflow; of some notebooks, or all."""
    command = [sys.executable, "-m", "spectralseg"]
    records, published = folder / "records.parquet", REPOSITORY / "config" / "published"
    steps = {
        "collect": ["collect", folder / "runs", "--config", folder / "config.yaml", "--out", records],
        "compare": ["compare", records, "--baseline", config.baseline, "--out", folder / "comparisons.parquet"],
        "claims": ["claims", folder, "--published", published],
    }
    costs = {name: measure([*command, *step], log)._asdict() for name, step in steps.items()}
    start = perf_counter()
    with ThreadPoolExecutor(2) as pool:
        jobs = {
            name: pool.submit(_notebook, folder, name, kind, published)
            for kind in KINDS
            for name in getattr(config, kind)
            if name in notebooks or not notebooks
        }
        notebook_costs = {
            name: job.result()._asdict() for name, job in tqdm(jobs.items(), desc="notebooks", disable=None)
        }
    together = perf_counter() - start
    costs["report"] = measure([*command, "report", folder, "--out", folder / "report"], log)._asdict()
    return {
        "steps": costs,
        "notebooks": notebook_costs,
        "notebooks_seconds": round(together, 1),
        "notebooks_processor_seconds": round(sum(one["processor_seconds"] for one in notebook_costs.values()), 1),
        "report_megabytes": round((folder / "report" / "index.html").stat().st_size / 1e6, 2),
    }


def _notebook(folder: Path, name: str, kind: str, published: Path) -> Cost:
    file, done = REPOSITORY / "notebooks" / f"{KINDS[kind]}.ipynb", folder / f"{name}.ipynb"
    values = {"name": name, "results": folder, "published": published, "out": folder / kind}
    parameters = [word for key, value in values.items() for word in ("-p", key, value)]
    command = [sys.executable, "-m", "spectralseg.papermill", file, done, "--no-progress-bar", *parameters]
    return measure(command, folder / f"{name}.log")


def report(outcome: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    joined = [
        (str(row["runs"]), f"{row['rows'] / 1e6:.1f}", way, *(f"{row[way][name]:.1f}" for name in Cost._fields))
        for row in outcome["joining"]
        for way in ("spectralseg", "pandas")
    ]
    made = outcome["making"]
    steps = [(name, *(f"{cost[part]:.1f}" for part in Cost._fields)) for name, cost in made["steps"].items()]
    slowest = sorted(made["notebooks"].items(), key=lambda one: -one[1]["processor_seconds"])[:5]
    steps += [(name, *(f"{cost[part]:.1f}" for part in Cost._fields)) for name, cost in slowest]
    headings = ("seconds", "CPU seconds", "peak memory, MiB")
    return "\n\n".join(
        (
            markdown(("runs", "million rows", "way", *headings), joined),
            markdown(("step or slowest notebooks", *headings), steps),
            f"{len(made['notebooks'])} notebooks, two at a time: {made['notebooks_seconds']} s, "
            f"{made['notebooks_processor_seconds']} s of CPU time; report page {made['report_megabytes']} MB",
        )
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate a study, measure, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/reporting_<processor>.json)")
    parser.add_argument("--side", type=int, default=224, help="image size (default: %(default)s)")
    parser.add_argument("--share", type=float, default=1.0, help="of the test cases (default: all)")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: those of config/config.yaml)")
    parser.add_argument("--times", type=int, nargs="+", default=(1, 4), help="study sizes to join (default: 1 4)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of joining (default: %(default)s)")
    parser.add_argument("--notebooks", nargs="+", default=(), help="names of tables, figures, studies (default: all)")
    parser.add_argument("--keep", type=Path, help="folder for the study (default: one that is removed)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve() / "study"
        config = simulate(folder, side=options.side, share=options.share, seeds=options.seeds)
        outcome = {
            **describe(PACKAGES),
            "settings": {name: getattr(options, name) for name in ("side", "share", "seeds", "times", "repeats")},
            "joining": joining(folder, options.times, options.repeats, folder / "log.txt"),
            "making": making(folder, config, options.notebooks, folder / "log.txt"),
        }
    path = write(outcome, options.out, "reporting")
    print(f"{report(outcome)}\nwrote {path}")


if __name__ == "__main__":
    main()
