"""Commands that share the studies of laboratories."""

from __future__ import annotations

import argparse
from pathlib import Path

from spectralseg.cli import values
from spectralseg.cli.command import argument, command
from spectralseg.redaction import printable


@command(
    argument("study", type=Path, help="results folder of the study, finished or partly finished, e.g. results/demo"),
    argument("--out", type=Path, metavar="FILE.zip", help="the bundle (default: bundle.zip in the results folder)"),
    argument(
        "--laboratory",
        type=values.name,
        help="name of the laboratory, unique among those that are merged (default: the name of the study)",
    ),
    argument("--licence", default="", help="licence of the records, URL or SPDX identifier, for croissant.json"),
    argument("--url", default="", help="address where the bundle will be deposited, for croissant.json"),
    argument("--date", type=values.date, help="date of publication, YYYY-MM-DD, for croissant.json"),
    example="bundle results/demo --laboratory north --out north.zip",
)
def bundle(arguments: argparse.Namespace) -> None:
    """Write a study as one archive to share, without images of cases, weights, paths and secrets."""
    from spectralseg.sharing.bundle import DEFAULT_NAME, write_bundle
    from spectralseg.sharing.croissant import Deposit

    out = arguments.out or arguments.study / DEFAULT_NAME
    deposit = Deposit(arguments.licence, arguments.url, arguments.date or "")
    print(printable(write_bundle(arguments.study, out, laboratory=arguments.laboratory or "", deposit=deposit).text()))


@command(
    argument("bundles", type=Path, nargs="+", metavar="FILE.zip", help="bundles of two laboratories or more"),
    argument("--out", type=Path, required=True, metavar="DIR", help="new folder for records, table and page"),
    argument(
        "--baseline",
        default="",
        help="objective to compare with, or architecture, or architecture/objective (default: that of the studies)",
    ),
    argument(
        "--allow-different-data",
        action="append_const",
        dest="allowed",
        const="data",
        default=[],
        help="merge although a dataset was prepared with other content; the page says so",
    ),
    argument(
        "--allow-different-versions",
        action="append_const",
        dest="allowed",
        const="version",
        help="merge although versions of the package differ whose numbers may differ; the page says so",
    ),
    example="merge north.zip south.zip --out merged",
)
def merge(arguments: argparse.Namespace) -> None:
    """Merge the bundles of several laboratories, and compare methods within and across them."""
    from spectralseg.sharing.merge import merge as run

    result = run(arguments.bundles, arguments.out, baseline=arguments.baseline, allowed=arguments.allowed)
    print(printable(result.text()))
