"""The command line: one thin command per step. Every rule of the workflow is one of these, typed out."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from spectralseg import __version__
from spectralseg.errors import InputError, Interrupted, explained
from spectralseg.redaction import RedactingFormatter, printable, redact
from spectralseg.signals import handled
from spectralseg.startup import spare_garbage_collection

if TYPE_CHECKING:
    from spectralseg.config import Config
    from spectralseg.data.specification import DatasetSpecification

# Imports that take seconds stay inside the commands, so that --help and the workflow's parser answer at once.


def phantom(arguments: argparse.Namespace) -> None:
    """Write a synthetic dataset in the native layout of the original."""
    from spectralseg.data.phantom_archives import deliver

    for archive in deliver(
        arguments.dataset, arguments.out, cases=arguments.cases, side=arguments.side, seed=arguments.seed
    ):
        print(printable(str(archive)))


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
        print(printable(f"{folder}: " + ", ".join(f"{count} {part}" for part, count in sorted(parts.items()))))


def card(arguments: argparse.Namespace) -> None:
    """Describe a prepared dataset on one HTML page."""
    from spectralseg.reporting.cards import write_card

    write_card(arguments.prepared, arguments.out)


def leakage(arguments: argparse.Namespace) -> None:
    """Find test and validation cases that overlap with training data: same picture, near-duplicate, same patient."""
    from spectralseg.data import open_prepared
    from spectralseg.data.audit_datasets import audit_datasets

    found = audit_datasets([open_prepared(folder) for folder in arguments.folder])
    found.write(arguments.out)
    print(*(f"{printable(finding)}\n" for finding in found.findings()), sep="", end="")
    print(f"{arguments.out}: {len(found.pairs)} pairs of datasets compared, {len(found.matching)} with matches")
    if arguments.fail_on_leakage:
        found.refuse()


def train(arguments: argparse.Namespace) -> None:
    """Train one run; continue it if it was interrupted."""
    deadline = _deadline(arguments.time_limit)  # first, as the imports below take seconds

    from spectralseg.config import load_config
    from spectralseg.data import open_prepared
    from spectralseg.grid import Run, check_run, lambda_of
    from spectralseg.locks import only_writer
    from spectralseg.operations.heartbeat import heartbeat
    from spectralseg.operations.leases import device_lease

    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # weights are fetched before: compute nodes have no network
    with heartbeat(arguments.out, "train"):
        config, data = load_config(arguments.config), open_prepared(arguments.data)
        lam = lambda_of(config, arguments.objective, arguments.lam, str(arguments.config))
        identity = Run(data.name, arguments.architecture, arguments.objective, lam, arguments.seed)
        check_run(config, identity, str(arguments.config))
        with (
            only_writer(arguments.out, f"training of {identity.folder}", deadline) as waited,
            device_lease(arguments.device, config.runs_per_gpu) as leased,
        ):
            from spectralseg.training.loop import train as run  # imports torch, which must find its device chosen

            _limit_threads(arguments.threads)
            share = config.runs_per_gpu if leased else 1
            options = {"device_name": arguments.device, "share": share, "deadline": deadline}
            run(config, identity, data, arguments.out, keep_finished=waited, **options)


def evaluate(arguments: argparse.Namespace) -> None:
    """Score a trained run in every suite."""
    from spectralseg.config import load_config
    from spectralseg.data import open_prepared
    from spectralseg.locks import only_writer
    from spectralseg.operations.heartbeat import heartbeat
    from spectralseg.operations.leases import device_lease

    out = arguments.out or arguments.run
    with heartbeat(out, "evaluate"):
        config = load_config(arguments.config)
        data, partners = open_prepared(arguments.data), [open_prepared(partner) for partner in arguments.ood]
        with (
            only_writer(out, f"evaluation of {arguments.run.resolve()}"),
            device_lease(arguments.device, config.runs_per_gpu),
        ):
            from spectralseg.evaluation.suites import evaluate as run

            _limit_threads(arguments.threads)
            run(arguments.run, data, partners, config.evaluation, out, device_name=arguments.device)


def predict(arguments: argparse.Namespace) -> None:
    """Write the predictions of a trained run for the test cases of a dataset, in native geometry."""
    from spectralseg.data import open_prepared
    from spectralseg.operations.leases import device_lease

    data = open_prepared(arguments.data)
    with device_lease(arguments.device):
        from spectralseg.exchange.predictions import predict as run

        _limit_threads(arguments.threads)
        run(arguments.run, data, arguments.out, checkpoint=arguments.checkpoint, device_name=arguments.device)


def score(arguments: argparse.Namespace) -> None:
    """Score somebody else's predictions for the test cases of a dataset, and say what is conspicuous about them."""
    from spectralseg.data import open_prepared
    from spectralseg.data.audit import read_audit
    from spectralseg.exchange.scoring import score as run
    from spectralseg.grid import Run

    data = open_prepared(arguments.data)
    method = Run(arguments.trained_on or data.name, arguments.method, arguments.objective, "0", arguments.seed)
    audit = read_audit(arguments.leakage) if arguments.leakage else None
    found = run(arguments.predictions, data, method, arguments.out, allow_missing=arguments.allow_missing, audit=audit)
    print(printable(found.summary.to_string(index=False, float_format="{:.4f}".format)))
    print("Calibration needs probabilities and is left out.")
    if audit is None:
        print("Whether test cases were trained on was not looked at; give --leakage.")
    print(*(printable(f"Conspicuous: {finding}.") for finding in found.findings or ["nothing"]), sep="\n")


