"""Commands that make and check datasets."""

from __future__ import annotations

import argparse
from pathlib import Path

from spectralseg.cli import values
from spectralseg.cli.command import CASE_THREADS, SPECIFICATION, SPECIFICATIONS, argument, command
from spectralseg.redaction import printable


@command(
    argument("dataset", help="name of the dataset"),
    argument("--out", type=Path, required=True, help="folder for the archives"),
    argument(
        "--cases",
        type=values.like("Phantom", "cases"),
        default=12,
        help="approximate number of training cases (default: %(default)s)",
    ),
    argument(
        "--side",
        type=values.like("Phantom", "side"),
        default=128,
        help="typical image side in pixels (default: %(default)s)",
    ),
    argument("--seed", type=values.seed, default=0, help="seed of the synthetic images (default: %(default)s)"),
    example="phantom acdc --out raw/acdc",
)
def phantom(arguments: argparse.Namespace) -> None:
    """Write a synthetic dataset in the native layout of the original."""
    from spectralseg.data.phantom_archives import deliver

    for archive in deliver(
        arguments.dataset, arguments.out, cases=arguments.cases, side=arguments.side, seed=arguments.seed
    ):
        print(printable(str(archive)))


@command(
    SPECIFICATION,
    argument("--out", type=Path, required=True, help="folder for the archives"),
    argument("--file", help="only this file of the dataset (default: all)"),
    argument(
        "--mirror",
        action="append",
        default=[],
        help="address of a folder with the same files, tried first; can be repeated",
    ),
    example="fetch workflow/rules/datasets/acdc.smk --out raw/acdc",
    closing="wrote the archives to {out}",
)
def fetch(arguments: argparse.Namespace) -> None:
    """Download the official files of a dataset."""
    from spectralseg.data.fetch import fetch as run
    from spectralseg.data.specification import read_specification

    run(read_specification(arguments.specification), arguments.out, file=arguments.file, mirrors=arguments.mirror)


@command(
    argument("encoder", help="its name in segmentation-models-pytorch or MONAI, e.g. resnet50"),
    argument("weights", help="name of its weights, e.g. imagenet"),
    argument("--model", nargs="+", default=["unet"], help="models that the encoder belongs to (default: unet)"),
    packages=("torch",),
    example="weights resnet50 imagenet",
)
def weights(arguments: argparse.Namespace) -> None:
    """Download pretrained weights of an encoder into the cache."""
    from spectralseg.prefetch import fetch_weights

    for model in arguments.model:
        fetch_weights(arguments.encoder, arguments.weights, model)


@command(
    argument(
        "--config",
        type=Path,
        default=Path("config/config.yaml"),
        help="configuration file of the study (default: %(default)s)",
    ),
    SPECIFICATIONS,
    packages=("torch",),
    example="prefetch --config config/config.yaml",
    closing="everything that {config} needs is on this machine",
)
def prefetch(arguments: argparse.Namespace) -> None:
    """Download everything that a study needs in advance: official files and pretrained encoder weights."""
    from spectralseg.config import load_config
    from spectralseg.data.specification import read_specifications
    from spectralseg.prefetch import prefetch as run

    specifications = read_specifications(arguments.datasets)
    run(load_config(arguments.config, specifications), specifications)


@command(
    SPECIFICATION,
    argument("--raw", type=Path, required=True, help="archive, folder of archives, or folder in the official layout"),
    argument("--out", type=Path, required=True, help="folder of the prepared dataset"),
    argument(
        "--image-size",
        type=values.like("Config", "image_size", least=1),
        default=224,
        help="side of the images in pixels (default: %(default)s)",
    ),
    argument(
        "--source",
        choices=["official", "phantom", "path"],
        default="path",
        help="source of the raw files, which is recorded (default: %(default)s)",
    ),
    argument(
        "--split", help="alternative split of the dataset file, or a .csv file (default: the dataset's own split)"
    ),
    argument(
        "--validation",
        type=values.like("Config", "validation"),
        default=0.1,
        help="share of training groups held out, at least one group (default: %(default)s)",
    ),
    argument("--allow-partial", action="store_true", help="accept a subset of the official cases"),
    argument("--full-decoding", action="store_true", help="decode large JPEG images at full size, which is slower"),
    CASE_THREADS,
    example="prepare workflow/rules/datasets/acdc.smk --raw raw/acdc --out data/acdc",
    closing="wrote the prepared dataset to {out}",
)
def prepare(arguments: argparse.Namespace) -> None:
    """Convert raw files to a prepared dataset."""
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


@command(
    argument("folder", type=Path, help="folder or archive of images with masks"),
    argument("--name", type=values.name, help="name of the dataset (default: that of the folder)"),
    argument("--out", type=Path, help="dataset file (default: workflow/rules/datasets/NAME.smk)"),
    example="new-dataset photographs --name polyps",
)
def new_dataset(arguments: argparse.Namespace) -> None:
    """Look at a folder of images with masks and write its dataset file, to be read and corrected."""
    from spectralseg.data.new_dataset import new_dataset as run

    print(printable(run(arguments.folder, arguments.name, arguments.out).text()))


@command(
    argument("folder", type=Path, nargs="+", help="prepared dataset"),
    example="verify-dataset data/acdc",
)
def verify_dataset(arguments: argparse.Namespace) -> None:
    """Verify the integrity of prepared datasets."""
    from spectralseg.data import verify_prepared

    for folder in arguments.folder:
        parts = verify_prepared(folder)
        print(printable(f"{folder}: " + ", ".join(f"{count} {part}" for part, count in sorted(parts.items()))))


@command(
    argument("prepared", type=Path, help="prepared dataset"),
    argument("--out", type=Path, required=True, help="HTML file"),
    packages=("matplotlib",),
    example="card data/acdc --out acdc.html",
    closing="wrote {out}",
)
def card(arguments: argparse.Namespace) -> None:
    """Write an HTML page that describes a prepared dataset."""
    from spectralseg.reporting.cards import write_card

    write_card(arguments.prepared, arguments.out)


@command(
    argument("folder", type=Path, nargs="+", help="prepared dataset"),
    argument(
        "--out", type=Path, required=True, help="parquet file; .csv and *_development files are written beside it"
    ),
    argument(
        "--fail-on-leakage",
        action="store_true",
        help="exit with status 1 if test cases match training or validation data of the same study",
    ),
    example="leakage data/isic2018 data/isic2017 --out leakage.parquet",
)
def leakage(arguments: argparse.Namespace) -> None:
    """Find leaked test and validation cases: same image as in the training data, near-duplicate, or same patient."""
    from spectralseg.data import open_prepared
    from spectralseg.data.audit_datasets import audit_datasets

    leaks = audit_datasets([open_prepared(folder) for folder in arguments.folder])
    leaks.write(arguments.out)
    print(*(f"{printable(finding)}\n" for finding in leaks.findings()), sep="", end="")
    print(f"{arguments.out}: {len(leaks.pairs)} pairs of datasets compared, {len(leaks.matching)} with matches")
    if arguments.fail_on_leakage:
        leaks.refuse()
