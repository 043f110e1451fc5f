"""HTML pages from templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from spectralseg.files import replacing


def write_page(file: Path, template: str, content: Mapping[str, Any], **filters: Callable[..., Any]) -> None:
    """Fill a template of ``reporting/templates``, which escapes all text, and write the page, complete or not at all.

    Args:
        file: the page.
        template: name of the template.
        content: what its variables stand for; a missing one is an error.
        filters: further filters of the template by name.
    """
    environment = Environment(
        loader=PackageLoader("spectralseg.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= filters
    page = environment.get_template(template).render(content)
    with replacing(file) as partial:
        partial.write_text(page + "\n", encoding="utf-8")