def export_nnunet(arguments: argparse.Namespace) -> None:
    """Write a dataset with its split in the raw layout of nnU-Net v2."""
    from spectralseg.data import open_prepared
    from spectralseg.data.specification import read_specification
    from spectralseg.exchange.nnunet import export_nnunet as run

    specification, data = read_specification(arguments.specification), open_prepared(arguments.data)
    run(specification, arguments.raw, data, arguments.out, threads=arguments.threads)


def export_model(arguments: argparse.Namespace) -> None:
    """Export a trained model to ONNX or TorchScript, with a parity check and a model card."""
    from spectralseg.data import open_prepared
    from spectralseg.exchange.models import export_model as run

    data = open_prepared(arguments.data)
    parity = run(arguments.run, data, arguments.out, kind=arguments.format, checkpoint=arguments.checkpoint)
    print(f"{arguments.out}: differs from the original by at most {parity.error:.1e} on {parity.images} images")


def collect(arguments: argparse.Namespace) -> None:
    """Join the records of many runs into one file."""
    from spectralseg.config import load_config
    from spectralseg.evaluation.collect import collect as run

    run(load_config(arguments.config), arguments.runs, arguments.out)


def compare(arguments: argparse.Namespace) -> None:
    """Compare objectives pairwise, with intervals over seeds and patients."""
    from spectralseg.config import Comparison, load_config
    from spectralseg.statistics.comparison import compare as run
    from spectralseg.statistics.margins import Margins

    config = load_config(arguments.config) if arguments.config else None
    settings = config.comparison if config else Comparison()
    baseline = arguments.baseline or (config.baseline if config else "spatial")
    shares = settings.margin if arguments.margin is None else arguments.margin
    run(arguments.records, baseline, arguments.out, Margins(shares, settings.margins))


def claims(arguments: argparse.Namespace) -> None:
    """Judge the claims of the paper by the records of a study."""
    from spectralseg.reporting.claim_verdicts import build_ledger
    from spectralseg.reporting.results import Results

    build_ledger(Results(arguments.results), arguments.published).write(arguments.out or arguments.results)


def trace(arguments: argparse.Namespace) -> None:
    """Show the runs and records behind a number in a table."""
    from spectralseg.reporting.results import Results
    from spectralseg.reporting.trace import trace as run

    place = (arguments.table, arguments.row, arguments.column)
    print(printable(run(Results(arguments.results), *place, protocol=arguments.protocol, line=arguments.line).text()))


def audit_table(arguments: argparse.Namespace) -> None:
    """Find numbers of results tables that cannot stand together; exit with status 1 if there are any."""
    from spectralseg.published.consistency import audit

    report = audit(arguments.file, claims=arguments.claims, unit=arguments.unit)
    if arguments.out:
        report.write(arguments.out)
    print(printable(report.text()))
    report.refuse()


