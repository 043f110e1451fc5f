"""Commands for methods that this suite does not train."""

from __future__ import annotations

import argparse
from pathlib import Path

from spectralseg.cli import values
from spectralseg.cli.command import CONFIG, DATA, argument, command, requeue
from spectralseg.cli.runs import TIME_LIMIT, deadline_of

METHOD = argument("--method", required=True, help="name under 'external' in the configuration")
EXPORTED = argument(
    "--exported", type=Path, nargs="+", required=True, metavar="DIR", help="the dataset as written by export-nnunet"
)
SHARED = argument(
    "--shared", type=Path, required=True, metavar="DIR", help="folder of the method and dataset for all seeds"
)
ENVIRONMENT = argument("--environment", type=Path, metavar="DIR", help="virtual environment of the method")
THREADS = argument(
    "--threads", type=values.threads, default=4, help="threads that the command may use (default: %(default)s)"
)


@command(
    CONFIG,
    METHOD,
    EXPORTED,
    SHARED,
    ENVIRONMENT,
    THREADS,
    example="prepare-external --config config/nnunet.yaml --method nnunet --exported hearts --shared nnunet",
    closing="prepared {method} in {shared}",
)
def prepare_external(arguments: argparse.Namespace) -> None:
    """Run the command of an external method that prepares a dataset."""
    from spectralseg.config import load_config
    from spectralseg.exchange.external import method_of, prepare
    from spectralseg.locks import only_writer
    from spectralseg.operations.heartbeat import heartbeat

    with heartbeat(arguments.shared, "prepare"), only_writer(arguments.shared, f"preparation for {arguments.method}"):
        method = method_of(load_config(arguments.config), arguments.method, str(arguments.config))
        options = {"threads": arguments.threads, "environment": arguments.environment}
        prepare(arguments.method, method, arguments.exported[0], arguments.shared, **options)


@command(
    CONFIG,
    DATA,
    METHOD,
    EXPORTED,
    SHARED,
    argument("--seed", type=values.seed, default=0, help="seed that the command gets (default: %(default)s)"),
    argument("--out", type=Path, required=True, help="run folder"),
    ENVIRONMENT,
    THREADS,
    TIME_LIMIT,
    requeue,
    packages=("torch",),
    example="train-external --config config/nnunet.yaml --data data/acdc --method nnunet "
    "--exported hearts --shared nnunet --out run",
    closing="wrote the run to {out}",
)
def train_external(arguments: argparse.Namespace) -> None:
    """Run the command of an external method that trains, or resumes, one run."""
    deadline = deadline_of(arguments.time_limit)

    from spectralseg.config import EXTERNAL, load_config
    from spectralseg.data import open_prepared
    from spectralseg.exchange.external import method_of, train
    from spectralseg.grid import Run
    from spectralseg.locks import only_writer
    from spectralseg.operations.heartbeat import heartbeat
    from spectralseg.operations.leases import device_lease

    with heartbeat(arguments.out, "train"):
        config, data = load_config(arguments.config), open_prepared(arguments.data)
        method_of(config, arguments.method, str(arguments.config))
        run = Run(data.name, arguments.method, EXTERNAL, "0", arguments.seed)
        with (
            only_writer(arguments.out, f"training of {run.folder}", deadline),
            device_lease("auto", config.runs_per_gpu),
        ):
            train(
                config,
                run,
                data,
                arguments.exported[0],
                arguments.shared,
                arguments.out,
                threads=arguments.threads,
                environment=arguments.environment,
                deadline=deadline,
            )


@command(
    CONFIG,
    DATA,
    argument("--run", type=Path, required=True, help="run folder"),
    argument("--ood", type=Path, nargs="*", default=[], help="prepared out-of-distribution datasets"),
    argument(
        "--exported",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="the dataset, and then each of --ood, as written by export-nnunet",
    ),
    SHARED,
    ENVIRONMENT,
    THREADS,
    requeue,
    packages=("cv2",),
    example="evaluate-external --config config/nnunet.yaml --data data/acdc --run run "
    "--exported hearts --shared nnunet",
    closing="evaluated {run}",
)
def evaluate_external(arguments: argparse.Namespace) -> None:
    """Predict with the command of an external method, and score the predictions like those of a run."""
    from spectralseg.config import load_config
    from spectralseg.data import open_prepared
    from spectralseg.exchange.external import evaluate
    from spectralseg.locks import only_writer
    from spectralseg.operations.heartbeat import heartbeat
    from spectralseg.operations.leases import device_lease

    with heartbeat(arguments.run, "evaluate"):
        config = load_config(arguments.config)
        data, partners = open_prepared(arguments.data), [open_prepared(partner) for partner in arguments.ood]
        with (
            only_writer(arguments.run, f"evaluation of {arguments.run.resolve()}"),
            device_lease("auto", config.runs_per_gpu),
        ):
            evaluate(
                config,
                arguments.run,
                data,
                partners,
                arguments.exported,
                arguments.shared,
                threads=arguments.threads,
                environment=arguments.environment,
            )
