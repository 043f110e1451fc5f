"""Derive the conda environment and the container recipe from the lock: python envs/derive.py [--check].

requirements.lock is the one source of truth. ``make lock`` renews it from pyproject.toml and runs this script.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
LOCK = HERE / "requirements.lock"
PYTHON = "3.12"
IMAGE = f"docker.io/library/python:{PYTHON}-slim"
NOTE = "Made by envs/derive.py from requirements.lock; edit neither by hand."


def pins() -> list[str]:
    """The pinned requirements of the lock."""
    return [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def conda_environment() -> str:
    """environment.yaml: pip installs all pins, so that conda and plain venv users run the same versions."""
    requirements = "".join(f"      - {pin}\n" for pin in pins())
    return (
        f"# {NOTE}\n"
        "# The pins stand here in full because Snakemake copies this file away from the lock beside it.\n"
        "channels:\n  - conda-forge\n"
        f"dependencies:\n  - python={PYTHON}\n  - pip\n  - pip:\n{requirements}"
    )


def container_recipe() -> str:
    """Containerfile: the same versions for Docker, Podman and, converted, Apptainer."""
    return (
        f"# {NOTE}\n"
        "# Build from the repository root: podman build -f envs/Containerfile -t spectralseg .\n"
        "# To build twice from the same base image, give its digest, which 'skopeo inspect' prints:\n"
        f"#   podman build --build-arg BASE={IMAGE}@sha256:... -f envs/Containerfile -t spectralseg .\n"
        f"ARG BASE={IMAGE}\n"
        "FROM ${BASE}\n"
        "WORKDIR /spectralseg\n"
        "RUN apt-get update && apt-get install --yes --no-install-recommends git make g++ "
        "&& rm -rf /var/lib/apt/lists/*\n"
        "COPY envs/requirements.lock envs/hashes.lock envs/\n"
        "# The lock with checksums is for x86_64; the other one then adds what is left.\n"
        'RUN test "$(uname -m)" != x86_64 || '
        "pip install --no-cache-dir --no-deps --require-hashes --requirement envs/hashes.lock\n"
        "RUN pip install --no-cache-dir --requirement envs/requirements.lock\n"
        "COPY . .\n"
        "RUN pip install --no-cache-dir --no-deps --no-build-isolation .\n"
    )


def main() -> int:
    """Write the files, or with --check report those that are out of date."""
    derived = {HERE / "environment.yaml": conda_environment(), HERE / "Containerfile": container_recipe()}
    stale = [path for path, text in derived.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path}: does not follow from {LOCK.name}; run python envs/derive.py", file=sys.stderr)
        return len(stale)
    for path in stale:
        path.write_text(derived[path], encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
