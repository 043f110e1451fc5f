"""A page as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
            lines += [*_pipe_table(block, page.row_headings), ""]
    lines += [page.legend, "", *(f"- {note}" for note in page.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _pipe_table(block: Block, row_headings: tuple[str, str]) -> Iterable[str]:
    headings = [f"{group} {heading}".strip() for group, heading in zip(block.groups, block.headings, strict=True)]
    yield _pipes([*row_headings, *headings])
    yield _pipes([":--", ":--", *("--:" for _ in headings)])
    for line in (*block.rows, *block.counts):
        yield _pipes([line.label, line.kind, *(f"**{e.text}**" if e.bold else e.text for e in line.entries)])


def _pipes(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
