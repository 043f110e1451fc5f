"""Tables of a study, read back from the Markdown that :func:`spectralseg.reporting.rendering.markdown` wrote.

Whatever notebook made a table, the report shows it as it was printed, with its warnings and remarks.
"""

from __future__ import annotations

import re
from pathlib import Path

from spectralseg.errors import InputError
from spectralseg.reporting.rendering import COUNTS, Block, Entry, Line, Page, Section


def read_table(file: Path) -> Page:
    """Read the Markdown of a table. Headings of columns begin with those of their groups, which are empty then.

    Raises:
        InputError: the file has no title, or a row has not as many cells as there are headings.
    """
    text = file.read_text(encoding="utf-8")
    heading = re.search(r"^# (?:[^.\n]*\. )?(.*)$", text, re.MULTILINE)
    if heading is None:
        raise InputError(f"{file}: has no title, so it is no table of a study; make it again or remove it")
    warnings = [line.strip("*") for line in text[: heading.start()].splitlines() if line]
    body = text[heading.end() :]
    remarks = [line for line in body.splitlines() if line and line[0] not in "#|"]
    sections = [
        Section("", title, tuple(_block(file, *block) for block in _titled("###", part) if "\n|" in block[1]))
        for title, part in _titled("##", body)
    ]
    return Page(
        name=file.stem,
        title=heading[1],
        warnings=tuple(warnings),
        row_headings=_row_headings(body),
        sections=tuple(section for section in sections if section.blocks),
        legend=" ".join(line for line in remarks if not line.startswith("- ")),
        notes=tuple(line.removeprefix("- ") for line in remarks if line.startswith("- ")),
    )


def _titled(mark: str, text: str) -> list[tuple[str, str]]:
    """Titles of one level with what follows each; first what comes before all of them, without a title."""
    parts = ["", *re.split(rf"^{mark} (.*)$", text, flags=re.MULTILINE)]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _row_headings(body: str) -> tuple[str, str]:
    first = next((_cells(line) for line in body.splitlines() if line.startswith("|")), ["", ""])
    return first[0], first[1]


def _block(file: Path, title: str, text: str) -> Block:
    headings, _, *rows = [_cells(line) for line in text.splitlines() if line.startswith("|")]
    for row in rows:
        if len(row) != len(headings):
            raise InputError(f"{file}: row '{row[0]}' has {len(row)} cells, not {len(headings)}; make the table again")
    lines = [Line(label, kind, tuple(_entry(cell) for cell in cells)) for label, kind, *cells in rows]
    return Block(
        title,
        ("",) * len(headings[2:]),
        tuple(headings[2:]),
        tuple(line for line in lines if line.label not in COUNTS),
        tuple(line for line in lines if line.label in COUNTS),
    )


def _cells(line: str) -> list[str]:
    return [cell.replace("\\|", "|") for cell in line[2:-2].split(" | ")]


def _entry(text: str) -> Entry:
    bold = len(text) > 4 and text.startswith("**") and text.endswith("**")
    return Entry(text[2:-2], True) if bold else Entry(text)
