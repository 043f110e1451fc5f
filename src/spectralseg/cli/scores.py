"""The command that scores predictions."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spectralseg.cli import values
from spectralseg.cli.command import argument, command
from spectralseg.redaction import printable

if TYPE_CHECKING:
    import pandas as pd

    from spectralseg.exchange.prediction_folders import PredictionFolder

# Options that apply to one of the two kinds of references only, with their defaults.
_OF_FOLDERS: dict[str, object] = {"labels": [], "spacing": [], "groups": None, "name": None, "lesions": False}
_OF_PREPARED: dict[str, object] = {"leakage": None}


class _Scored(NamedTuple):
    records: pd.DataFrame
    findings: list[tuple[str, str, tuple[str, ...]]]
    leaks: set[str]
    in_mm: bool
    remarks: list[str]


def references(parser: argparse.ArgumentParser) -> None:
    """The options ``--reference`` and ``--data``, of which one must be given."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument(
        "--reference", type=Path, metavar="DIR", help="folder of reference NIfTI, PNG, TIFF or BMP files"
    )
    group.add_argument("--data", type=Path, help="prepared dataset, whose test cases are the references")


@command(
    references,
    argument(
        "--predictions",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders of label files named by case id, one per method, or with a folder seed0, seed1, ... per seed",
    ),
    argument("--out", type=Path, metavar="FILE", help="also write the metric records to this parquet file"),
    argument("--report", type=Path, metavar="DIR", help="folder for the report: HTML, Markdown, JSON and CSV files"),
    argument(
        "--method",
        type=values.name,
        nargs="+",
        default=[],
        help="name of the method of each folder, recorded as the architecture (default: the name of the folder)",
    ),
    argument(
        "--seed-pattern",
        metavar="REGEX",
        help="where names of folders have the seed, in parentheses, such as '_s([0-9]+)$'; the rest of the name is the "
        "method (default: folders called seed<N>)",
    ),
    argument("--seed", type=values.seed, default=0, help="seed of folders whose name has none (default: %(default)s)"),
    argument("--objective", type=values.name, default="external", help="objective to record (default: %(default)s)"),
    argument(
        "--trained-on", type=values.name, help="dataset that the methods were trained on (default: the tested dataset)"
    ),
    argument("--allow-missing", action="store_true", help="leave out, and count, cases without a file"),
    argument("--baseline", metavar="NAME", help="method that the others are compared with (default: the first one)"),
    argument(
        "--margin",
        type=values.margin,
        help="equivalence margin of metrics between 0 and 1 (default: 0.005)",
    ),
    argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="VALUE=NAME",
        help="classes of the label files of --reference (default: those of nnU-Net's dataset.json beside them, or one "
        "class if there is one value)",
    ),
    argument(
        "--groups",
        metavar="RULE",
        help="patients of --reference: regular expression with the patient in parentheses, searched in each id, or a "
        "CSV file with the columns case and group (default: each case its own)",
    ),
    argument(
        "--spacing",
        type=values.positive_number(1e6),
        nargs="+",
        default=[],
        metavar="MM",
        help="pixel size of images of --reference: one number, or two for rows and columns (default: pixels)",
    ),
    argument(
        "--name",
        type=values.name,
        help="name of the dataset of --reference to record (default: that of the folder; of the one above for labelsTr "
        "and labelsTs)",
    ),
    argument("--lesions", action="store_true", help="with --reference, also compute lesion metrics and volumes"),
    argument(
        "--leakage", type=Path, help="with --data, leakage.parquet of an audit: also report means without leaked cases"
    ),
    example="score --reference labels --predictions unet nnunet --out records.parquet --report report",
)
def score(arguments: argparse.Namespace) -> None:
    """Score folders of predictions against references, compare the methods and audit the files."""
    from spectralseg.exchange.prediction_folders import prediction_folders
    from spectralseg.files import replacing, write_parquet
    from spectralseg.reporting.scores import build_score_report
    from spectralseg.statistics.margins import Margins

    _refuse_other_options(arguments)
    folders = prediction_folders(arguments.predictions, arguments.method, arguments.seed_pattern, arguments.seed)
    _refuse_other_baseline(arguments.baseline, folders)
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(replacing(arguments.out)) if arguments.out else None  # fails before the work
        scored = (_of_folders if arguments.reference else _of_prepared)(arguments, folders)
        if out:
            write_parquet(out, scored.records)
    report = build_score_report(
        scored.records,
        scored.findings,
        baseline=arguments.baseline,
        margins=Margins() if arguments.margin is None else Margins(arguments.margin),
        leaks=scored.leaks,
        in_mm=scored.in_mm,
        remarks=scored.remarks,
    )
    print(*map(printable, report.text().split("\n")), sep="\n")
    if arguments.report:
        report.write(arguments.report)
        print(printable(str(arguments.report / "scores.html")))


