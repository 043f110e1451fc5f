"""Renew hashes.lock from requirements.lock and the package index: python envs/hashes.py.

hashes.lock has the checksums of the files that pip installs on Linux (x86_64) for each supported Python. It excludes
torch and torchvision: users choose their build, for CPU or a CUDA version, which brings its own GPU packages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from derive import HERE, pins

PYTHONS = ("3.11.9", "3.12.9", "3.13.9")
PLATFORMS = ("linux_x86_64", "manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64")
GLIBC = range(5, 29)  # manylinux_2_5 to manylinux_2_28
LEFT_OUT = ("torch", "torchvision")
SOURCES = ("connection-pool", "medpy")  # packages without a wheel
NOTE = """\
# Made by envs/hashes.py from requirements.lock; do not edit.
# For Linux on x86_64, Python 3.11 to 3.13; without torch and torchvision, of which there are builds for each device.
"""


def resolved(requirements: Iterable[str], *options: str) -> list[dict[str, Any]]:
    """The files that pip would install, ignoring the pip configuration of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        requirements_file, report = Path(folder, "requirements"), Path(folder, "report")
        requirements_file.write_text("\n".join(requirements), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
        environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
        subprocess.run(
            [*command, *options, "--report", str(report), "--requirement", str(requirements_file)],
            check=True,
            env=environment,
        )
        installed: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["install"]
        return installed


def main() -> None:
    """Write the file."""
    wanted = {pin.partition("==")[0]: pin for pin in pins() if pin.partition("==")[0] not in LEFT_OUT}
    wheels = [pin for name, pin in wanted.items() if name not in SOURCES]
    platforms = [*PLATFORMS, *(f"manylinux_2_{minor}_x86_64" for minor in GLIBC)]
    files = resolved(wanted[name] for name in SOURCES)
    for python in PYTHONS:
        with tempfile.TemporaryDirectory() as target:
            options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, "--target", target]
            files += resolved(wheels, *options, *(f"--platform={platform}" for platform in platforms))
    hashes: dict[str, set[str]] = {name: set() for name in wanted}
    for file in files:
        name = file["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
        hashes[name].add(file["download_info"]["archive_info"]["hashes"]["sha256"])
    lines = (
        f"{pin} {' '.join(f'--hash=sha256:{digest}' for digest in sorted(hashes[name]))}\n"
        for name, pin in wanted.items()
    )
    (HERE / "hashes.lock").write_text(NOTE + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
