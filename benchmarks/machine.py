"""What the benchmarks share: what they ran on, and where results go."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from spectralseg.files import replacing
from spectralseg.provenance import processor

RESULTS = Path(__file__).resolve().parent / "results"


def describe(packages: Iterable[str]) -> dict[str, Any]:
    """The machine, and the versions of Python and of packages."""
    return {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def memory(key: str) -> float | None:
    """An entry of Linux's account of this process in MiB; other systems have none."""
    try:
        match = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(match.group(1)) / 1024 if match else None


def write(outcome: Mapping[str, Any], out: Path | None, name: str) -> Path:
    """Write results as JSON, to ``results/<name>_<hardware>_<version>.json`` if ``out`` is None."""
    versions = outcome["versions"]
    version = f"torch-{versions['torch'].partition('+')[0]}" if "torch" in versions else f"python-{versions['python']}"
    path = out or RESULTS / f"{name}_{re.sub('[^a-z0-9]+', '-', device(outcome).lower()).strip('-')}_{version}.json"
    with replacing(path) as partial:
        partial.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    return path


def device(outcome: Mapping[str, Any]) -> str:
    """Name of the accelerator or processor that was measured."""
    machine_info = outcome["machine"]
    return str(machine_info.get("device_name") or machine_info["processor"])


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
