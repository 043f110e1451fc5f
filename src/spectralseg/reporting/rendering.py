"""Tables as text: Markdown, LaTeX and HTML, all from the same blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spectralseg.reporting.quantities import quantity

if TYPE_CHECKING:
    from spectralseg.reporting.tables import Table

PROTOCOLS = {
    "published": "as the paper most likely computed the metrics, traps included; distances in pixels",
    "sound": "as current guidance asks for; distances in millimetres where the spacing is known",
}
NO_RUN = "–"
UNDEFINED = "undef."
LEGEND = (
    f"Measured: per seed the mean over cases with a defined value, then over classes; mean ± standard deviation over "
    f"seeds where there are several. {NO_RUN} no run; {UNDEFINED} no case has a defined value. Bold: published as "
    "printed, measured the best of the column."
)
_LATEX_COLUMNS = 8


@dataclass(frozen=True)
class _Entry:
    text: str
    bold: bool = False


@dataclass(frozen=True)
class _Line:
    label: str
    kind: str
    entries: tuple[_Entry, ...]


@dataclass(frozen=True)
class _Block:
    """A block of a table as text, the common ground of Markdown and LaTeX."""

    title: str
    groups: tuple[str, ...]
    headings: tuple[str, ...]
    methods: tuple[_Line, ...]
    counts: tuple[_Line, ...]


def _blocks(cells: pd.DataFrame) -> list[_Block]:
    """The blocks of one protocol. Cells that the paper does not print are empty."""
    return [_block(str(title), part) for title, part in cells.groupby("block", sort=False)]


def _block(title: str, cells: pd.DataFrame) -> _Block:
    columns = [part for _, part in cells.groupby(["group", "column"], sort=False)]
    methods: list[_Line] = []
    for row in cells["row"].unique():
        here = [part[part["row"] == row] for part in columns]
        if cells["published"].notna().any():
            methods.append(_Line(row, "published", tuple(_published_entry(cell) for cell in here)))
            row = ""
        methods.append(_Line(row, "measured", tuple(_measured_entry(cell) for cell in here)))
    counts = {
        "Cases": [_range(part["cases"]) for part in columns],
        "Seeds": [_range(part["seeds"]) for part in columns],
        "Undefined values": [f"{part['undefined'].sum()} of {part['values'].sum()}" for part in columns],
        "Missing runs": [str(part["missing_runs"].sum()) for part in columns],
    }
    return _Block(
        title,
        tuple(str(part["group"].iloc[0]) for part in columns),
        tuple(f"{part['column'].iloc[0]} {quantity(part['metric'].iloc[0]).arrow}" for part in columns),
        tuple(methods),
        tuple(_Line(label, "", tuple(_Entry(text) for text in texts)) for label, texts in counts.items()),
    )


def _published_entry(cell: pd.DataFrame) -> _Entry:
    if cell.empty or np.isnan(cell["published"].iloc[0]):
        return _Entry("")
    rule = quantity(cell["metric"].iloc[0])
    return _Entry(rule.text(cell["published"].iloc[0]), bool(cell["published_bold"].iloc[0]))


def _measured_entry(cell: pd.DataFrame) -> _Entry:
    if cell.empty:
        return _Entry("")
    if cell["seeds"].iloc[0] == 0:
        return _Entry(NO_RUN)
    value, spread, rule = cell["measured"].iloc[0], cell["measured_sd"].iloc[0], quantity(cell["metric"].iloc[0])
    if np.isnan(value):
        return _Entry(UNDEFINED)
    text = rule.text(value) if np.isnan(spread) else f"{rule.text(value)} ± {rule.text(spread)}"
    return _Entry(text, bool(cell["measured_best"].iloc[0]))


def _range(counts: pd.Series) -> str:
    """One number, or the range over the methods that have runs."""
    present = counts[counts > 0]
    if present.empty:
        return "0"
    low, high = int(present.min()), int(present.max())
    return str(low) if low == high else f"{low}–{high}"


def markdown(table: Table) -> str:
    """One section per protocol, one pipe table per block."""
    lines = [f"**{table.banner}**", ""] if table.banner else []
    lines += [f"# {_number(table.name)}. {table.published.title}", ""]
    for protocol, description in PROTOCOLS.items():
        lines += [f"## Protocol: {protocol} ({description})", ""]
        for block in _blocks(table.cells[table.cells["protocol"] == protocol]):
            lines += [f"### {block.title}", ""] if block.title else []
            lines += [*_pipe_table(block, table.published.row_heading), ""]
    lines += [LEGEND, "", *(f"- {note}" for note in table.published.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _pipe_table(block: _Block, row_heading: str) -> Iterable[str]:
    headings = [f"{group} {heading}".strip() for group, heading in zip(block.groups, block.headings, strict=True)]
    yield _pipes([row_heading, "", *headings])
    yield _pipes([":--", ":--", *("--:" for _ in headings)])
    for line in (*block.methods, *block.counts):
        yield _pipes([line.label, line.kind, *(f"**{e.text}**" if e.bold else e.text for e in line.entries)])


def _pipes(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def latex(table: Table) -> str:
    """One ``table`` environment per protocol."""
    lines = ["% Needs \\usepackage{booktabs,graphicx}."]
    for protocol, description in PROTOCOLS.items():
        blocks = _blocks(table.cells[table.cells["protocol"] == protocol])
        caption = f"{table.published.title}. Protocol: {protocol} ({description})."
        caption = f"{table.banner} {caption}" if table.banner else caption
        lines += ["\\begin{table*}", "\\centering", f"\\caption{{{escape_latex(caption)}}}"]
        lines += [
            f"\\label{{tab:{table.name.replace('_', '-')}-{protocol}}}",
            "\\footnotesize",
            "\\setlength{\\tabcolsep}{3pt}",
        ]
        for part in (part for block in blocks for part in _parts(block)):
            lines += _tabular(part, table.published.row_heading)
        notes = " ".join((LEGEND, *table.published.notes))
        lines += [f"\\parbox{{\\linewidth}}{{\\scriptsize {escape_latex(notes)}}}", "\\end{table*}", ""]
    return "\n".join(lines)


def _parts(block: _Block) -> Iterable[_Block]:
    """A block cut between groups into parts that stay readable on a page; a group is never cut."""
    first = 0
    ends = list(itertools.accumulate(len(list(run)) for _, run in itertools.groupby(block.groups)))
    for end, following in itertools.zip_longest(ends, ends[1:]):
        if following is None or following - first > _LATEX_COLUMNS:
            yield _slice(block, slice(first, end))
            first = end


def _slice(block: _Block, columns: slice) -> _Block:
    def cut(lines: tuple[_Line, ...]) -> tuple[_Line, ...]:
        return tuple(_Line(line.label, line.kind, line.entries[columns]) for line in lines)

    title = block.title if columns.start == 0 else ""
    return _Block(title, block.groups[columns], block.headings[columns], cut(block.methods), cut(block.counts))


def _tabular(block: _Block, row_heading: str) -> Iterable[str]:
    if block.title:
        yield f"\\textit{{{escape_latex(block.title)}}}\\par\\smallskip"
    # Natural width where the table fits, shrunk to the line where it does not.
    yield "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
    yield f"\\begin{{tabular}}{{ll{'r' * len(block.headings)}}}"
    yield "\\toprule"
    spans = [(group, len(list(run))) for group, run in itertools.groupby(block.groups)]
    if any(block.groups):
        yield " & & " + " & ".join(f"\\multicolumn{{{n}}}{{c}}{{{escape_latex(g)}}}" for g, n in spans) + " \\\\"
        ends = list(itertools.accumulate(n for _, n in spans))
        yield " ".join(f"\\cmidrule(lr){{{end - n + 3}-{end + 2}}}" for (_, n), end in zip(spans, ends, strict=True))
    yield _row([row_heading, "", *block.headings])
    yield "\\midrule"
    for line in block.methods:
        yield _line_row(line)
        if line.kind == "measured" and line is not block.methods[-1]:
            yield "\\addlinespace"
    yield "\\midrule"
    yield from (_line_row(line) for line in block.counts)
    yield "\\bottomrule"
    yield "\\end{tabular}}\\par\\medskip"


def _line_row(line: _Line) -> str:
    texts = [escape_latex(line.label), escape_latex(line.kind)]
    texts += [f"\\textbf{{{_value(e.text)}}}" if e.bold else _value(e.text) for e in line.entries]
    return " & ".join(texts) + " \\\\"


def _value(text: str) -> str:
    """A value, its spread in smaller type."""
    value, plus_minus, spread = text.partition(" ± ")
    return escape_latex(value) + (f"{{\\tiny\\,$\\pm$\\,{escape_latex(spread)}}}" if plus_minus else "")


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
    **{special: f"\\{special}" for special in "&%$#_{}"},
}


def escape_latex(text: str) -> str:
    """Text with the characters that LaTeX would interpret, and the symbols that it lacks, replaced by commands."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def html(table: Table) -> str:
    """A self-contained page with one section per protocol."""
    body = [f"<p class='banner'>{escape(table.banner)}</p>"] if table.banner else []
    body += [f"<h1>{escape(_number(table.name))}. {escape(table.published.title)}</h1>"]
    for protocol, description in PROTOCOLS.items():
        body += [f"<h2>Protocol: {protocol} <small>({escape(description)})</small></h2>"]
        for block in _blocks(table.cells[table.cells["protocol"] == protocol]):
            body += [f"<h3>{escape(block.title)}</h3>"] if block.title else []
            body += ["<table>", *_html_rows(block, table.published.row_heading), "</table>"]
    body += [f"<p>{escape(note)}</p>" for note in (LEGEND, *table.published.notes)]
    title = escape(table.published.title)
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>{_STYLE}{''.join(body)}</html>\n"
    )