def report(arguments: argparse.Namespace) -> None:
    """Write the report of a study: one HTML page that needs no network."""
    from spectralseg.reporting.report import write_report

    print(write_report(arguments.results, arguments.out))


def findings(arguments: argparse.Namespace) -> None:
    """Write a page that says what a study found, and the CSV files that all its numbers are from."""
    from spectralseg.reporting.findings import extract, write_page
    from spectralseg.reporting.results import Results

    folder = arguments.out.absolute()
    page = folder.with_name(f"{folder.name}.md")
    if arguments.results:
        extract(Results(arguments.results, arguments.published), arguments.tuning, folder)
    write_page(folder, page)
    print(page)


def status(arguments: argparse.Namespace) -> None:
    """Show where every run of a study stands, and why runs failed."""
    import json
    import time

    from spectralseg.operations.status import FINAL, as_json, as_text, study_queue, study_status
    from spectralseg.study_folder import StudyFolder

    config, results = _study(arguments.study)
    queue, asked = study_queue(results), time.monotonic()
    while True:
        found = study_status(config, results, queue)
        rest = StudyFolder(results, config)
        if arguments.json:
            shown = json.dumps(as_json(config, found, queue, rest.left_out), indent=2)
        else:
            shown = as_text(config, found, queue, rest.left_out_sentence())
        clear = "\x1b[2J\x1b[H" if arguments.watch and sys.stdout.isatty() else ""
        print(clear + printable(shown), flush=True)
        if not arguments.watch or all(one.state in FINAL for one in found):
            return
        time.sleep(arguments.watch)
        if time.monotonic() - asked > 30:  # a controller serves many people
            queue, asked = study_queue(results), time.monotonic()


def doctor(arguments: argparse.Namespace) -> None:
    """Find what would stop a study here, or slow it down; exit with status 1 if something would stop it."""
    import json

    from spectralseg.data.specification import read_specifications
    from spectralseg.files import write_json
    from spectralseg.operations import doctor as examination
    from spectralseg.operations.throughput import DOCTOR, THREADS

    specifications = read_specifications(_of_the_repository(arguments.datasets, arguments.study))
    config, results = _study(arguments.study, specifications)
    findings, measured = [], None

    def tell(finding: examination.Finding) -> None:
        findings.append(finding)
        if not arguments.json:
            print(printable(str(finding)), flush=True)

    lock = _of_the_repository(Path("envs/requirements.lock"), arguments.study)
    for finding in examination.examine(config, specifications, results, lock):
        tell(finding)
    if not arguments.quick:
        from spectralseg.operations.speed import measure

        _limit_threads(min(THREADS, os.cpu_count() or 1))
        measured = measure(config, specifications, results, arguments.seconds)
        write_json(results / DOCTOR, measured)
        tell(examination.measurement(measured))
    if arguments.json:
        print(json.dumps(examination.as_json(findings, measured), indent=2))
    problems = sum(finding.level == "problem" for finding in findings)
    if problems:
        raise InputError(f"{problems} of {len(findings)} findings would stop the study; see PROBLEM above")


def plan(arguments: argparse.Namespace) -> None:
    """Estimate runs, hours, disk and money of a study from measured throughput."""
    import json
    import shutil

    from spectralseg.operations.devices import visible_devices
    from spectralseg.operations.plan import as_json, as_text
    from spectralseg.operations.plan import plan as run
    from spectralseg.operations.throughput import measured

    config, results = _study(arguments.study)
    accelerated = bool(visible_devices() or shutil.which("sbatch")) if arguments.on is None else arguments.on == "gpu"
    benchmarks = _of_the_repository(arguments.benchmarks, arguments.study)
    known = measured([results, *arguments.runs], benchmarks, accelerated=accelerated)
    found = run(config, results, known, price=arguments.price, devices=arguments.devices)
    print(json.dumps(as_json(found), indent=2) if arguments.json else printable(as_text(found)))


def _study(study: Path, specifications: Mapping[str, DatasetSpecification] | None = None) -> tuple[Config, Path]:
    """Configuration and results folder of a study, by its configuration file or by its results folder."""
    from spectralseg.config import load_config

    file = study / "config.yaml" if study.is_dir() else study
    config = load_config(file, specifications)
    resolved = study.is_dir() or (file.name == "config.yaml" and (file.parent / "runs").is_dir())
    return config, file.parent if resolved else Path("results") / config.name


