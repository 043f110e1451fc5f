"""The command line: one thin command per step. Every rule of the workflow runs one of these commands.

Commands import heavy packages inside their functions, so that ``--help`` and the workflow's parser stay fast.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence

from spectralseg import __version__
from spectralseg.cli import data, external, operations, results, runs, scores, sharing
from spectralseg.cli.command import Command
from spectralseg.cli.streams import disconnect_failed_streams, print_error
from spectralseg.errors import FindingsError, InputError, Interrupted, explained
from spectralseg.extras import explaining_missing_packages, require
from spectralseg.redaction import RedactingFormatter, printable
from spectralseg.signals import handled
from spectralseg.startup import spare_garbage_collection

STAGES = (data, runs, external, scores, results, sharing, operations)  # modules of commands, in the order of --help


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = argparse.ArgumentParser(
        prog="spectralseg",
        description="Benchmark of spatial and spectral objectives for medical image segmentation.",
        epilog="The workflow runs these commands for you; snakemake -n shows which.",
    )
    top.add_argument("--version", action="version", version=f"spectralseg {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for stage in STAGES:
        for command in vars(stage).values():
            if isinstance(command, Command):
                summary = command.function.__doc__
                subparser = commands.add_parser(
                    command.name, help=summary, description=summary, epilog=f"example: spectralseg {command.example}"
                )
                subparser.set_defaults(command=command, failure=command.failure)
                for add in command.arguments:
                    add(subparser)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0 after success; 1 after an error that the user can correct, or 2 if 1 means findings of the
        command; 75 (``EX_TEMPFAIL`` of sysexits.h: try again) after a signal or a time limit interrupted work that can
        be resumed; 130 (128 + SIGINT) after Ctrl-C where there is nothing to resume; 141 (128 + SIGPIPE) if the reader
        of the output is gone, as in ``spectralseg status | head``.
    """
    spare_garbage_collection()
    interrupts = []

    def interrupt(*_: object) -> None:
        interrupts.append(signal.SIGINT)
        raise KeyboardInterrupt

    arguments = argparse.Namespace(command=None, failure=1)
    try:
        with handled({signal.SIGINT: interrupt}):
            try:
                parser().parse_args(argv, arguments)
            finally:
                sys.stdout.flush()  # the output of --help
            handler = logging.StreamHandler()
            handler.setFormatter(RedactingFormatter("%(asctime)s %(message)s"))
            logging.basicConfig(level=os.environ.get("SPECTRALSEG_LOG", "INFO"), handlers=[handler])
            logging.captureWarnings(True)
            _run(arguments.command, arguments)
            sys.stdout.flush()  # raises here if the pipe is closed, not at the exit of the interpreter
    except InputError as error:
        print_error(f"error: {error}")
        return 1 if isinstance(error, FindingsError) else int(arguments.failure)
    except OSError as error:
        stream = disconnect_failed_streams()
        if isinstance(error, BrokenPipeError) and stream:
            return 141
        if error.errno is None:  # raised by a library, not by the operating system: a defect of the program
            raise
        name = arguments.command.name if arguments.command else "main"
        subject = error.filename or stream or f"spectralseg {name}"
        print_error(f"error: {InputError(f'{subject}: {explained(error)}')}")
        return int(arguments.failure)
    except Interrupted as reason:
        print_error(str(reason))
        if getattr(arguments, "requeue", False):
            from spectralseg import slurm

            slurm.requeue()  # last, as SLURM then ends this process
        return 75
    except (KeyboardInterrupt, Exception) as error:
        if not (interrupts or isinstance(error, KeyboardInterrupt)):
            raise
        print_error("interrupted")  # also if an import turned the interrupt into another exception
        return 130
    finally:
        if argv is None:  # this process is about to end; another Ctrl-C must print no traceback
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    return 0


def _run(command: Command, arguments: argparse.Namespace) -> None:
    """Run a command; an :class:`InputError` says which extra has a package that is not installed."""
    require(*command.packages, what=command.name)
    with explaining_missing_packages(command.name):
        command.function(arguments)
    if command.closing:
        print(printable(command.closing.format_map(vars(arguments))))
