"""HTML from the templates in ``reporting/templates``, which escape all text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from spectralseg.files import replacing
from spectralseg.reporting.rendering.html_table import tables_of
from spectralseg.reporting.rendering.page import Page


def html(page: Page, picture: str = "") -> str:
    """A self-contained page with one heading per section; ``picture`` is the address of an optional first picture."""
    return fill("page.html", {"page": page, "sections": tables_of(page), "picture": picture})


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