def _of_the_repository(path: Path, study: Path) -> Path:
    """A file of the repository: in the working directory, above the study, or where this package is."""
    roots = [Path(), *study.absolute().parents, Path(__file__).parents[2]]
    return next((root / path for root in roots if (root / path).exists()), path)


def docs(arguments: argparse.Namespace) -> None:
    """Renew the JSON schema and the reference page of the configuration."""
    from spectralseg.reference import write

    for path in write(arguments.root):
        print(f"wrote {path}")


def _whole(what: str, least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers between two limits."""

    def number(text: str) -> int:
        digits = len(text) <= len(str(most)) and text.isascii() and text.isdecimal()
        if not digits or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"'{text[:40]}' is not a valid {what}; give a whole number of {least} or more, up to {most}"
            )
        return int(text)

    return number


def _above_zero(most: float) -> Callable[[str], float]:
    """A parser of positive numbers up to a limit."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"'{text[:40]}' is no number above 0 and up to {most:,.0f}")
        return value

    return number


def _like(section: str, key: str, least: int | None = None) -> Callable[[str], Any]:
    """A parser of numbers within the limits of a key of the configuration, or from ``least`` to its upper limit."""

    def number(text: str) -> Any:
        from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

        from spectralseg import config

        field = getattr(config, section).model_fields[key]
        limits = field.metadata
        if least is not None:
            limits = [Field(ge=least), *(one for one in limits if hasattr(one, "le"))]
        kind: Any = Annotated[field.annotation, *limits]
        adapter: TypeAdapter[Any] = TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))
        try:
            return adapter.validate_strings(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"'{text[:40]}': {error.errors()[0]['msg']}") from None

    return number


_threads, _seed = _whole("number", 1, 1024), _whole("seed", 0, 2**63 - 1)


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty name would be recorded; give a name")
    return text


def _margin(text: str) -> float:
    try:
        margin = float(text)
    except ValueError:
        margin = math.nan
    if not 0 < margin < 1:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a valid margin; give a positive number below 1, as 0.005 for half a percentage point"
        )
    return margin


def _deadline(limit: float | None) -> float | None:
    """When this process must have ended, on the clock ``time.monotonic()``; None if nobody says."""
    from spectralseg import slurm

    limits = [one for one in (limit, slurm.time_left()) if one is not None]
    return time.monotonic() + min(limits) if limits else None


_LONGEST = 10**9  # seconds


def _duration(text: str) -> float:
    from spectralseg.slurm import seconds_of

    seconds = seconds_of(text)
    if seconds is None or seconds > _LONGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is no duration; write MINUTES, H:MM:SS or D-HH:MM:SS")
    return seconds


