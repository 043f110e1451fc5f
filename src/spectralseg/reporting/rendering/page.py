"""The content of a page: a table, the claims or a study. Markdown, LaTeX, HTML and the report render it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectralseg.loading import read_json, reading

PROTOCOLS = {
    "published": "as the paper most likely computed the metrics, traps included; distances in pixels",
    "sound": "as current guidance asks for; distances in millimetres where the spacing is known",
}
_EXPECTED = "a page of results", "delete it and run the workflow again"


@dataclass(frozen=True)
class Entry:
    """A cell."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Line:
    """A row: its two label columns, and its entries."""

    label: str
    kind: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Block:
    """Rows under common headings. Adjacent columns of one group share a heading above; ``counts`` are the last rows."""

    title: str
    groups: tuple[str, ...]
    headings: tuple[str, ...]
    rows: tuple[Line, ...]
    counts: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of a page with its own heading; ``key`` identifies it in LaTeX labels."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A page of tables.

    Attributes:
        name: name of the table, e.g. ``table_1``.
        title: the title.
        warnings: sentences above all numbers.
        row_headings: headings of the two label columns.
        sections: the parts of the table.
        legend: explanation of the entries.
        notes: further remarks.
        lead: paragraphs below the title: first word in bold, text, and points of a list.
    """

    name: str
    title: str
    warnings: tuple[str, ...]
    row_headings: tuple[str, str]
    sections: tuple[Section, ...]
    legend: str
    notes: tuple[str, ...]
    lead: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    @property
    def heading(self) -> str:
        """``Table 1. Title`` of ``table_1``."""
        return f"{self.name.replace('_', ' ').capitalize()}. {self.title}"


def json_text(page: Page) -> str:
    """The page as JSON, from which :func:`read_page` restores it."""
    return json.dumps(dataclasses.asdict(page), ensure_ascii=False, indent=1) + "\n"


def read_page(file: Path) -> Page:
    """Read a page that was written as JSON.

    Raises:
        InputError: the file is missing or is not a valid page.
    """
    content = read_json(file, *_EXPECTED)
    with reading(file, *_EXPECTED):
        sections = tuple(
            Section(section["key"], section["title"], tuple(map(_block, section["blocks"])))
            for section in content.pop("sections")
        )
        return Page(**{key: _tuples(value) for key, value in content.items()}, sections=sections)


def _block(block: dict[str, Any]) -> Block:
    rows, counts = (
        tuple(Line(line["label"], line["kind"], tuple(Entry(**entry) for entry in line["entries"])) for line in lines)
        for lines in (block["rows"], block["counts"])
    )
    return Block(block["title"], tuple(block["groups"]), tuple(block["headings"]), rows, counts)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
