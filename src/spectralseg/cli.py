"""The command line: one thin command per step. Every rule of the workflow is one of these, typed out."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from spectralseg import __version__
from spectralseg.errors import InputError, Interrupted, explained
from spectralseg.redaction import RedactingFormatter, redact

# Imports that take seconds stay inside the commands, so that --help and the workflow's parser answer at once.


def phantom(arguments: argparse.Namespace) -> None:
    """Write a synthetic dataset in the native layout of the original."""
    from spectralseg.data.delivery import deliver

    for archive in deliver(
        arguments.dataset, arguments.out, cases=arguments.cases, side=arguments.side, seed=arguments.seed
    ):
        print(archive)


def fetch(arguments: argparse.Namespace) -> None:
    """Download the official files of a dataset."""
    from spectralseg.data.fetch import fetch as run
    from spectralseg.data.specification import read_specification

    run(read_specification(arguments.specification), arguments.out, file=arguments.file, mirrors=arguments.mirror)


def prefetch(arguments: argparse.Namespace) -> None:
    """Do all that needs the network: official files and pretrained encoder weights of a study."""
    from spectralseg.config import load_config
    from spectralseg.data.specification import read_specifications
    from spectralseg.prefetch import prefetch as run

    specifications = read_specifications(arguments.datasets)
    run(load_config(arguments.config, specifications), specifications)


def weights(arguments: argparse.Namespace) -> None:
    """Download pretrained weights of an encoder into the cache."""
    from spectralseg.prefetch import fetch_weights

    fetch_weights(arguments.encoder, arguments.weights, arguments.model)


def prepare(arguments: argparse.Namespace) -> None:
    """Turn raw files into a prepared dataset."""
    from spectralseg.data.prepare import prepare as run
    from spectralseg.data.specification import read_specification

    run(
        read_specification(arguments.specification),
        arguments.raw,
        arguments.out,
        image_size=arguments.image_size,
        source=arguments.source,
        split=arguments.split,
        validation=arguments.validation,
        allow_partial=arguments.allow_partial,
        reduced_decoding=not arguments.full_decoding,
        threads=arguments.threads,
    )


def verify_dataset(arguments: argparse.Namespace) -> None:
    """Check everything that a prepared dataset promises."""
    from spectralseg.data import verify_prepared

    for folder in arguments.folder:
        parts = verify_prepared(folder)
        print(f"{folder}: " + ", ".join(f"{count} {part}" for part, count in sorted(parts.items())))


def card(arguments: argparse.Namespace) -> None:
    """Describe a prepared dataset on one HTML page."""
    from spectralseg.reporting.cards import write_card

    write_card(arguments.prepared, arguments.out)


def leakage(arguments: argparse.Namespace) -> None:
    """Find test cases that training data show as well: same picture, near-duplicate, same patient."""
    from spectralseg.data import open_prepared
    from spectralseg.data.leakage import audit

    found = audit([open_prepared(folder) for folder in arguments.folder])
    found.write(arguments.out)
    for finding in found.matching["finding"]:
        print(finding)
    print(f"{arguments.out}: {len(found.pairs)} pairs of datasets compared, {len(found.matching)} with matches")
    if arguments.fail_on_leakage:
        found.refuse()


def train(arguments: argparse.Namespace) -> None:
    """Train one run; continue it if it was interrupted."""
    from spectralseg.config import load_config
    from spectralseg.data import open_prepared
    from spectralseg.grid import Run, check_run
    from spectralseg.training.loop import train as run

    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # weights are fetched before: compute nodes have no network
    _limit_threads(arguments.threads)
    config, data = load_config(arguments.config), open_prepared(arguments.data)
    identity = Run(data.name, arguments.architecture, arguments.objective, arguments.lam, arguments.seed)
    check_run(config, identity, str(arguments.config))
    run(config, identity, data, arguments.out, device_name=arguments.device)


def evaluate(arguments: argparse.Namespace) -> None:
    """Score a trained run in every suite."""
    from spectralseg.config import load_config
    from spectralseg.data import open_prepared
    from spectralseg.evaluation.suites import evaluate as run

    _limit_threads(arguments.threads)
    run(
        arguments.run,
        open_prepared(arguments.data),
        [open_prepared(partner) for partner in arguments.ood],
        load_config(arguments.config).evaluation,
        arguments.out or arguments.run,
        device_name=arguments.device,
    )


def collect(arguments: argparse.Namespace) -> None:
    """Join the records of many runs into one file."""
    from spectralseg.config import load_config
    from spectralseg.evaluation.collect import collect as run

    run(load_config(arguments.config), arguments.runs, arguments.out)


def compare(arguments: argparse.Namespace) -> None:
    """Compare objectives pairwise, with intervals over seeds and patients."""
    from spectralseg.statistics.comparison import compare as run

    run(arguments.records, arguments.baseline, arguments.out)


def report(arguments: argparse.Namespace) -> None:
    """Write the report of a study: one HTML page that needs no network."""
    from spectralseg.reporting.report import write_report

    print(write_report(arguments.results, arguments.out))


def docs(arguments: argparse.Namespace) -> None:
    """Renew the JSON schema and the reference page of the configuration."""
    from spectralseg.reference import write

    for path in write(arguments.root):
        print(f"wrote {path}")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no positive number")
    return int(text)


def _limit_threads(threads: int | None) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = argparse.ArgumentParser(
        prog="spectralseg",
        description="Benchmark of spatial and spectral objectives for medical image segmentation.",
        epilog="The workflow runs these commands for you: snakemake -n shows which.",
    )
    top.add_argument("--version", action="version", version=f"spectralseg {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        added.set_defaults(function=function)
        return added

    one = command("phantom", phantom)
    one.add_argument("dataset", help="name of the dataset")
    one.add_argument("--out", type=Path, required=True, help="folder for the archives")
    one.add_argument("--cases", type=int, default=12, help="about how many training cases (default: %(default)s)")
    one.add_argument("--side", type=int, default=128, help="typical image side in pixels (default: %(default)s)")
    one.add_argument("--seed", type=int, default=0, help="seed of the drawings (default: %(default)s)")

    one = command("fetch", fetch)
    one.add_argument("specification", type=Path, help="dataset file, workflow/rules/datasets/<name>.smk")
    one.add_argument("--out", type=Path, required=True, help="folder for the archives")
    one.add_argument("--file", help="only this file of the dataset (default: all)")
    one.add_argument(
        "--mirror", action="append", default=[], help="address of a folder with the same files, tried first; repeatable"
    )

    one = command("weights", weights)
    one.add_argument("encoder", help="name in segmentation-models-pytorch, e.g. resnet50")
    one.add_argument("weights", help="name of its weights, e.g. imagenet")
    one.add_argument("--model", default="unet", help="model that the encoder belongs to (default: %(default)s)")

    one = command("prefetch", prefetch)
    one.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="default: %(default)s")
    one.add_argument(
        "--datasets", type=Path, default=Path("workflow/rules/datasets"), help="dataset files (default: %(default)s)"
    )

    one = command("prepare", prepare)
    one.add_argument("specification", type=Path, help="dataset file, workflow/rules/datasets/<name>.smk")
    one.add_argument("--raw", type=Path, required=True, help="archive, folder of archives, or official layout")
    one.add_argument("--out", type=Path, required=True, help="folder of the prepared dataset")
    one.add_argument("--image-size", type=int, default=224, help="side of the images in pixels (default: %(default)s)")
    one.add_argument("--source", choices=["official", "phantom", "path"], default="path", help="recorded origin")
    one.add_argument("--split", help="alternative split of the dataset file, or a .csv file (default: its own split)")
    one.add_argument(
        "--validation", type=float, default=0.1, help="share of training groups held out (default: %(default)s)"
    )
    one.add_argument("--allow-partial", action="store_true", help="accept a subset of the official cases")
    one.add_argument("--full-decoding", action="store_true", help="decode large JPEG images in full, which is slower")
    one.add_argument("--threads", type=_positive, default=4, help="cases at a time (default: %(default)s)")

    one = command("verify-dataset", verify_dataset)
    one.add_argument("folder", type=Path, nargs="+", help="prepared dataset")

    one = command("card", card)
    one.add_argument("prepared", type=Path, help="prepared dataset")
    one.add_argument("--out", type=Path, required=True, help="HTML file")

    one = command("leakage", leakage)
    one.add_argument("folder", type=Path, nargs="+", help="prepared dataset")
    one.add_argument("--out", type=Path, required=True, help="parquet file; a .csv of the same name lists the pairs")
    one.add_argument(
        "--fail-on-leakage",
        action="store_true",
        help="exit with status 1 where test cases match training or validation data of the same study",
    )

    one = command("train", train)
    _add_run_options(one)
    one.add_argument("--architecture", required=True, help="name in the configuration")
    one.add_argument("--objective", required=True, help="name in the configuration")
    one.add_argument("--lambda", dest="lam", default="0", help="weight of the auxiliary term (default: %(default)s)")
    one.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation")
    one.add_argument("--out", type=Path, required=True, help="run folder")

    one = command("evaluate", evaluate)
    _add_run_options(one)
    one.add_argument("--run", type=Path, required=True, help="run folder")
    one.add_argument("--ood", type=Path, nargs="*", default=[], help="prepared out-of-distribution datasets")
    one.add_argument("--out", type=Path, help="folder for records and examples (default: the run folder)")

    one = command("collect", collect)
    one.add_argument("runs", type=Path, help="folder of the runs")
    one.add_argument("--config", type=Path, required=True, help="configuration file, whose grid decides")
    one.add_argument("--out", type=Path, required=True, help="parquet file")

    one = command("compare", compare)
    one.add_argument("records", type=Path, help="collected records")
    one.add_argument("--baseline", default="spatial", help="objective to compare with (default: %(default)s)")
    one.add_argument("--out", type=Path, required=True, help="parquet file")

    one = command("report", report)
    one.add_argument("results", type=Path, help="results folder of the study, e.g. results/demo")
    one.add_argument("--out", type=Path, help="folder for index.html (default: report/ in the results folder)")

    one = command("docs", docs)
    one.add_argument("--root", type=Path, default=Path(), help="root of the repository (default: this folder)")
    return top


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, required=True, help="configuration file")
    command.add_argument("--data", type=Path, required=True, help="prepared dataset")
    command.add_argument("--device", default="auto", help="torch device, or auto (default: %(default)s)")
    command.add_argument("--threads", type=int, help="CPU threads of torch (default: its own choice)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 after an error that the user can mend, 75 if asked to stop halfway."""
    arguments = parser().parse_args(argv)
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=os.environ.get("SPECTRALSEG_LOG", "INFO"), handlers=[handler])
    logging.captureWarnings(True)
    try:
        arguments.function(arguments)
    except InputError as error:
        print(f"error: {redact(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno is None:  # raised by a library for reasons of its own, which is a fault of the program
            raise
        sentence = InputError(f"{error.filename or 'a file without a name'}: {explained(error)}")
        print(f"error: {redact(str(sentence))}", file=sys.stderr)
        return 1
    except Interrupted as reason:
        print(redact(str(reason)), file=sys.stderr)
        return 75  # EX_TEMPFAIL of sysexits.h: try again
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