_STYLE = (
    "<style>body{font:15px/1.45 system-ui,sans-serif;margin:2em;color:#222}table{border-collapse:collapse;margin:1em 0}"
    "th,td{padding:.2em .7em;text-align:right;white-space:nowrap}th{border-bottom:1px solid #222}"
    "th[colspan]{text-align:center}"
    "td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}tr.published td{border-top:1px solid #ddd;color:#666}"
    "tr.count td{color:#666;font-size:85%}.banner{background:#fff3cd;padding:.6em 1em;font-weight:bold}</style>"
)


def _html_rows(block: _Block, row_heading: str) -> Iterable[str]:
    spans = [(group, len(list(run))) for group, run in itertools.groupby(block.groups)]
    if any(block.groups):
        yield f"<tr><th><th>{''.join(f'<th colspan={n}>{escape(group)}' for group, n in spans)}"
    yield f"<tr><th>{escape(row_heading)}<th>{''.join(f'<th>{escape(heading)}' for heading in block.headings)}"
    for line in (*block.methods, *block.counts):
        entries = (f"<b>{escape(entry.text)}</b>" if entry.bold else escape(entry.text) for entry in line.entries)
        yield f"<tr class='{line.kind or 'count'}'><td>{escape(line.label)}<td>{line.kind}<td>{'<td>'.join(entries)}"


def _number(name: str) -> str:
    """``table_1`` as ``Table 1``."""
    return name.replace("_", " ").capitalize()
