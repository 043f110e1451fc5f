"""Tables as text: Markdown, LaTeX and HTML, all from the same blocks."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.statistics.bootstrap import ENOUGH_GROUPS, FAILURE_RATE
from spectralseg.statistics.significance import fewest_seeds

PROTOCOLS = {
    "published": "as the paper most likely computed the metrics, traps included; distances in pixels",
    "sound": "as current guidance asks for; distances in millimetres where the spacing is known",
}
NO_RUN = "–"
MINUS = "−"
UNDEFINED = "undef."
LEGEND = (
    "Measured: per seed the mean over cases with a defined value, then over classes; mean ± standard deviation over "
    "seeds where there are several. Below: measured less published, and less the baseline for the same seeds and "
    "cases, each with its 95 % interval over seeds and patients; with one seed it is over patients only. "
    f"{NO_RUN} no run; {UNDEFINED} no case has a defined value. Bold: published as printed; measured if better than "
    f"every other of the column by more than chance, which fewer than {fewest_seeds()} seeds cannot show; adjusted by "
    "Holm for the number of columns under the protocol, so that the chance of any false mark among them is at most 5 %."
)
_Cell = Mapping[Any, Any]  # a row of a table of cells
_LATEX_WIDTH = 84  # characters of all columns, beside some 25 for the labels
_FLOATS = 12  # tables in a row; LaTeX holds 18 until it finds a place for them
_LONG = 26  # texts of more characters are wrapped


@dataclass(frozen=True)
class Entry:
    """Text of a cell."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Line:
    """A row: its label, what its second column says, and its entries."""

    label: str
    kind: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Block:
    """Rows under common headings; neighbouring columns of one group share a heading above. ``counts`` stand below."""

    title: str
    groups: tuple[str, ...]
    headings: tuple[str, ...]
    rows: tuple[Line, ...]
    counts: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading of its own; ``key`` distinguishes it in labels."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A table as text, the common ground of Markdown, LaTeX and HTML.

    Attributes:
        name: name of the table, e.g. ``table_1``.
        title: its title.
        warnings: what a reader must know before any number.
        row_headings: headings of the two label columns.
        sections: the parts of the table.
        legend: how to read the entries.
        notes: further remarks.
        lead: paragraphs below the title: the word that one starts with, its text, and points that follow as a list.
    """

    name: str
    title: str
    warnings: tuple[str, ...]
    row_headings: tuple[str, str]
    sections: tuple[Section, ...]
    legend: str
    notes: tuple[str, ...]
    lead: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


def few_patients(effective_groups: Iterable[float]) -> tuple[str, ...]:
    """What to know of the intervals over some effective numbers of patients, nothing where there are enough or none."""
    few = sorted({int(count) for count in effective_groups if 0 < count < ENOUGH_GROUPS})
    if not few:
        return ()
    share = f"{100 * (1 - FAILURE_RATE) ** few[0]:.0f} %"
    return (
        f"Few patients: intervals over fewer than {ENOUGH_GROUPS} (here as few as {few[0]}) cannot know of rare "
        f"failures. What one patient in {1 / FAILURE_RATE:.0f} shows is absent from {share} of test sets of that size, "
        "and no interval computed from the others covers it.",
    )


def protocol_sections(
    cells: pd.DataFrame, blocks: Callable[[pd.DataFrame], Iterable[Block]] | None = None
) -> tuple[Section, ...]:
    """One section per metric protocol, with the blocks of its cells: one per ``block`` of them, or others."""
    return tuple(
        Section(
            protocol,
            f"Protocol: {protocol} ({description})",
            tuple((blocks or _blocks)(cells[cells["protocol"] == protocol])),
        )
        for protocol, description in PROTOCOLS.items()
    )


def _blocks(cells: pd.DataFrame) -> Iterable[Block]:
    return (_block(str(title), part.to_dict("records")) for title, part in cells.groupby("block", sort=False))


def _block(title: str, cells: Sequence[_Cell]) -> Block:
    columns: dict[tuple[str, str], list[_Cell]] = {}
    for cell in cells:
        columns.setdefault((cell["group"], cell["column"]), []).append(cell)
    # Of each row of the table its lines, and of each line its cells by column.
    rows: dict[str, dict[str, dict[tuple[str, str], _Cell]]] = {}
    for column in columns.values():
        for cell in column:
            rows.setdefault(cell["row"], {}).setdefault(cell["line"], {})[cell["group"], cell["column"]] = cell
    order = list(dict.fromkeys(cell["row"] for cell in cells))
    lines = list(dict.fromkeys(cell["line"] for cell in cells))
    counts = [
        Line(label, line, tuple(_count(part, line or lines[0], text) for part in columns.values()))
        for label, text in COUNTS.items()
        for line in (lines if lines[1:] and label in _PER_LINE else [""])
    ]
    return Block(
        title,
        tuple(group for group, _ in columns),
        tuple(f"{name} {metric_of(part[0]['metric']).arrow}" for (_, name), part in columns.items()),
        tuple(itertools.chain.from_iterable(_method(row, rows[row], list(columns)) for row in order)),
        tuple(counts),
    )


def _method(
    row: str, lines: dict[str, dict[tuple[str, str], _Cell]], columns: Sequence[tuple[str, str]]
) -> Iterable[Line]:
    """The lines of a row of the table: published, measured, and where results are given twice, leak-free."""
    labels = itertools.chain([row], itertools.repeat(""))
    printed = {column: cell for cells in reversed(lines.values()) for column, cell in cells.items()}
    if any(not np.isnan(cell["published"]) for cell in printed.values()):
        yield Line(next(labels), "published", tuple(_published_entry(printed.get(column)) for column in columns))
    for line, cells in lines.items():
        parts = [cells.get(column) for column in columns]
        yield Line(next(labels), line, tuple(map(_measured_entry, parts)))
        if any(not np.isnan([cell["measured"], cell["published"]]).any() for cell in cells.values()):
            yield Line(next(labels), f"{MINUS} published", tuple(map(_against_published, parts)))
        if any(not np.isnan(cell["gain"]) for cell in cells.values()):
            name = next(iter(cells.values()))["baseline"]
            yield Line(next(labels), f"{MINUS} {name}", tuple(map(_against_baseline, parts)))


def _published_entry(cell: _Cell | None) -> Entry:
    if cell is None or np.isnan(cell["published"]):
        return Entry("")
    return Entry(metric_of(cell["metric"]).text(cell["published"]), bool(cell["published_bold"]))


def _measured_entry(cell: _Cell | None) -> Entry:
    if cell is None:
        return Entry("")
    if cell["seeds"] == 0:
        return Entry(NO_RUN)
    value, spread, rule = cell["measured"], cell["measured_sd"], metric_of(cell["metric"])
    if np.isnan(value):
        return Entry(UNDEFINED)
    text = rule.text(value) if np.isnan(spread) else f"{rule.text(value)} ± {rule.text(spread)}"
    return Entry(text, bool(cell["measured_best"]))


def _against_published(cell: _Cell | None) -> Entry:
    if cell is None:
        return Entry("")
    names = ("measured", "measured_low", "measured_high")
    return _difference(cell["metric"], [cell[name] - cell["published"] for name in names])


def _against_baseline(cell: _Cell | None) -> Entry:
    if cell is None:
        return Entry("")
    return _difference(cell["metric"], [cell[name] for name in ("gain", "gain_low", "gain_high")])


def _difference(metric: str, numbers: Sequence[float]) -> Entry:
    return Entry("" if np.isnan(numbers).any() else limits(*numbers, digits=metric_of(metric).digits))


def signed(value: float, digits: int = 2) -> str:
    """``+0.82``."""
    return f"{value:+z.{digits}f}".replace("-", MINUS)


def limits(estimate: float, low: float, high: float, *, digits: int = 2) -> str:
    """``+0.82 [−1.23, +2.87]``."""
    return f"{signed(estimate, digits)} [{signed(low, digits)}, {signed(high, digits)}]"


def p_text(value: float) -> str:
    """``0.012``, ``< 0.001``; empty where NaN."""
    return "" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def margins(values: Iterable[float], unit: str) -> str:
    """``± 0.5 percentage points``, ``± 0.5 or 1 percentage points`` where datasets differ, or ``none``."""
    found = sorted({float(value) for value in values if np.isfinite(value)})
    return f"± {' or '.join(f'{value:g}' for value in found)} {unit}" if found else "none"


def _range(counts: Iterable[int]) -> str:
    """One number, or the range over the methods that have runs."""
    present = [count for count in counts if count > 0] or [0]
    low, high = min(present), max(present)
    return str(low) if low == high else f"{low}–{high}"


COUNTS: dict[str, Callable[[Sequence[_Cell]], str]] = {
    "Cases": lambda cells: _range(cell["cases"] for cell in cells),
    "Seeds": lambda cells: _range(cell["seeds"] for cell in cells),
    "Undefined values": lambda cells: " of ".join(str(sum(c[name] for c in cells)) for name in ("undefined", "values")),
    "Missing runs": lambda cells: str(sum(cell["missing_runs"] for cell in cells)),
}
_PER_LINE = ("Cases", "Undefined values")  # the others do not depend on which cases are left out


def _count(column: Sequence[_Cell], line: str, text: Callable[[Sequence[_Cell]], str]) -> Entry:
    cells = [cell for cell in column if cell["line"] == line]
    return Entry(text(cells) if cells else "")


def markdown(page: Page) -> str:
    """One heading per section, one pipe table per block."""
    lines = [line for warning in page.warnings for line in (f"**{warning}**", "")]
    lines += [f"# {_heading(page)}", ""]
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


def latex(page: Page) -> str:
    """One ``table`` environment per section, or several that each fit on a page."""
    lines, floats = ["% Needs \\usepackage{booktabs,graphicx}."], itertools.count(1)
    for section in page.sections:
        parts = [part for block in section.blocks for part in _parts(block)] or [Block("", (), (), ())]
        for number, part in enumerate(parts, 1):
            more = f"Part {number} of {len(parts)}" if len(parts) > 1 else ""
            told = (f"{text}." for text in (page.title, section.title, part.title, more) if text)
            caption = " ".join((*page.warnings, *told))
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
    """A block cut into parts that stay readable on a page; a group is only cut if it is too wide by itself."""
    columns = zip(*(line.entries for line in (*block.rows, *block.counts)), strict=True)
    widths = [max(_width(entry.text) for entry in entries) for entries in columns]
    first = start = 0
    for end in itertools.accumulate(len(list(run)) for _, run in itertools.groupby(block.groups)):
        if first < start and sum(widths[first:end]) > _LATEX_WIDTH:
            yield _slice(block, slice(first, start))
            first = start
        while sum(widths[first:end]) > _LATEX_WIDTH and end - first > 1:
            cut = first + math.ceil((end - first) / math.ceil(sum(widths[first:end]) / _LATEX_WIDTH))
            yield _slice(block, slice(first, cut))
            first = cut
        start = end
    yield _slice(block, slice(first, len(widths)))


def _width(text: str) -> float:
    """Characters of an entry; its spread is set smaller."""
    value, spread = _split(text)
    return len(value) + 0.6 * len(spread) + 2


def _slice(block: Block, columns: slice) -> Block:
    def cut(lines: tuple[Line, ...]) -> tuple[Line, ...]:
        return tuple(Line(line.label, line.kind, line.entries[columns]) for line in lines)

    return Block(block.title, block.groups[columns], block.headings[columns], cut(block.rows), cut(block.counts))


def _tabular(block: Block, row_headings: tuple[str, str]) -> Iterable[str]:
    # Natural width where the table fits, shrunk to the line where it does not.
    yield "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
    yield f"\\begin{{tabular}}{{ll{'r' * len(block.headings)}}}"
    yield "\\toprule"
    spans = [(group, len(list(run))) for group, run in itertools.groupby(block.groups)]
    if any(block.groups):
        yield " & & " + " & ".join(f"\\multicolumn{{{n}}}{{c}}{{{escape_latex(g)}}}" for g, n in spans) + " \\\\"
        ends = list(itertools.accumulate(n for _, n in spans))
        yield " ".join(f"\\cmidrule(lr){{{e - n + 3}-{e + 2}}}" for (g, n), e in zip(spans, ends, strict=True) if g)
    yield _row([*row_headings, *block.headings])
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
    """A value, its spread or interval in smaller type."""
    value, spread = _split(text)
    return escape_latex(value) + (f"{{\\tiny\\,{escape_latex(spread.strip())}}}" if spread else "")


def _split(text: str) -> tuple[str, str]:
    found = re.fullmatch(r"(.*?)( ± .*| \[.*)?", text)
    assert found is not None  # anything matches
    return found[1], found[2] or ""


def _row(texts: Sequence[str]) -> str:
    return " & ".join(escape_latex(text) for text in texts) + " \\\\"


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
    """Text with the characters that LaTeX would interpret, and the symbols that it lacks, replaced by commands."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def html(page: Page, picture: str = "") -> str:
    """A self-contained page with one heading per section; ``picture`` is the address of one to show first, if any."""
    body = [f"<p class='banner'>{escape(warning)}</p>" for warning in page.warnings]
    body += [f"<h1>{escape(_heading(page))}</h1>"]
    for word, text, points in page.lead:
        body += [f"<p class='lead'><b>{escape(word)}.</b> {escape(text)}</p>"]
        body += ["<ul class='lead'>", *(f"<li>{escape(point)}" for point in points), "</ul>"] if points else []
    body += [f"<img src='{picture}' alt='{escape(page.title, quote=True)}'>"] if picture else []
    for section in page.sections:
        body += [f"<h2>{escape(section.title)}</h2>"] if section.title else []
        for block in section.blocks:
            body += [f"<h3>{escape(block.title)}</h3>"] if block.title else []
            body += ["<table>", *_html_rows(block, page.row_headings), "</table>"]
    body += [f"<p>{escape(note)}</p>" for note in (page.legend, *page.notes)]
    title = escape(page.title)
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>{_STYLE}{''.join(body)}</html>\n"
    )


