"""HTML from the templates in ``reporting/templates``, which escape all text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from spectralseg.files import replacing
from spectralseg.reporting.rendering.html_table import tables_of
from spectralseg.reporting.rendering.page import Page


def html(page: Page, picture: str = "", report: str = "") -> str:
    """A self-contained page with one heading per section.

    Args:
        page: the page.
        picture: address of a first picture; empty for none.
        report: address of the report that the page links to; empty for none.
    """
    return fill("page.html", {"page": page, "sections": tables_of(page), "picture": picture, **linked(report)})


def linked(report: str) -> dict[str, Any]:
    """Template variables of a page that links to the report of its study; ``report`` is empty for no link."""
    return {"report": report, **(script("single.js") if report else {"script": "", "script_sha256": ""})}


def script(name: str) -> dict[str, Any]:
    """A script of the templates as template variables: its text, and the checksum that lets the browser run it."""
    text = (resources.files("spectralseg.reporting") / "templates" / name).read_text(encoding="utf-8")
    checksum = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return {"script": Markup(text), "script_sha256": checksum}


def fill(template: str, content: Mapping[str, Any], **filters: Callable[..., Any]) -> str:
    """Fill a template.

    Args:
        template: name of the template.
        content: template variables and their values; a missing variable is an error.
        filters: additional filters of the template by name.
    """
    environment = Environment(
        loader=PackageLoader("spectralseg.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= filters
    return environment.get_template(template).render(content) + "\n"


def write_html(file: Path, template: str, content: Mapping[str, Any], **filters: Callable[..., Any]) -> None:
    """Fill a template, see :func:`fill`, and write the page atomically."""
    with replacing(file) as partial:
        partial.write_text(fill(template, content, **filters), encoding="utf-8")
