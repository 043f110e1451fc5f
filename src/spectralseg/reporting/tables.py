"""Tables of the paper with a measured line below each published one, as CSV, Markdown and LaTeX.

One code path serves every table: the file of published numbers says where a cell stands and which records it is
computed from. A measured number is, per seed, the mean over cases of the defined values of a class, then the mean over
classes; over seeds it is given as mean ± sample standard deviation. What is undefined or missing is counted below.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.errors import InputError
from spectralseg.files import replacing
from spectralseg.reporting.published import PLACE, SELECTION, PublishedTable, read_published
from spectralseg.reporting.quantities import quantity
from spectralseg.reporting.results import BANNER, Results

PROTOCOLS = {
    "published": "as the paper most likely computed the metrics, traps included; distances in pixels",
    "sound": "as current guidance asks for; distances in millimetres where the spacing is known",
}
MEAN = "mean"
WHOLE_CASE = "all"
NO_RUN = "–"
UNDEFINED = "undef."
LEGEND = (
    f"Measured: per seed the mean over cases with a defined value, then over classes; mean ± standard deviation over "
    f"seeds where there are several. {NO_RUN} no run; {UNDEFINED} no case has a defined value. Bold: published as "
    "printed, measured the best of the column."
)

_LATEX_COLUMNS = 8
_CONDITION = [*SELECTION, "metric"]
_COLUMN = ["protocol", "block", "group", "column"]


@dataclass(frozen=True)
class Table:
    """A finished table.

    Attributes:
        published: the printed table that it follows.
        banner: what a reader must know before any number, or None.
        cells: one row per protocol and printed cell, in printed units: ``published``, ``published_bold``,
            ``measured``, ``measured_sd``, ``measured_best``, ``cases``, ``values``, ``undefined``, ``seeds``,
            ``missing_runs`` and the columns that place and select the cell.
    """

    published: PublishedTable
    banner: str | None
    cells: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the table and stem of its files."""
        return self.published.name

    def csv(self) -> str:
        """The cells in long format; column ``source`` tells where the data come from."""
        return self.cells.to_csv(index=False, lineterminator="\n")

    def markdown(self) -> str:
        """One section per protocol, one pipe table per block."""
        return _markdown(self)

    def latex(self) -> str:
        """One ``table`` environment per protocol; needs the packages booktabs and graphicx."""
        return _latex(self)

    def write(self, folder: Path | str) -> list[Path]:
        """Write ``<name>.csv``, ``.md`` and ``.tex`` into a folder and return their paths."""
        contents = {"csv": self.csv(), "md": self.markdown(), "tex": self.latex()}
        files = [Path(folder) / f"{self.name}.{suffix}" for suffix in contents]
        for file, content in zip(files, contents.values(), strict=True):
            with replacing(file) as partial:
                partial.write_text(content, encoding="utf-8")
        return files


def build_table(results: Results, published_file: Path | str) -> Table:
    """Set measured numbers beside the published ones. Without any matching record every measured cell is empty.

    Args:
        results: the results folder.
        published_file: the printed table; see :mod:`spectralseg.reporting.published`.

    Raises:
        InputError: a file is missing or malformed.
    """
    published = read_published(published_file)
    cells = published.cells
    records = results.read(**{name: set(cells[name]) for name in ("dataset", "suite", "test_dataset", "metric")})
    unknown = sorted(set(records["protocol"]) - set(PROTOCOLS))
    if unknown:
        raise InputError(f"{results.root}: protocol '{unknown[0]}' of the records is unknown; collect them again")
    per_seed = _per_class_and_seed(records)
    rows = [
        {
            "table": published.name,
            "protocol": protocol,
            **{name: cell[name] for name in (*PLACE, *SELECTION, "class", "metric")},
            "published": cell["value"],
            "published_bold": cell["bold"],
            **_measure(per_seed.get((*(cell[name] for name in _CONDITION), protocol)), cell["class"], cell["metric"]),
        }
        for protocol, cell in itertools.product(PROTOCOLS, cells.to_dict("records"))
    ]
    frame = _complete(pd.DataFrame(rows))
    banner = BANNER if results.demonstration else None
    return Table(published, banner, frame.assign(source=banner or _sources(results, frame)))


def _sources(results: Results, frame: pd.DataFrame) -> list[str]:
    """Per cell the sources of training and test dataset, once where they agree."""
    pairs = zip(frame["dataset"], frame["test_dataset"], strict=True)
    known = results.sources
    return [", ".join(dict.fromkeys(known.get(name, "not prepared") for name in pair)) for pair in pairs]


def _per_class_and_seed(records: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    """Per condition and protocol: one row per class and seed with mean, number of cases, of values and of defined."""
    keys = [*_CONDITION, "protocol"]
    summary = records.groupby([*keys, "class", "seed"], as_index=False).agg(
        mean=("value", "mean"), cases=("case", "nunique"), values=("value", "size"), defined=("value", "count")
    )
    return dict(iter(summary.groupby(keys)))


def _measure(summary: pd.DataFrame | None, wanted: str, metric: str) -> dict[str, Any]:
    """The measured part of a cell, in printed units; without records everything is empty or zero."""
    chosen = _of_class(summary, wanted) if summary is not None else None
    if chosen is None or chosen.empty:
        return {"measured": np.nan, "measured_sd": np.nan, "cases": 0, "values": 0, "undefined": 0, "seed_list": ()}
    seeds = chosen.groupby("seed")["mean"].mean() * quantity(metric).factor
    return {
        "measured": float(seeds.mean()),
        "measured_sd": float(seeds.std(ddof=1)),
        "cases": int(chosen["cases"].max()),
        "values": int(chosen["values"].sum()),
        "undefined": int((chosen["values"] - chosen["defined"]).sum()),
        "seed_list": tuple(int(seed) for seed in seeds.index),
    }


def _of_class(summary: pd.DataFrame, wanted: str) -> pd.DataFrame:
    """Rows of a class; ``mean`` takes all foreground classes, or the whole case where a metric has no classes."""
    if wanted != MEAN:
        return summary[summary["class"] == wanted]
    foreground = summary[summary["class"] != WHOLE_CASE]
    return foreground if len(foreground) else summary


def _complete(frame: pd.DataFrame) -> pd.DataFrame:
    """Add what depends on the whole column: the best measured cell and how many runs are missing."""
    frame = frame.assign(measured_best=False, seeds=frame["seed_list"].map(len), missing_runs=0)
    for _, column in frame.groupby(_COLUMN, sort=False):
        expected = set().union(*column["seed_list"])
        frame.loc[column.index, "missing_runs"] = max(len(expected), 1) - column["seeds"]
        rule = quantity(column["metric"].iloc[0])
        printed = column["measured"].round(rule.digits)
        if printed.count() > 1:
            best = printed.max() if rule.higher_is_better else printed.min()
            frame.loc[column.index, "measured_best"] = printed == best
    return frame.drop(columns="seed_list")


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
        methods.append(_Line(row, "published", tuple(_published_entry(cell) for cell in here)))
        methods.append(_Line("", "measured", tuple(_measured_entry(cell) for cell in here)))
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


def _markdown(table: Table) -> str:
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


def _latex(table: Table) -> str:
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


def _number(name: str) -> str:
    """``table_1`` as ``Table 1``."""
    return name.replace("_", " ").capitalize()
