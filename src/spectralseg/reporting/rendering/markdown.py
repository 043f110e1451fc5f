"""A page as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from spectralseg.reporting.rendering.page import Block, Page


def markdown(page: Page) -> str:
    """One heading per section, one pipe table per block."""
    lines = [line for warning in page.warnings for line in (f"**{warning}**", "")]
    lines += [f"# {page.heading}", ""]
    for word, text, points in page.lead:
        lines += [f"**{word}.** {text}", "", *(f"- {point}" for point in points), *([""] if points else [])]
    for section in page.sections:
        lines += [f"## {section.title}", ""] if section.title else []
        for block in section.blocks:
            lines += [f"### {block.title}", ""] if block.title else []
            lines += [_block_table(block, page.row_headings), ""]
    lines += [page.legend, "", *(f"- {note}" for note in page.notes)]
    return "\n".join(lines).rstrip() + "\n"


def pipe_table(headings: Sequence[str], rows: Iterable[Sequence[Any]], rules: Sequence[str] = ()) -> str:
    """A pipe table; ``rules`` align its columns, e.g. ``--:`` to the right."""
    lines = (headings, rules or ["---"] * len(headings), *rows)
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _block_table(block: Block, row_headings: tuple[str, str]) -> str:
    headings = [f"{group} {heading}".strip() for group, heading in zip(block.groups, block.headings, strict=True)]
    rows = [
        (line.label, line.kind, *(f"**{entry.text}**" if entry.bold else entry.text for entry in line.entries))
        for line in (*block.rows, *block.counts)
    ]
    return pipe_table([*row_headings, *headings], rows, [":--", ":--", *["--:"] * len(headings)])
