"""Commands that collect, compare and report the results of a study."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from spectralseg.cli import values
from spectralseg.cli.command import JSON, argument, command
from spectralseg.redaction import printable
from spectralseg.repository import repository_path

_RESULTS = argument("results", type=Path, help="results folder of the study, e.g. results/demo")


@command(
    argument("runs", type=Path, help="folder of the runs"),
    argument("--config", type=Path, required=True, help="configuration file, whose grid lists the runs to collect"),
    argument("--unfinished", action="store_true", help="leave out runs that are not evaluated, and count them"),
    argument("--out", type=Path, required=True, help="parquet file"),
    example="collect results/demo/runs --config config/demo.yaml --out records.parquet",
    closing="wrote the metric records to {out}",
)
def collect(arguments: argparse.Namespace) -> None:
    """Collect the metric records of all runs of a study in one file."""
    from spectralseg.config import load_config
    from spectralseg.evaluation.collect import collect as run

    run(load_config(arguments.config), arguments.runs, arguments.out, unfinished=arguments.unfinished)


@command(
    argument("records", type=Path, nargs="+", help="files of metric records, e.g. of a study and of 'score'"),
    argument("--config", type=Path, help="configuration file, whose section 'comparison' applies"),
    argument(
        "--baseline",
        help="objective to compare with, or architecture, or architecture/objective (default: objective of --config, "
        "else spatial)",
    ),
    argument(
        "--margin",
        type=values.margin,
        help="equivalence margin of metrics between 0 and 1 (default: that of --config, else 0.005)",
    ),
    argument("--out", type=Path, required=True, help="parquet file"),
    example="compare records.parquet --baseline spatial --out comparisons.parquet",
    closing="wrote the comparisons to {out}",
)
def compare(arguments: argparse.Namespace) -> None:
    """Compare methods with a baseline, with confidence intervals over seeds and patients."""
    from spectralseg.config import Comparison, load_config
    from spectralseg.statistics.comparison import compare as run
    from spectralseg.statistics.margins import Margins

    config = load_config(arguments.config) if arguments.config else None
    settings = config.comparison if config else Comparison()
    baseline = arguments.baseline or (config.baseline if config else "spatial")
    share_margin = settings.margin if arguments.margin is None else arguments.margin
    unpaired = run(arguments.records, baseline, arguments.out, Margins(share_margin, settings.margins))
    print(*map(printable, unpaired), sep="\n", end="\n" if unpaired else "")


@command(
    _RESULTS,
    argument("--published", type=repository_path, required=True, help="folder of the papers, config/published"),
    argument("--out", type=Path, help="folder for the verdicts (default: the results folder)"),
    example="claims results/demo --published config/published",
)
def claims(arguments: argparse.Namespace) -> None:
    """Test the claims of papers against the records of a study."""
    from spectralseg.reporting.claim_verdicts import build_claim_verdicts
    from spectralseg.reporting.results import Results

    folder = arguments.out or arguments.results
    build_claim_verdicts(Results(arguments.results), arguments.published).write(folder)
    print(f"wrote {printable(str(folder / 'claims.html'))} and the CSV files beside it")


@command(
    argument(
        "results", type=Path, nargs="?", help="results folder of the study (default: rewrite the page from --out)"
    ),
    argument(
        "--published",
        type=repository_path,
        default="config/published",
        help="folder of the papers (default: %(default)s)",
    ),
    argument(
        "--tuning", type=Path, nargs="*", default=[], help="results folders of the studies that selected the training"
    ),
    argument("--out", type=Path, required=True, help="folder for the CSV files; the page is written beside it"),
    packages=("matplotlib",),
    example="findings results/demo --out findings",
)
def findings(arguments: argparse.Namespace) -> None:
    """Write the findings of a study as a page, with CSV files of all its numbers."""
    from spectralseg.reporting.findings import extract, write_page
    from spectralseg.reporting.results import Results

    folder = arguments.out.absolute()
    page = folder.with_name(f"{folder.name}.md")
    if arguments.results:
        extract(Results(arguments.results, arguments.published), arguments.tuning, folder)
    write_page(folder, page)
    print(page)


@command(
    argument("table", help="name of the table, e.g. table_1"),
    argument("row", help="heading of the row, e.g. 'UNet(ours)'"),
    argument("column", help="heading of the column, after those above it where it is ambiguous: 'ACDC DSC'"),
    argument("--results", type=Path, required=True, help="results folder of the study"),
    argument(
        "--protocol",
        choices=("published", "sound"),
        default="sound",
        help="metric protocol of the number (default: %(default)s)",
    ),
    argument("--line", default="measured", help="line of the row, measured or leak-free (default: %(default)s)"),
    example="trace table_1 'UNet(ours)' 'ACDC DSC' --results results/demo",
)
def trace(arguments: argparse.Namespace) -> None:
    """Show the runs and records behind a number in a table."""
    from spectralseg.reporting.results import Results
    from spectralseg.reporting.trace import trace as run

    cell = (arguments.table, arguments.row, arguments.column)
    print(printable(run(Results(arguments.results), *cell, protocol=arguments.protocol, line=arguments.line).text()))


@command(
    argument("file", type=Path, nargs="+", help="text with results tables, - for standard input"),
    argument(
        "--format",
        choices=["markdown", "latex", "tsv", "semicolon", "csv"],
        help="format of the tables (default: recognised from the content)",
    ),
    argument("--claims", type=Path, help="CSV file of claims about the tables (default: only audit the tables)"),
    argument("--unit", choices=["percent", "share"], help="unit of the values (default: percent if any is above 1)"),
    argument("--out", type=Path, help="CSV file of the findings (default: none)"),
    JSON,
    failure=2,
    example="audit-table table.csv --unit percent",
)
def audit_table(arguments: argparse.Namespace) -> None:
    """Find inconsistent numbers in results tables; exit with status 1 for findings, 2 for unreadable tables."""
    from spectralseg.published.consistency import audit

    report = audit(arguments.file, claims=arguments.claims, unit=arguments.unit, form=arguments.format)
    if arguments.out:
        report.write(arguments.out)
    print(json.dumps(report.as_json(), indent=2) if arguments.json else printable(report.text()))
    report.refuse()


@command(
    _RESULTS,
    argument("--out", type=Path, help="folder for index.html (default: report/ in the results folder)"),
    packages=("matplotlib",),
    example="report results/demo",
)
def report(arguments: argparse.Namespace) -> None:
    """Write the report of a study: one HTML page that works offline."""
    from spectralseg.reporting.report import write_report

    print(write_report(arguments.results, arguments.out))
