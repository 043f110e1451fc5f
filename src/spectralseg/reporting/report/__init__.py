"""The report: one page about a study, which opens from disk and needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from spectralseg.reporting.rendering.html import write_html
from spectralseg.reporting.report.sections import content
from spectralseg.reporting.results import Results

NAME = "index.html"


def write_report(results: Path | str, out: Path | str | None = None) -> Path:
    """Write the report of a study as one HTML page and return its path.

    The page shows reduced figures and links to the full ones, to the files of tables and to the dataset cards, so that
    these links need the results folder beside it. The same results give the same bytes.

    Args:
        results: the results folder. Tables, figures, cards, claims and comparisons are shown as far as they are there.
        out: folder of ``index.html``; None is ``report`` in the results folder.

    Raises:
        InputError: there are no metric records, or a file of the results is damaged.
    """
    opened = Results(results)
    file = (Path(out) if out is not None else opened.root / "report") / NAME
    script = (resources.files("spectralseg.reporting") / "templates" / "report.js").read_text(encoding="utf-8")
    found = {**content(opened, file.parent), "script": Markup(script), "script_sha256": _sha256(script)}
    write_html(file, "report.html", found, json=_json)
    return file


def _sha256(script: str) -> str:
    """By which a browser knows that a script belongs to the page, so that it runs no other."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _json(value: Any) -> Markup:
    """JSON for a script element, which no text in it can end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
