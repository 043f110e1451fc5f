"""What the benchmarks share: the machine's name, and results as JSON named by it."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import Any

from spectralseg.files import replacing

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"


def processor() -> str:
    """Name of the processor."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def write(benchmark: str, hardware: str, outcome: dict[str, Any], out: Path | None) -> Path:
    """Write JSON to ``out``, or to ``results/<benchmark>_<hardware>.json``."""
    path = out or RESULTS / f"{benchmark}_{re.sub(r'[^a-z0-9]+', '-', hardware.lower()).strip('-')}.json"
    with replacing(path) as partial:
        partial.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    return path
