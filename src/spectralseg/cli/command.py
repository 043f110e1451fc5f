"""Declaration of commands: a function with its arguments beside it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectralseg.cli import values
from spectralseg.repository import repository_path

Argument = Callable[[argparse.ArgumentParser], object]


@dataclass(frozen=True)
class Command:
    """A command of ``spectralseg``; its name and its help are those of its function.

    Attributes:
        function: what it does with the parsed arguments.
        arguments: its arguments.
        closing: sentence after success on what was written where, with names of arguments in braces; empty for
            commands that print one themselves.
        failure: exit status after an error that the user can correct.
        packages: some that it needs, whose absence is reported before it starts; for others, when it imports them.
        example: arguments of an example, which ends the help and which a test parses.
    """

    function: Callable[[argparse.Namespace], None]
    arguments: tuple[Argument, ...]
    example: str
    closing: str = ""
    failure: int = 1
    packages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name on the command line."""
        return name_of(self.function)


def name_of(function: Callable[..., object]) -> str:
    """Command-line name of a function."""
    return function.__name__.replace("_", "-")


def command(
    *arguments: Argument, example: str, closing: str = "", failure: int = 1, packages: tuple[str, ...] = ()
) -> Callable[[Callable[[argparse.Namespace], None]], Command]:
    """Make a command of a function that takes the parsed arguments; see :class:`Command`."""
    return lambda function: Command(function, arguments, example, closing, failure, packages)


def argument(*names: str, **options: Any) -> Argument:
    """An argument of a command, declared as for :meth:`argparse.ArgumentParser.add_argument`."""
    return lambda parser: parser.add_argument(*names, **options)


def requeue(parser: argparse.ArgumentParser) -> None:
    """The option ``--requeue``, whose default depends on the environment at the time of the call."""
    parser.add_argument(
        "--requeue",
        action="store_true",
        default="SPECTRALSEG_REQUEUE" in os.environ,
        help="requeue the enclosing SLURM job when the command must stop early, unless SLURM ends that job "
        "(default: if SPECTRALSEG_REQUEUE is in the environment)",
    )


SPECIFICATION = argument("specification", type=repository_path, help="dataset file, workflow/rules/datasets/<name>.smk")
SPECIFICATIONS = argument(
    "--datasets",
    type=repository_path,
    default="workflow/rules/datasets",
    help="folder of the dataset files (default: %(default)s)",
)
CONFIG = argument("--config", type=Path, required=True, help="configuration file")
DATA = argument("--data", type=Path, required=True, help="prepared dataset")
CASE_THREADS = argument(
    "--threads", type=values.threads, default=4, help="cases processed in parallel (default: %(default)s)"
)
RUN = argument("run", type=Path, help="run folder")
CHECKPOINT = argument(
    "--checkpoint", choices=["best", "last"], default="best", help="weights of the run (default: %(default)s)"
)
DEVICE = argument("--device", default="auto", help="torch device, or auto (default: %(default)s)")
TORCH_THREADS = argument("--threads", type=values.threads, help="CPU threads of torch (default: chosen by torch)")
STUDY = argument(
    "study",
    type=Path,
    nargs="?",
    default=Path("config/config.yaml"),
    help="configuration file or results folder (default: %(default)s)",
)
JSON = argument("--json", action="store_true", help="print JSON")
