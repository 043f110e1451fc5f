"""Commands that train, evaluate and export models, or score predictions."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectralseg.cli import values
from spectralseg.cli.command import (
    CASE_THREADS,
    CHECKPOINT,
    CONFIG,
    DATA,
    DEVICE,
    RUN,
    SPECIFICATION,
    TORCH_THREADS,
    argument,
    command,
    requeue,
)
from spectralseg.redaction import printable

if TYPE_CHECKING:
    from spectralseg.config import Config
    from spectralseg.data import PreparedDataset

TIME_LIMIT = argument(
    "--time-limit",
    type=values.duration,
    help="save a checkpoint and stop within MINUTES, H:MM:SS or D-HH:MM:SS (default: the limit of the SLURM job)",
)


@command(
    CONFIG,
    DATA,
    DEVICE,
    TORCH_THREADS,
    argument("--name", required=True, help="name under 'pretraining' in the configuration"),
    argument("--out", type=Path, required=True, help="folder for weights, description and training log"),
    TIME_LIMIT,
    requeue,
    packages=("torch",),
    example="pretrain --config config/lesions.yaml --data data/atlas --name mae_50 --out pretraining",
    closing="wrote weights, description and training log to {out}",
)
def pretrain(arguments: argparse.Namespace) -> None:
    """Train a masked autoencoder on the training part of a dataset, or resume it if it was interrupted."""
    deadline = deadline_of(arguments.time_limit)  # first, as the imports below take seconds

    from spectralseg.config import load_config
    from spectralseg.data import open_prepared
    from spectralseg.errors import InputError
    from spectralseg.operations.heartbeat import heartbeat
    from spectralseg.registry import suggest

    with heartbeat(arguments.out, "pretrain"):
        config, data = load_config(arguments.config), open_prepared(arguments.data)
        if arguments.name not in config.pretraining:
            valid = suggest(arguments.name, config.pretraining) if config.pretraining else "add it"
            raise InputError(f"{arguments.config}: '{arguments.name}' is not under 'pretraining'; {valid}")
        with _training(arguments, config, f"pretraining {data.name}/{arguments.name}", deadline) as options:
            from spectralseg.training.pretraining import pretrain as run  # imports torch

            run(config, arguments.name, data, arguments.out, **options)
            _show_residual_maps(arguments, data)


@contextmanager
def _training(
    arguments: argparse.Namespace, config: Config, what: str, deadline: float | None
) -> Iterator[dict[str, Any]]:
    """Wait to be the only writer of the output folder and for a device; yields options of the training.

    Enter it before torch is imported, which reads the choice of device.
    """
    from spectralseg.locks import only_writer
    from spectralseg.operations.leases import device_lease

    with (
        only_writer(arguments.out, what, deadline) as waited,
        device_lease(arguments.device, config.runs_per_gpu) as leased,
    ):
        limit_threads(arguments.threads)
        share = config.runs_per_gpu if leased else 1
        yield {"device_name": arguments.device, "share": share, "deadline": deadline, "keep_finished": waited}


def _show_residual_maps(arguments: argparse.Namespace, data: PreparedDataset) -> None:
    """Measure the residual maps of a pretraining, and draw examples, beside its weights."""
    from spectralseg.evaluation.residual_maps import map_quality
    from spectralseg.files import replacing
    from spectralseg.reporting.drawing.residual_maps import draw_residual_maps
    from spectralseg.run_folder import WEIGHTS
    from spectralseg.torch_setup import choose_device

    quality, examples = map_quality(arguments.out / WEIGHTS, data, choose_device(arguments.device))
    figure = draw_residual_maps(examples, f"{data.name}: {arguments.name}")
    with replacing(arguments.out / "map_quality.csv") as table:
        quality.to_csv(table, index=False)
    with replacing(arguments.out / "residual_maps.png") as picture:
        figure.savefig(picture, format="png", dpi=150)
    print(printable(quality.groupby("map")["auroc"].mean().round(3).to_string()) if len(quality) else "no foreground")


@command(
    CONFIG,
    DATA,
    DEVICE,
    TORCH_THREADS,
    argument("--architecture", required=True, help="name in the configuration"),
    argument("--objective", required=True, help="name in the configuration"),
    argument(
        "--lambda",
        dest="lam",
        help="weight λ of the auxiliary term, as in the configuration (required with such a term, else 0)",
    ),
    argument(
        "--seed",
        type=values.seed,
        default=0,
        help="seed of weights, data order and augmentation (default: %(default)s)",
    ),
    argument("--out", type=Path, required=True, help="run folder"),
    argument(
        "--pretrained",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="model.pt of each pretraining that the architecture names, in this order",
    ),
    TIME_LIMIT,
    requeue,
    packages=("torch",),
    example="train --config config/demo.yaml --data data/acdc --architecture unet --objective spatial --out run",
    closing="wrote weights, description and training log to {out}",
)
def train(arguments: argparse.Namespace) -> None:
    """Train one run, or resume it if it was interrupted."""
    deadline = deadline_of(arguments.time_limit)  # first, as the imports below take seconds

    from spectralseg.config import load_config
    from spectralseg.data import open_prepared
    from spectralseg.grid import Run, check_run, lambda_of
    from spectralseg.operations.heartbeat import heartbeat

    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # compute nodes have no network: weights are in the cache
    with heartbeat(arguments.out, "train"):
        config, data = load_config(arguments.config), open_prepared(arguments.data)
        lam = lambda_of(config, arguments.objective, arguments.lam, str(arguments.config))
        identity = Run(data.name, arguments.architecture, arguments.objective, lam, arguments.seed)
        check_run(config, identity, str(arguments.config))
        with _training(arguments, config, f"training of {identity.folder}", deadline) as options:
            from spectralseg.training.loop import train as run  # imports torch

            run(config, identity, data, arguments.out, pretrained=arguments.pretrained, **options)


def deadline_of(time_limit: float | None) -> float | None:
    """The value of ``time.monotonic()`` at which this process must have ended; None without any limit."""
    from spectralseg import slurm

    limits = [seconds for seconds in (time_limit, slurm.time_left()) if seconds is not None]
    return time.monotonic() + min(limits) if limits else None


def limit_threads(threads: int | None) -> None:
    """Set the number of CPU threads of torch and OpenCV; None leaves both at their defaults."""
    if threads:
        import cv2
        import torch

        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)  # OpenCV would use all cores, including those of other jobs


@command(
    CONFIG,
    DATA,
    DEVICE,
    TORCH_THREADS,
    requeue,
    argument("--run", type=Path, required=True, help="run folder"),
    argument("--ood", type=Path, nargs="*", default=[], help="prepared out-of-distribution datasets"),
    argument("--out", type=Path, help="folder for records and examples (default: the run folder)"),
    packages=("torch",),
    example="evaluate --config config/demo.yaml --data data/acdc --run run",
    closing="evaluated {run}",
)
def evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate a trained run in every suite of the configuration."""
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

            limit_threads(arguments.threads)
            run(arguments.run, data, partners, config.evaluation, out, device_name=arguments.device)