def _limit_threads(threads: int | None) -> None:
    if threads:
        import cv2
        import torch

        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)  # it takes all cores otherwise, also those that other jobs were given


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
    one.add_argument(
        "--cases",
        type=_like("Phantom", "cases"),
        default=12,
        help="about how many training cases (default: %(default)s)",
    )
    one.add_argument(
        "--side", type=_like("Phantom", "side"), default=128, help="typical image side in pixels (default: %(default)s)"
    )
    one.add_argument("--seed", type=_seed, default=0, help="seed of the drawings (default: %(default)s)")

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
    one.add_argument(
        "--image-size",
        type=_like("Config", "image_size", least=1),
        default=224,
        help="side of the images in pixels (default: %(default)s)",
    )
    one.add_argument("--source", choices=["official", "phantom", "path"], default="path", help="recorded origin")
    one.add_argument("--split", help="alternative split of the dataset file, or a .csv file (default: its own split)")
    one.add_argument(
        "--validation",
        type=_like("Config", "validation"),
        default=0.1,
        help="share of training groups held out, at least one group (default: %(default)s)",
    )
    one.add_argument("--allow-partial", action="store_true", help="accept a subset of the official cases")
    one.add_argument("--full-decoding", action="store_true", help="decode large JPEG images in full, which is slower")
    one.add_argument("--threads", type=_threads, default=4, help="cases at a time (default: %(default)s)")

    one = command("verify-dataset", verify_dataset)
    one.add_argument("folder", type=Path, nargs="+", help="prepared dataset")

    one = command("card", card)
    one.add_argument("prepared", type=Path, help="prepared dataset")
    one.add_argument("--out", type=Path, required=True, help="HTML file")

    one = command("leakage", leakage)
    one.add_argument("folder", type=Path, nargs="+", help="prepared dataset")
    one.add_argument("--out", type=Path, required=True, help="parquet file; .csv and *_development files beside it")
    one.add_argument(
        "--fail-on-leakage",
        action="store_true",
        help="exit with status 1 where test cases match training or validation data of the same study",
    )

    one = command("train", train)
    _add_run_options(one)
    one.add_argument("--architecture", required=True, help="name in the configuration")
    one.add_argument("--objective", required=True, help="name in the configuration")
    one.add_argument(
        "--lambda", dest="lam", help="weight of the auxiliary term (required with one, else 0), as in the configuration"
    )
    one.add_argument("--seed", type=_seed, default=0, help="seed of weights, order and augmentation")
    one.add_argument("--out", type=Path, required=True, help="run folder")
    one.add_argument(
        "--time-limit",
        type=_duration,
        help="stop in time to save the state within MINUTES, H:MM:SS or D-HH:MM:SS (default: what SLURM allows)",
    )
    _add_requeue(one)

    one = command("evaluate", evaluate)
    _add_run_options(one)
    _add_requeue(one)
    one.add_argument("--run", type=Path, required=True, help="run folder")
    one.add_argument("--ood", type=Path, nargs="*", default=[], help="prepared out-of-distribution datasets")
    one.add_argument("--out", type=Path, help="folder for records and examples (default: the run folder)")

    one = command("predict", predict)
    one.add_argument("run", type=Path, help="run folder")
    one.add_argument("--data", type=Path, required=True, help="prepared dataset")
    one.add_argument("--out", type=Path, required=True, help="new folder for one NIfTI or PNG file per case")
    _add_checkpoint(one)
    _add_device_options(one)

    one = command("score", score)
    one.add_argument("--predictions", type=Path, required=True, help="folder of NIfTI or PNG files named by case id")
    one.add_argument("--data", type=Path, required=True, help="prepared dataset")
    one.add_argument("--out", type=Path, required=True, help="parquet file")
    one.add_argument("--method", type=_name, required=True, help="name of the method, the architecture of the records")
    one.add_argument(
        "--objective", type=_name, default="external", help="objective of the records (default: %(default)s)"
    )
    one.add_argument("--seed", type=_seed, default=0, help="seed of the records (default: %(default)s)")
    one.add_argument(
        "--trained-on", type=_name, help="dataset that the method was trained on (default: the one that is tested)"
    )
    one.add_argument("--allow-missing", action="store_true", help="leave out test cases without a file")
    one.add_argument("--leakage", type=Path, help="leakage.parquet of an audit: means without leaking cases as well")

    one = command("export-nnunet", export_nnunet)
    one.add_argument("specification", type=Path, help="dataset file, workflow/rules/datasets/<name>.smk")
    one.add_argument("--raw", type=Path, required=True, help="what the dataset was prepared from")
    one.add_argument("--data", type=Path, required=True, help="prepared dataset")
    one.add_argument("--out", type=Path, required=True, help="new folder, named as in nnUNet_raw/Dataset501_Polyps")
    one.add_argument("--threads", type=_threads, default=4, help="cases at a time (default: %(default)s)")

    one = command("export-model", export_model)
    one.add_argument("run", type=Path, help="run folder")
    one.add_argument("--data", type=Path, required=True, help="prepared dataset that the run was trained on")
    one.add_argument("--out", type=Path, required=True, help="new folder for model and model card")
    one.add_argument("--format", choices=["onnx", "torchscript"], default="onnx", help="default: %(default)s")
    _add_checkpoint(one)

    one = command("collect", collect)
    one.add_argument("runs", type=Path, help="folder of the runs")
    one.add_argument("--config", type=Path, required=True, help="configuration file, whose grid decides")
    one.add_argument("--out", type=Path, required=True, help="parquet file")

    one = command("compare", compare)
    one.add_argument("records", type=Path, help="collected records")
    one.add_argument("--config", type=Path, help="configuration file, whose section 'comparison' applies")
    one.add_argument("--baseline", help="objective to compare with (default: that of --config, else spatial)")
    one.add_argument(
        "--margin",
        type=_margin,
        help="largest difference of a share that does not matter (default: that of --config, else 0.005)",
    )
    one.add_argument("--out", type=Path, required=True, help="parquet file")

    one = command("claims", claims)
    one.add_argument("results", type=Path, help="results folder of a study")
    one.add_argument("--published", type=Path, required=True, help="folder of claims.csv and the printed tables")
    one.add_argument("--out", type=Path, help="folder for the ledger (default: the results folder)")

    one = command("findings", findings)
    one.add_argument("results", type=Path, nargs="?", help="results folder of a study (default: the files of --out)")
    one.add_argument("--published", type=Path, default=Path("config/published"), help="(default: %(default)s)")
    one.add_argument("--tuning", type=Path, nargs="*", default=[], help="results folders in which training was chosen")
    one.add_argument("--out", type=Path, required=True, help="folder for the files; the page lies beside it")

    one = command("trace", trace)
    one.add_argument("table", help="e.g. table_1")
    one.add_argument("row", help="heading of its row, e.g. 'UNet(ours)'")
    one.add_argument("column", help="heading of its column, with those above where it is not the only one: 'ACDC DSC'")
    one.add_argument("--results", type=Path, required=True, help="results folder of a study")
    one.add_argument("--protocol", choices=("published", "sound"), default="sound", help="(default: %(default)s)")
    one.add_argument("--line", default="measured", help="measured or leak-free (default: %(default)s)")

    one = command("audit-table", audit_table)
    one.add_argument("file", type=Path, nargs="+", help="results table as CSV, see docs/audit-a-table.md")
    one.add_argument("--claims", type=Path, help="what the text says of the tables (default: only the tables)")
    one.add_argument("--unit", choices=["percent", "share"], help="of the values (default: percent if any is above 1)")
    one.add_argument("--out", type=Path, help="CSV file of the findings (default: none)")

    one = command("report", report)
    one.add_argument("results", type=Path, help="results folder of the study, e.g. results/demo")
    one.add_argument("--out", type=Path, help="folder for index.html (default: report/ in the results folder)")

    one = command("status", status)
    _add_study(one)
    one.add_argument(
        "--watch",
        type=_whole("number", 1, 86400),
        nargs="?",
        const=5,
        metavar="SECONDS",
        help="show it again every SECONDS (5) until done",
    )
    one.add_argument("--json", action="store_true", help="for machines: all that is known of every run")

    one = command("doctor", doctor)
    _add_study(one)
    one.add_argument("--quick", action="store_true", help="without the measurement of loading and training step")
    one.add_argument(
        "--seconds", type=_above_zero(3600), default=20.0, help="length of the measurement (default: %(default)s)"
    )
    one.add_argument("--json", action="store_true", help="for machines")
    one.add_argument(
        "--datasets", type=Path, default=Path("workflow/rules/datasets"), help="dataset files (default: %(default)s)"
    )

    one = command("plan", plan)
    _add_study(one)
    one.add_argument("--price", type=_above_zero(1e6), help="of an hour of a device, in any currency")
    one.add_argument(
        "--devices", type=_whole("number", 1, 100_000), default=1, help="that work at once (default: %(default)s)"
    )
    one.add_argument(
        "--runs", type=Path, nargs="*", default=[], help="results folders of other studies, whose runs tell the speed"
    )
    one.add_argument(
        "--benchmarks", type=Path, default=Path("benchmarks/results"), help="where no run does (default: %(default)s)"
    )
    one.add_argument(
        "--on", choices=("gpu", "cpu"), help="whose benchmarks count (default: gpu where there is one, or SLURM)"
    )
    one.add_argument("--json", action="store_true", help="for machines")

    one = command("docs", docs)
    one.add_argument("--root", type=Path, default=Path(), help="root of the repository (default: this folder)")
    return top


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, required=True, help="configuration file")
    command.add_argument("--data", type=Path, required=True, help="prepared dataset")
    _add_device_options(command)


