"""The link from a page of a study to its report."""

from __future__ import annotations

import os
from pathlib import Path

REPORT = Path("report") / "index.html"


def report_link(folder: Path | str) -> str:
    """Relative address of the report for a page in a folder; empty if the page belongs to no study with a report.

    A study has a report if its file exists, or if the results folder has a configuration: the workflow then writes the
    report last.

    Args:
        folder: of the page: a results folder, or a folder in it such as ``tables``.
    """
    folder = Path(folder).resolve()
    for root in (folder, folder.parent):
        results = any((root / name).exists() for name in ("records.parquet", "prepared"))
        if (root / REPORT).is_file() or ((root / "config.yaml").is_file() and results):
            return Path(os.path.relpath(root / REPORT, folder)).as_posix()
    return ""