@command(
    RUN,
    DATA,
    argument("--out", type=Path, required=True, help="new folder for one NIfTI or PNG file per case"),
    CHECKPOINT,
    DEVICE,
    TORCH_THREADS,
    packages=("torch",),
    example="predict run --data data/acdc --out predictions",
    closing="wrote the predictions to {out}",
)
def predict(arguments: argparse.Namespace) -> None:
    """Write the predictions of a trained run for the test cases of a dataset, in native geometry."""
    from spectralseg.data import open_prepared
    from spectralseg.operations.leases import device_lease

    data = open_prepared(arguments.data)
    with device_lease(arguments.device):
        from spectralseg.exchange.predictions import predict as run

        limit_threads(arguments.threads)
        run(arguments.run, data, arguments.out, checkpoint=arguments.checkpoint, device_name=arguments.device)


@command(
    SPECIFICATION,
    argument("--raw", type=Path, required=True, help="raw files that the dataset was prepared from"),
    DATA,
    argument("--out", type=Path, required=True, help="new folder, named as in nnUNet_raw/Dataset501_Polyps"),
    CASE_THREADS,
    example="export-nnunet workflow/rules/datasets/acdc.smk --raw raw/acdc --data data/acdc --out Dataset501_Hearts",
    closing="wrote {out}",
)
def export_nnunet(arguments: argparse.Namespace) -> None:
    """Write a dataset with its split in the raw layout of nnU-Net v2."""
    from spectralseg.data import open_prepared
    from spectralseg.data.specification import read_specification
    from spectralseg.exchange.nnunet import export_nnunet as run

    specification, data = read_specification(arguments.specification), open_prepared(arguments.data)
    run(specification, arguments.raw, data, arguments.out, threads=arguments.threads)


@command(
    RUN,
    argument("--data", type=Path, required=True, help="prepared dataset that the run was trained on"),
    argument("--out", type=Path, required=True, help="new folder for the model and its model card"),
    argument("--format", choices=["onnx", "torchscript"], default="onnx", help="file format (default: %(default)s)"),
    CHECKPOINT,
    example="export-model run --data data/acdc --out model",
)
def export_model(arguments: argparse.Namespace) -> None:
    """Export a trained model to ONNX or TorchScript, with a parity check and a model card."""
    from spectralseg.data import open_prepared
    from spectralseg.exchange.models import export_model as run

    data = open_prepared(arguments.data)
    parity = run(arguments.run, data, arguments.out, kind=arguments.format, checkpoint=arguments.checkpoint)
    print(f"{arguments.out}: differs from the original by at most {parity.error:.1e} on {parity.images} images")
