"""Stands in for ``spectralseg`` and ``python -m spectralseg.papermill``.

It notes how it was called and writes what the rules expect, at once. What it writes for a prepared dataset and for a
run depends on the same things as in the real commands, so that plans can be tested without training. Imports little:
hundreds of jobs start it.
"""

import hashlib
import itertools
import json
import os
import signal
import sys
from pathlib import Path

PREPARED = ("cases.csv", "images.npy", "masks.npy", "native_labels.bin")
TRAINED = ("model.pt", "run.json", "history.jsonl")
EVALUATED = ("records.parquet", "reliability.parquet", "examples.npz")
TABLES = (".csv", ".json", ".md", ".tex", ".html", ".pdf", ".png")


def install(folder):
    """Put the stand-ins into a new folder and return :func:`environment`."""
    folder.mkdir()
    called = f'exec "{sys.executable}" -S -E "{__file__}"'
    notebook = f'[ "$1 $2" = "-m spectralseg.papermill" ] && shift 2 && {called} papermill "$@"'
    for name, script in {"spectralseg": f'{called} spectralseg "$@"', "python": notebook}.items():
        (folder / name).write_text(f'#!/bin/sh\n{script}\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
        (folder / name).chmod(0o755)
    return environment(folder)


def environment(folder):
    """Environment variables for Snakemake, by which it finds the stand-ins of a folder first, and they their log."""
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"PATH": path, "STAND_IN_CALLS": str(folder / "calls.jsonl")}


def calls(folder):
    """The arguments of all calls that the log in a folder has, command first."""
    log = folder / "calls.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


def digest(*values):
    return hashlib.sha256(repr(values).encode()).hexdigest()


def write(folder, names, content=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(content, encoding="utf-8")


def prepare(given, arguments):
    specification = {}
    exec(Path(arguments[0]).read_text(encoding="utf-8"), specification)  # comments do not count
    specification = specification["SPECIFICATION"]
    raw = Path(given["--raw"])
    files = sorted(file for file in raw.rglob("*") if file.is_file() and not file.name.startswith("."))
    shaping = {key: specification.get(key) for key in ("reader", "reader_options", "intensity", "split", "exclude")}
    content = digest([file.read_bytes() for file in files], shaping, given["--image-size"], given["--validation"])
    write(Path(given["--out"]), PREPARED, content)
    info = {"name": specification["name"], "source": given["--source"], "files": dict.fromkeys(PREPARED, content)}
    write(Path(given["--out"]), ["dataset.json"], json.dumps(info | {"title": specification["title"]}))


def hold(out):
    """Work without end on half an output; an end by SIGTERM or Ctrl-C leaves a checkpoint, as that of a training."""

    def stop(*_):
        write(out, ["state.pt"])
        (out / "held").unlink(missing_ok=True)
        sys.exit(75)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    write(out, ["model.pt", "held"], str(os.getpid()))
    while True:
        signal.pause()


def main(program, *arguments):
    with open(os.environ["STAND_IN_CALLS"], "a", encoding="utf-8") as log:
        log.write(json.dumps([program, *arguments]) + "\n")
    given = {key: value for key, value in itertools.pairwise(arguments) if key.startswith("-")}
    if program == "papermill":
        values = {arguments[n + 1]: arguments[n + 2] for n, word in enumerate(arguments) if word == "-p"}
        write(Path(values["out"]), [values["name"] + suffix for suffix in TABLES])
        write(Path(arguments[1]).parent, [Path(arguments[1]).name], "{}")
        return
    command, *arguments = arguments
    if command == os.environ.get("STAND_IN_HOLDS"):
        hold(Path(given["--out"]))
    if command == "phantom":
        write(Path(given["--out"]), ["archive.zip"], digest(*arguments))
    elif command == "fetch":
        write(Path(given["--out"]), ["sources.json", "archive.zip"])
    elif command == "prepare":
        prepare(given, arguments)
    elif command == "train":
        data = json.loads((Path(given["--data"]) / "dataset.json").read_text(encoding="utf-8"))
        write(Path(given["--out"]), TRAINED, digest(arguments, data["files"]))
    elif command == "evaluate":
        write(Path(given["--run"]), EVALUATED)
    elif command == "leakage":
        out = Path(given["--out"])
        write(out.parent, [out.name, "leakage.csv", "leakage_development.parquet", "leakage_development.csv"])
    elif command == "claims":
        write(Path(arguments[0]), ["claims.csv", "claims.md", "claims_cells.csv", "claims_papers.csv", "claims.html"])
    elif command == "report":
        write(Path(given["--out"]), ["index.html"])
    elif "--out" in given:
        write(Path(given["--out"]).parent, [Path(given["--out"]).name])


if __name__ == "__main__":
    main(*sys.argv[1:])
