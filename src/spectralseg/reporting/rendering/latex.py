"""A page as LaTeX. Blocks that are too wide for a page are split by their columns."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable

from spectralseg.reporting.rendering.numbers import MINUS
from spectralseg.reporting.rendering.page import Block, Line, Page

_WIDTH = 84  # characters of all columns, besides about 25 for the labels
_FLOATS = 12  # tables between page breaks; LaTeX holds at most 18 unplaced floats


def latex(page: Page) -> str:
    """One ``table`` environment per section, or several if the section does not fit on a page."""
    lines, floats = ["% Needs \\usepackage{booktabs,graphicx}."], itertools.count(1)
    for section in page.sections:
        parts = [part for block in section.blocks for part in _parts(block)] or [Block("", (), (), ())]
        for number, part in enumerate(parts, 1):
            more = f"Part {number} of {len(parts)}" if len(parts) > 1 else ""
            titles = (f"{text}." for text in (page.title, section.title, part.title, more) if text)
            caption = " ".join((*page.warnings, *titles))
            keys = (page.name.replace("_", "-"), section.key, str(number) if number > 1 else "")
            lines += ["\\begin{table*}", "\\centering", f"\\caption{{{escape_latex(caption)}}}"]
            lines += [f"\\label{{tab:{'-'.join(key for key in keys if key)}}}", "\\footnotesize"]
            lines += ["\\setlength{\\tabcolsep}{3pt}", *(_tabular(part, page.row_headings) if part.rows else ())]
            if number == len(parts):
                notes = escape_latex(" ".join((page.legend, *page.notes)))
                lines += [f"\\parbox{{\\linewidth}}{{\\scriptsize {notes}}}"]
            lines += ["\\end{table*}", *(["\\clearpage"] if next(floats) % _FLOATS == 0 else []), ""]
    return "\n".join(lines)


def _parts(block: Block) -> Iterable[Block]:
    """A block split into parts that fit on a page; a group is split only if it is too wide by itself."""
    columns = zip(*(line.entries for line in (*block.rows, *block.counts)), strict=True)
    widths = [max(_entry_width(entry.text) for entry in entries) for entries in columns]
    first = start = 0
    for end in itertools.accumulate(len(list(run)) for _, run in itertools.groupby(block.groups)):
        if first < start and sum(widths[first:end]) > _WIDTH:
            yield _slice(block, slice(first, start))
            first = start
        while sum(widths[first:end]) > _WIDTH and end - first > 1:
            cut = first + math.ceil((end - first) / math.ceil(sum(widths[first:end]) / _WIDTH))
            yield _slice(block, slice(first, cut))
            first = cut
        start = end
    yield _slice(block, slice(first, len(widths)))


def _entry_width(text: str) -> float:
    """Width of an entry in characters; its spread is printed smaller."""
    value, spread = _split(text)
    return len(value) + 0.6 * len(spread) + 2


def _slice(block: Block, columns: slice) -> Block:
    def cut(lines: tuple[Line, ...]) -> tuple[Line, ...]:
        return tuple(Line(line.label, line.kind, line.entries[columns]) for line in lines)

    return Block(block.title, block.groups[columns], block.headings[columns], cut(block.rows), cut(block.counts))


def _tabular(block: Block, row_headings: tuple[str, str]) -> Iterable[str]:
    # Natural width if the table fits, else shrunk to the line width.
    yield "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
    yield f"\\begin{{tabular}}{{ll{'r' * len(block.headings)}}}"
    yield "\\toprule"
    spans = [(group, len(list(run))) for group, run in itertools.groupby(block.groups)]
    if any(block.groups):
        yield " & & " + " & ".join(f"\\multicolumn{{{n}}}{{c}}{{{escape_latex(g)}}}" for g, n in spans) + " \\\\"
        ends = list(itertools.accumulate(n for _, n in spans))
        yield " ".join(f"\\cmidrule(lr){{{e - n + 3}-{e + 2}}}" for (g, n), e in zip(spans, ends, strict=True) if g)
    yield " & ".join(escape_latex(text) for text in (*row_headings, *block.headings)) + " \\\\"
    yield "\\midrule"
    for line, below in itertools.zip_longest(block.rows, block.rows[1:]):
        yield _line_row(line)
        if below and below.label and not line.label:
            yield "\\addlinespace"
    if block.counts:
        yield "\\midrule"
    yield from (_line_row(line) for line in block.counts)
    yield "\\bottomrule"
    yield "\\end{tabular}}\\par\\medskip"


def _line_row(line: Line) -> str:
    texts = [escape_latex(line.label), escape_latex(line.kind)]
    texts += [f"\\textbf{{{_value(e.text)}}}" if e.bold else _value(e.text) for e in line.entries]
    return " & ".join(texts) + " \\\\"


def _value(text: str) -> str:
    """A value, with its spread or interval in smaller type."""
    value, spread = _split(text)
    return escape_latex(value) + (f"{{\\tiny\\,{escape_latex(spread.strip())}}}" if spread else "")


def _split(text: str) -> tuple[str, str]:
    start = re.search(r" ± | \[", text)
    return (text[: start.start()], text[start.start() :]) if start else (text, "")


_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "λ": r"$\lambda$",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    MINUS: "$-$",
    **{special: f"\\{special}" for special in "&%$#_{}"},
}


def escape_latex(text: str) -> str:
    """Text with LaTeX's special characters escaped and unsupported symbols replaced by commands."""
    return "".join(_ESCAPES.get(character, character) for character in text)
