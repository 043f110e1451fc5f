"""Size of the report of a study with many test cases, and the time until its leaderboard is visible.

A browser without network opens the page from disk; the time ends with the first frame after the leaderboard has visible
rows. The study is simulated, see benchmarks/study.py: one dataset, six methods, three seeds. Needs Chromium.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from machine import describe, markdown, write
from study import REPOSITORY, Test, simulate

from spectralseg.evaluation.collect import collect
from spectralseg.reporting.report import write_report

sys.path.append(str(REPOSITORY))
PACKAGES = ("numpy", "pandas", "pyarrow", "jinja2")
GRID = {
    "datasets": ["btseg"],
    "architectures": ["unet", "transunet"],
    "objectives": ["spatial", "spatial_spectral"],
    "lambdas": ["0.2", "0.5"],
    "seeds": [0, 1, 2],
}
VISIBLE = "[...document.querySelectorAll('#leaderboard-table tbody tr')].some(row => row.getClientRects().length)"
NEXT_FRAME = "new Promise(done => requestAnimationFrame(() => setTimeout(done)))"


def page_of(folder: Path, cases: int) -> Path:
    """Simulate the study in a new folder, and write its report."""
    config = simulate(folder, side=64, tests={"btseg": Test(cases)}, grid=GRID)
    collect(config, folder / "runs", folder / "records.parquet")
    return write_report(folder)


def seconds_to_open(page: Path, repeats: int) -> list[float]:
    """Seconds from the request until the frame that shows the leaderboard, of each repeat."""
    from tests.standins.browser import Browser

    seconds = []
    with tempfile.TemporaryDirectory() as profile, Browser(profile, size=(1400, 900)) as browser:
        for _ in range(repeats):
            browser.open("about:blank")
            start = perf_counter()
            browser.open(page.as_uri())
            browser.evaluate(NEXT_FRAME)
            if not browser.evaluate(VISIBLE):
                raise RuntimeError(f"{page}: shows no leaderboard")
            seconds.append(round(perf_counter() - start, 2))
    return seconds


def report(outcome: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    seconds = outcome["seconds"]
    row = (
        *(f"{outcome[name]:,}" for name in ("cases", "runs")),
        *(f"{outcome['megabytes']:.2f}", f"{statistics.median(seconds):.2f} ({min(seconds)} to {max(seconds)})"),
        f"{outcome['load']:.1f}",
    )
    return markdown(("test cases", "runs", "page, MB", "seconds, median (range)", "load of the machine"), [row])


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate a study, measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/opening_<processor>.json)")
    parser.add_argument("--cases", type=int, default=1000, help="test cases (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="times to open the page (default: %(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "study"
        page = page_of(folder, options.cases)
        outcome = {
            **describe(PACKAGES),
            "cases": options.cases,
            "runs": len(list(folder.glob("runs/*/*/*/*/*"))),
            "megabytes": round(page.stat().st_size / 1e6, 2),
            "seconds": seconds_to_open(page, options.repeats),
            "load": round(os.getloadavg()[0], 1),
        }
    path = write(outcome, options.out, "opening")
    print(f"{report(outcome)}\nwrote {path}")


if __name__ == "__main__":
    main()
