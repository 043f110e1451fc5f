"""The report: one self-contained page about a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from spectralseg.reporting.rendering.html import script, write_html
from spectralseg.reporting.report.sections import content
from spectralseg.reporting.report_link import REPORT
from spectralseg.reporting.results import Results


def write_report(results: Path | str, out: Path | str | None = None) -> Path:
    """Write the report of a study as one HTML page and return its path.

    The page opens from disk without a network. It shows reduced figures; its links to full figures, files of tables and
    dataset cards need the results folder. The same results give the same bytes.

    Args:
        results: the results folder. Missing tables, figures, cards, claims and comparisons are left out.
        out: folder of ``index.html``; None is ``report`` in the results folder.

    Raises:
        InputError: there are no metric records, or a file of the results is damaged.
    """
    study = Results(results)
    file = (Path(out) if out is not None else study.root / REPORT.parent) / REPORT.name
    values = {**content(study, file.parent), **script("report.js")}
    write_html(file, "report.html", values, json=_json)
    return file


def _json(value: Any) -> Markup:
    """JSON for a script element, escaped so that no text can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