def _refuse_other_options(arguments: argparse.Namespace) -> None:
    from spectralseg.errors import InputError

    given, other = ("--reference", "--data") if arguments.reference else ("--data", "--reference")
    for name, default in (_OF_PREPARED if arguments.reference else _OF_FOLDERS).items():
        if getattr(arguments, name) != default:
            raise InputError(f"--{name}: applies to {other} only; remove it, or replace {given} by {other}")


def _refuse_other_baseline(baseline: str | None, folders: list[PredictionFolder]) -> None:
    from spectralseg.errors import InputError
    from spectralseg.registry import suggest

    methods = dict.fromkeys(folder.method for folder in folders)
    if baseline is not None and baseline not in methods:
        raise InputError(f"--baseline '{baseline}': is not a method of --predictions; {suggest(baseline, methods)}")


def _of_folders(arguments: argparse.Namespace, folders: list[PredictionFolder]) -> _Scored:
    from spectralseg.exchange.class_labels import parse_labels
    from spectralseg.exchange.folder_scoring import score_folders
    from spectralseg.exchange.references import open_references

    opened = open_references(
        arguments.reference,
        labels=parse_labels(arguments.labels) if arguments.labels else None,
        name=arguments.name,
        groups=arguments.groups,
        spacing=arguments.spacing,
    )
    scores = score_folders(
        opened,
        folders,
        objective=arguments.objective,
        trained_on=arguments.trained_on,
        allow_missing=arguments.allow_missing,
        lesions=arguments.lesions,
    )
    remarks = []
    if arguments.groups is None:
        remarks.append(
            "Each case counts as a patient of its own, as --groups is not given; with several cases per patient, "
            "intervals are too narrow."
        )
    findings = [(where, what, names) for where, what, names in scores.findings]
    return _Scored(scores.records, findings, set(), opened.in_mm, remarks)


def _of_prepared(arguments: argparse.Namespace, folders: list[PredictionFolder]) -> _Scored:
    import pandas as pd

    from spectralseg.data import open_prepared
    from spectralseg.data.audit import read_audit
    from spectralseg.exchange.scoring import score_prepared
    from spectralseg.grid import Run

    data = open_prepared(arguments.data)
    audit = read_audit(arguments.leakage) if arguments.leakage else None
    frames, findings, leaks = [], [], set[str]()
    for folder in folders:
        dataset = arguments.trained_on or data.name
        method = Run(dataset, folder.method, arguments.objective, "0", folder.seed)
        scores = score_prepared(folder.path, data, method, allow_missing=arguments.allow_missing, audit=audit)
        frames.append(scores.records)
        findings += [(folder.label, finding, tuple[str, ...]()) for finding in scores.findings]
        leaks |= scores.leaks or set()
    remarks = ["Calibration metrics are left out: they need probabilities."]
    if audit is None:
        remarks.append("Leakage of test cases was not checked; give --leakage.")
    tested = data.cases[data.cases["part"] == "test"]
    return _Scored(
        pd.concat(frames, ignore_index=True), findings, leaks, bool((tested["spacing"] != "").all()), remarks
    )