def _add_requeue(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--requeue",
        action="store_true",
        default="SPECTRALSEG_REQUEUE" in os.environ,
        help="when it has to stop, have SLURM start the job that this is part of again, unless SLURM ends that job "
        "(default: if SPECTRALSEG_REQUEUE is in the environment)",
    )


def _add_study(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "study",
        type=Path,
        nargs="?",
        default=Path("config/config.yaml"),
        help="configuration file, or results folder (default: %(default)s)",
    )


def _add_checkpoint(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--checkpoint", choices=["best", "last"], default="best", help="weights of the run (default: %(default)s)"
    )


def _add_device_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="torch device, or auto (default: %(default)s)")
    command.add_argument("--threads", type=_threads, help="CPU threads of torch (default: its own choice)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0; 1 after an error that the user can mend; 75 (``EX_TEMPFAIL`` of sysexits.h: try again) if
        asked to stop halfway, by a signal or a time limit; 130 (128 + SIGINT) after Ctrl-C where there is nothing to
        continue; 141 (128 + SIGPIPE) if the reader of the output has gone, as in ``spectralseg status | head``.
    """
    spare_garbage_collection()
    pressed = []

    def interrupt(*_: object) -> None:
        pressed.append("Ctrl-C")
        raise KeyboardInterrupt

    arguments = argparse.Namespace(function=main)
    try:
        with handled({signal.SIGINT: interrupt}):
            try:
                parser().parse_args(argv, arguments)
            finally:
                sys.stdout.flush()  # what --help wrote
            handler = logging.StreamHandler()
            handler.setFormatter(RedactingFormatter("%(asctime)s %(message)s"))
            logging.basicConfig(level=os.environ.get("SPECTRALSEG_LOG", "INFO"), handlers=[handler])
            logging.captureWarnings(True)
            arguments.function(arguments)
            sys.stdout.flush()  # else a closed pipe shows at the end of the interpreter
    except InputError as error:
        _tell(f"error: {error}")
        return 1
    except OSError as error:
        stream = _failed_stream()
        if isinstance(error, BrokenPipeError) and stream:
            return 141
        if error.errno is None:  # raised by a library for reasons of its own, which is a fault of the program
            raise
        command = arguments.function.__name__.replace("_", "-")
        sentence = InputError(f"{error.filename or stream or f'spectralseg {command}'}: {explained(error)}")
        _tell(f"error: {sentence}")
        return 1
    except Interrupted as reason:
        _tell(str(reason))
        if getattr(arguments, "requeue", False):
            from spectralseg import slurm

            slurm.requeue()  # last, for SLURM then ends this process
        return 75
    except (KeyboardInterrupt, Exception) as error:
        if not (pressed or isinstance(error, KeyboardInterrupt)):
            raise
        _tell("interrupted")  # also where an import turned it into another exception
        return 130
    finally:
        if argv is None:  # this process is about to end: by another Ctrl-C without a traceback
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    return 0


def _tell(sentence: str) -> None:
    """Print a sentence on standard error, after all that was printed before it."""
    _failed_stream()
    with contextlib.suppress(OSError):
        print(redact(sentence), file=sys.stderr)
    _failed_stream()


def _failed_stream() -> str:
    """The standard stream that cannot be written to, which from now on leads nowhere; empty where there is none.

    Otherwise the interpreter would try again at its end, and complain.
    """
    failed = ""
    for name, stream in {"standard output": sys.stdout, "standard error": sys.stderr}.items():
        try:
            stream.flush()
            if not _reader_gone(stream):
                continue
        except OSError:
            pass
        failed = failed or name
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return failed


def _reader_gone(stream: TextIO) -> bool:
    """Whether a stream is a pipe that nobody reads, which writing without a buffer has told already."""
    if not stream.isatty() and hasattr(select, "poll"):
        with contextlib.suppress(OSError, ValueError):  # a stream of a test has no file
            poll = select.poll()
            poll.register(stream.fileno(), select.POLLERR)
            return any(event & select.POLLERR for _, event in poll.poll(0))
    return False


if __name__ == "__main__":
    sys.exit(main())
