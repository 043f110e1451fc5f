"""Commands that deploy, plan, check and watch a study, and the one that regenerates reference pages."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from spectralseg.cli import values
from spectralseg.cli.command import JSON, SPECIFICATIONS, STUDY, argument, command
from spectralseg.cli.runs import limit_threads
from spectralseg.errors import InputError
from spectralseg.redaction import printable
from spectralseg.repository import repository_path, repository_root

if TYPE_CHECKING:
    from spectralseg.config import Config
    from spectralseg.data.specification import DatasetSpecification
    from spectralseg.operations.estimate import Repository

_BENCHMARKS = Path("benchmarks/results")


@command(
    STUDY,
    argument(
        "--watch",
        type=values.whole_number("number", 1, 86400),
        nargs="?",
        const=5,
        metavar="SECONDS",
        help="refresh every SECONDS until the study is complete (default: %(const)s)",
    ),
    JSON,
    example="status config/demo.yaml --watch",
)
def status(arguments: argparse.Namespace) -> None:
    """Show the status of every run and masked autoencoder of a study, and why they failed."""
    import json
    import time

    from spectralseg.operations.estimate import Estimator
    from spectralseg.operations.status import FINAL, failed_jobs, study_queue, study_status
    from spectralseg.operations.status_text import as_json, as_text
    from spectralseg.study_folder import StudyFolder

    config, results = _study(arguments.study)
    repository = _repository(arguments.study)
    queue, queue_time = study_queue(results), time.monotonic()
    while True:
        statuses = study_status(config, results, queue)
        study_folder, estimator = StudyFolder(results, config), Estimator(config, results, repository)
        left, failed = estimator.time_left(estimator.parts(statuses)), failed_jobs(study_folder)
        if arguments.json:
            text = json.dumps(as_json(config, statuses, queue, study_folder.left_out, left, failed), indent=2)
        else:
            text = as_text(config, statuses, queue, study_folder.left_out_sentence(), left, failed)
        clear = "\x1b[2J\x1b[H" if arguments.watch and sys.stdout.isatty() else ""
        print(clear + printable(text), flush=True)
        if not arguments.watch or all(run.state in FINAL for run in statuses):
            return
        time.sleep(arguments.watch)
        if time.monotonic() - queue_time > 30:  # limit queries to the shared SLURM controller
            queue, queue_time = study_queue(results), time.monotonic()


@command(
    STUDY,
    argument("--quick", action="store_true", help="skip the measurement of data loading and training steps"),
    argument(
        "--seconds",
        type=values.positive_number(3600),
        default=20.0,
        help="length of the measurement (default: %(default)s)",
    ),
    JSON,
    SPECIFICATIONS,
    packages=("torch",),
    example="doctor config/demo.yaml --quick",
)
def doctor(arguments: argparse.Namespace) -> None:
    """Find what would stop or slow down a study on this machine; exit with status 1 if something would stop it."""
    import json

    from spectralseg.data.specification import read_specifications
    from spectralseg.files import write_json
    from spectralseg.operations import doctor as examination
    from spectralseg.operations.throughput import DOCTOR, THREADS

    specifications = read_specifications(_in_repository(arguments.datasets, arguments.study))
    config, results = _study(arguments.study, specifications)
    findings, speed = [], None

    def add(finding: examination.Finding) -> None:
        findings.append(finding)
        if not arguments.json:
            print(printable(str(finding)), flush=True)

    lock = _in_repository(Path("envs/requirements.lock"), arguments.study)
    for finding in examination.examine(config, specifications, results, lock):
        add(finding)
    if not arguments.quick:
        from spectralseg.operations.speed import measure

        limit_threads(min(THREADS, os.cpu_count() or 1))
        speed = measure(config, specifications, results, arguments.seconds)
        write_json(results / DOCTOR, speed)
        add(examination.measurement(speed))
    if arguments.json:
        print(json.dumps(examination.as_json(findings, speed), indent=2))
    problems = sum(finding.level == "problem" for finding in findings)
    if problems:
        raise InputError(f"{problems} of {len(findings)} findings would stop the study; see PROBLEM above")


@command(
    STUDY,
    argument("--price", type=values.positive_number(1e6), help="price per GPU-hour, any currency"),
    argument(
        "--devices",
        type=values.whole_number("number", 1, 100_000),
        help="number of GPUs used in parallel (default: those of this machine, at least 1)",
    ),
    argument(
        "--cores",
        type=values.whole_number("number", 1, 100_000),
        help="number of CPU cores, as for snakemake (default: those of this machine)",
    ),
    argument(
        "--runs",
        type=Path,
        nargs="*",
        default=[],
        help="results folders of other studies, whose runs are measurements of throughput",
    ),
    argument(
        "--benchmarks",
        type=Path,
        default=_BENCHMARKS,
        help="folder of benchmarks, used where no run was measured (default: %(default)s)",
    ),
    argument(
        "--on",
        choices=("gpu", "cpu"),
        help="kind of device of the runs (default: that of finished runs; gpu if a GPU or SLURM is present; else cpu)",
    ),
    JSON,
    packages=("torch",),
    example="plan config/config.yaml --devices 4 --price 2.5",
)
def plan(arguments: argparse.Namespace) -> None:
    """Estimate the time of all stages of a study, its runs, masked autoencoders, disk space and cost."""
    import json

    from spectralseg.operations.estimate import Estimator
    from spectralseg.operations.plan import as_json, as_text
    from spectralseg.operations.plan import plan as run
    from spectralseg.operations.status import study_status

    config, results = _study(arguments.study)
    settings = arguments.on, arguments.devices, arguments.cores
    repository = _repository(arguments.study, arguments.benchmarks)
    estimator = Estimator(config, results, repository, arguments.runs, *settings)
    parts = estimator.parts(study_status(config, results))
    estimate = run(config, results, parts, price=arguments.price, time=estimator.time_left(parts))
    print(json.dumps(as_json(estimate), indent=2) if arguments.json else printable(as_text(estimate)))


def _study(study: Path, specifications: Mapping[str, DatasetSpecification] | None = None) -> tuple[Config, Path]:
    """Configuration and results folder of a study, given either its configuration file or its results folder."""
    from spectralseg.config import load_config

    file = study / "config.yaml" if study.is_dir() else study
    config = load_config(file, specifications)
    in_results = study.is_dir() or (file.name == "config.yaml" and (file.parent / "runs").is_dir())
    return config, file.parent if in_results else Path("results") / config.name


def _repository(study: Path, benchmarks: Path = _BENCHMARKS) -> Repository:
    """What estimates of time read from the repository."""
    from spectralseg.operations.estimate import Repository

    folders = (Path("workflow/rules/datasets"), benchmarks, Path("config/published"))
    return Repository.at(*(_in_repository(folder, study) for folder in folders))


def _in_repository(path: Path, study: Path) -> Path:
    """A path of the repository, searched in the working directory, above the study, and in :func:`repository_root`."""
    roots = [Path(), *study.absolute().parents, repository_root()]
    return next((root / path for root in roots if (root / path).exists()), path)


@command(
    argument("folder", type=Path, help="new or empty folder"),
    example="init mystudy",
)
def init(arguments: argparse.Namespace) -> None:
    """Write the workflow with its configurations and profiles to a new folder, to run studies without a clone."""
    from spectralseg.operations.deployment import deploy

    deploy(arguments.folder)
    print(f"wrote {printable(str(arguments.folder))}; run there: snakemake -n --configfile config/demo.yaml")


@command(
    argument("shell", choices=("bash", "fish", "zsh"), help="shell that runs the script"),
    example="completion bash",
    packages=("shtab",),
)
def completion(arguments: argparse.Namespace) -> None:
    """Print the script that completes commands, options and files in a shell."""
    import shtab

    from spectralseg.cli import parser

    top = parser()
    for action in _actions_of(top):
        if action.type in (Path, repository_path):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(top, shell=arguments.shell))


def _actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of its commands, for which argparse has no public function."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from _actions_of(subparser)


@command(
    argument("--root", type=Path, default=Path(), help="root of the repository (default: this folder)"),
    example="docs --root .",
)
def docs(arguments: argparse.Namespace) -> None:
    """Regenerate the JSON schema and the reference pages of configuration and corruptions."""
    from spectralseg.reference import write

    for path in write(arguments.root):
        print(f"wrote {path}")