_STYLE = (
    "<style>body{font:15px/1.45 system-ui,sans-serif;margin:2em;color:#222}table{border-collapse:collapse;margin:1em 0}"
    "th,td{padding:.2em .7em;text-align:right;white-space:nowrap}th{border-bottom:1px solid #222}"
    "th[colspan]{text-align:center}"
    "td:nth-child(-n+2),th:nth-child(-n+2),.text,.words{text-align:left}td.text{white-space:normal;min-width:14em}"
    "tr.published td{border-top:1px solid #ddd;color:#666}"
    "tr.count td,tr.difference td{color:#666;font-size:85%}"
    ".lead{max-width:60em}img{max-width:100%}"
    ".banner{background:#fff3cd;padding:.6em 1em;font-weight:bold}</style>"
)


def _html_rows(block: Block, row_headings: tuple[str, str]) -> Iterable[str]:
    spans = [(group, len(list(run))) for group, run in itertools.groupby(block.groups)]
    if any(block.groups):
        yield f"<tr><th><th>{''.join(f'<th colspan={n}>{escape(group)}' for group, n in spans)}"
    lines = [(Entry(line.label), Entry(line.kind), *line.entries) for line in (*block.rows, *block.counts)]
    styles = [_column_style(column) for column in zip(*lines, strict=True)]
    headings = zip((*row_headings, *block.headings), styles, strict=True)
    yield f"<tr>{''.join(f'<th{style}>{escape(heading)}' for heading, style in headings)}"
    for line, entries in zip((*block.rows, *block.counts), lines, strict=True):
        yield f"<tr class='{_style(line, block)}'>{''.join(map(_cell, entries, styles))}"


def _column_style(entries: Sequence[Entry]) -> str:
    """Words stand on the left and, where they are many, on several lines; numbers on the right."""
    texts = [entry.text for entry in entries if entry.text not in ("", NO_RUN)]
    words = sum(text[0].isalpha() for text in texts) > len(texts) / 2
    return " class='text'" if words and max(map(len, texts)) > _LONG else " class='words'" if words else ""


def _style(line: Line, block: Block) -> str:
    if line in block.counts:
        return "count"
    return "difference" if line.kind.startswith(MINUS) else "published" if line.kind == "published" else ""


def _cell(entry: Entry, style: str) -> str:
    return f"<td{style}>" + (f"<b>{escape(entry.text)}</b>" if entry.bold else escape(entry.text))


def _heading(page: Page) -> str:
    """``table_1`` as ``Table 1``, and the title."""
    return f"{page.name.replace('_', ' ').capitalize()}. {page.title}"
