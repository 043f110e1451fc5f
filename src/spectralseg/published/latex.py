"""Tables of LaTeX source as cells of plain text, without running LaTeX.

Environments of tables are found in any text. Rules, colours, citations and comments are dropped; cells over several
columns or rows keep their extent; formatting such as bold keeps its text. What follows a number in a subscript, a
superscript, a smaller font or an unknown command is taken as its spread and marked with ±, so that 88.4 with the
subscript 1.2 is never read as 88.41.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_DEPTH = 50  # of nested groups
_MOST_SPANNED = 1000  # columns or rows
_LONGEST_OPTION = 100  # parts of the text in brackets
_ENVIRONMENTS = "tabular|tabularx|tabulary|longtable|xltabular|supertabular|array|tblr|longtblr|NiceTabular"
_EDGE = re.compile(rf"\\(begin|end)\s*\{{({_ENVIRONMENTS})\*?\}}")
_COLUMNS = re.compile(r"\s*(?:\[[^\]]*\])?\s*\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}")  # of a table within a cell
_STARRED = re.compile(r"\\begin\s*\{(tabular\*|tabularx|tabulary|xltabular)\}")  # these take a width, too
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%[^\n]*")
_TOKEN = re.compile(r"\\[A-Za-z@]+\*?|\\.|[{}\[\]$^_~&]|[^\\{}\[\]$^_~&]+|\\", re.DOTALL)
_NUMBER = re.compile(r"\s*[*]*[+-]?[0-9]*[.,]?[0-9]+\s*%?\s*")
_ROW_ENDS = (r"\\", r"\\*", r"\tabularnewline", r"\cr", r"\endhead", r"\endfirsthead", r"\endfoot", r"\endlastfoot")

_OPTION_ENDS = frozenset(("]", "&", *_ROW_ENDS))

# Commands without text, and the number of their arguments; options in brackets are dropped, too.
_DROPPED = {
    **dict.fromkeys(("toprule", "midrule", "bottomrule", "hline", "hdashline", "addlinespace", "noalign"), 0),
    **dict.fromkeys(("centering", "raggedright", "raggedleft", "arraybackslash", "strut", "displaystyle"), 0),
    **dict.fromkeys(("left", "right"), 0),
    **dict.fromkeys(("cmidrule", "cline", "cdashline", "cite", "citep", "citet", "citealp", "ref", "cref", "label"), 1),
    **dict.fromkeys(("footnote", "footnotemark", "tnote", "tablefootnote", "thanks", "caption", "vspace", "hspace"), 1),
    **dict.fromkeys(("rowcolor", "cellcolor", "columncolor", "color", "arrayrulecolor", "Xhline", "phantom"), 1),
    **dict.fromkeys(("setlength", "addtolength", "rule"), 2),
    "specialrule": 3,
}
_WITH_OPTION = ("toprule", "midrule", "bottomrule", "addlinespace", "hdashline")
# Commands whose last argument is their text, and the number of their arguments.
_LAST = {
    **dict.fromkeys(("textcolor", "colorbox", "parbox", "scalebox", "raisebox", "rotatebox", "href", "SI", "qty"), 2),
    **dict.fromkeys(("multicolumn", "multirow", "resizebox", "fcolorbox"), 3),
}
_STYLES = frozenset(
    (
        *(
            "textbf",
            "textit",
            "textsc",
            "textsf",
            "texttt",
            "textrm",
            "textnormal",
            "textup",
            "text",
            "emph",
            "underline",
        ),
        *("uline", "ul", "mathbf", "mathrm", "mathit", "mathsf", "mathcal", "boldsymbol", "bm", "bf", "bfseries", "it"),
        *("itshape", "em", "rm", "sc", "sf", "tt", "mbox", "hbox", "makecell", "shortstack", "thead", "normalsize"),
        *("normalfont", "num", "ensuremath"),
    )
)
_SMALLER = ("tiny", "scriptsize", "footnotesize", "small", "scriptstyle", "textsubscript", "textsuperscript")
_SYMBOLS = {
    "pm": "±",
    "textpm": "±",
    "uparrow": "↑",
    "downarrow": "↓",
    "textuparrow": "↑",
    "textdownarrow": "↓",
    "rightarrow": "→",
    "to": "→",
    "times": "×",
    "Delta": "Δ",
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "lambda": "λ",
    "sigma": "σ",
    "mu": "µ",
    "textemdash": "—",
    "textendash": "–",
    "newline": " ",
    "quad": " ",
    "qquad": " ",
    "xspace": "",
}


@dataclass(frozen=True)
class LatexTable:
    """A table of LaTeX source.

    Attributes:
        start, end: place of its source in the text, in characters.
        rows: cells of plain text, equally many per row. A cell over several columns is repeated in each if its row is
            in ``spanned``; one over several rows is repeated in each.
        spanned: indices of rows with a cell over several columns.
        sections: indices of rows that are a single cell over all columns.
    """

    start: int
    end: int
    rows: tuple[tuple[str, ...], ...]
    spanned: frozenset[int]
    sections: frozenset[int]


class _Cell(NamedTuple):
    text: str
    columns: int
    rows: int


def find_tables(text: str) -> list[LatexTable]:
    """Tables of LaTeX source in ``text``; rows without an environment are one table if all the text is such rows.

    Raises:
        ValueError: an environment is not closed, or groups are nested more than :data:`MAX_DEPTH` levels deep.
    """
    source = _COMMENT.sub(lambda match: match[1] + " " * (len(match[0]) - len(match[1])), text)
    places = list(_outermost(source))
    if not places and _bare_rows(source):
        return [_table(source, 0, len(source), 0)]
    return [_table(source, *place) for place in places]


def _bare_rows(source: str) -> bool:
    return len(re.findall(r"(?<!\\)&[^\n]*\\\\", source)) >= 2


def _outermost(source: str) -> Iterator[tuple[int, int, int]]:
    """Start, end and start of the content of environments that are not part of another one."""
    open_at: list[re.Match[str]] = []
    for edge in _EDGE.finditer(source):
        if edge[1] == "begin":
            open_at.append(edge)
        elif open_at:
            begin = open_at.pop()
            if not open_at:
                yield begin.start(), edge.end(), begin.end()
    if open_at:
        raise ValueError(f"\\begin{{{open_at[0][2]}}} has no \\end")


def _table(source: str, start: int, end: int, content: int) -> LatexTable:
    body = source[content:end]
    if content:
        body = body[: list(_EDGE.finditer(body))[-1].start()]
        tokens = _flattened(body)
        _skip_options(tokens)
        for _ in range(2 if _STARRED.match(source, start) else 1):
            _argument(tokens)
    else:
        tokens = _flattened(body)
    return _laid_out(start, end, [row for row in _rows(tokens) if any(cell.text for cell in row)])


def _flattened(text: str) -> list[str]:
    """Tokens in reverse, as a stack, with a table within a cell as one group, whose line breaks are blanks."""
    depth, last, flat = 0, 0, list[str]()
    for edge in _EDGE.finditer(text):
        part = _TOKEN.findall(text[last : edge.start()])
        flat += [" " if depth and token in _ROW_ENDS else token for token in part]
        depth += 1 if edge[1] == "begin" else -1
        last = edge.end()
        if edge[1] == "begin":
            skipped = _COLUMNS.match(text, last)
            last = skipped.end() if skipped else last
            flat.append("{")
        else:
            flat.append("}")
    return [*flat, *_TOKEN.findall(text[last:])][::-1]


def _rows(tokens: list[str]) -> Iterator[list[_Cell]]:
    """Rows of cells; consumes the tokens."""
    row: list[_Cell] = []
    cell: list[str] = []
    depth = 0
    while tokens:
        token = tokens.pop()
        depth += (token == "{") - (token == "}")
        if depth > 0 or (token != "&" and token not in _ROW_ENDS):
            cell.append(token)
            continue
        row.append(_cell(cell))
        cell = []
        if token != "&":
            _skip_options(tokens)
            yield row
            row = []
    yield [*row, _cell(cell)]


@dataclass
class _Extent:
    columns: int = 1
    rows: int = 1


def _cell(tokens: list[str]) -> _Cell:
    extent = _Extent()
    text = " ".join(_Text(tokens[::-1], extent).render().split())
    return _Cell(re.sub(r"---?", "–", text), extent.columns, extent.rows)


@dataclass
class _Text:
    """Plain text of tokens, which are a stack with the first one last."""

    tokens: list[str]
    extent: _Extent
    depth: int = 0
    parts: list[str] = field(default_factory=list)

    def render(self) -> str:
        if self.depth > MAX_DEPTH:
            raise ValueError(f"groups are nested more than {MAX_DEPTH} levels deep")
        while self.tokens:
            token = self.tokens.pop()
            if token == "{":
                self.parts.append(self._nested(_group(self.tokens)))
            elif token in "^_":
                self._append_script(token, self._nested(_argument(self.tokens)))
            elif token == "~":
                self.parts.append(" ")
            elif token.startswith("\\"):
                self._append_command(token[1:].removesuffix("*"))
            elif token not in "}$":
                self.parts.append(token)
        return "".join(self.parts)

    def _nested(self, tokens: list[str]) -> str:
        return _Text(tokens[::-1], self.extent, self.depth + 1).render()

    def _follows_number(self) -> bool:
        text = "".join(self.parts[-4:])
        return len(text) < 50 and _NUMBER.fullmatch(text) is not None

    def _append_spread(self, text: str) -> None:
        self.parts.append(f" ±{text}" if self._follows_number() else text)

    def _append_script(self, token: str, text: str) -> None:
        power = token == "^" and _NUMBER.fullmatch(text)
        if power and self._follows_number():
            self.parts.append(f"^{text}")
        else:
            self._append_spread(text)

    def _append_command(self, name: str) -> None:
        if name in _DROPPED:
            self._drop_arguments(name)
        elif name in _LAST:
            self._append_last(name)
        elif name in _STYLES or name in _SYMBOLS or not name[:1].isalpha():
            self._append_plain(name)
        elif name in _SMALLER:
            self._append_spread("")
        else:
            self._append_unknown(name)

    def _drop_arguments(self, name: str) -> None:
        if _DROPPED[name] or name in _WITH_OPTION:
            _skip_options(self.tokens)
        for _ in range(_DROPPED[name]):
            _skip_blanks(self.tokens)
            if self.tokens and self.tokens[-1] == "{":
                _argument(self.tokens)
                _skip_options(self.tokens)

    def _append_plain(self, name: str) -> None:
        if name in ("makecell", "shortstack", "thead", "num"):
            _skip_options(self.tokens)
        if name in _STYLES:
            _skip_blanks(self.tokens)
        elif name in _SYMBOLS:
            self.parts.append(_SYMBOLS[name])
        else:  # an escaped character, a small space or a line break
            self.parts.append(name if name in tuple("%&_#${}") else "" if name in tuple("!()[]/-") else " ")

    def _append_last(self, name: str) -> None:
        arguments = []
        for _ in range(_LAST[name]):
            _skip_options(self.tokens)
            arguments.append(_argument(self.tokens))
        if name in ("multicolumn", "multirow"):
            number = re.match(r"\s*(-?[0-9]{1,4})", "".join(arguments[0]))
            count = min(max(int(number[1]) if number else 1, -_MOST_SPANNED), _MOST_SPANNED)
            if name == "multicolumn":
                self.extent.columns = max(count, 1)
            else:
                self.extent.rows = count or 1
        self.parts.append(self._nested(arguments[-1]))

    def _append_unknown(self, name: str) -> None:
        """Arguments of a command of the authors, or its name without any."""
        arguments = []
        while self.tokens and self.tokens[-1] == "{":
            arguments.append(self._nested(_argument(self.tokens)))
        for text in arguments:
            self._append_spread(text)
        if not arguments:
            self._append_spread(name)


def _skip_blanks(tokens: list[str]) -> None:
    while tokens and not tokens[-1].strip():
        tokens.pop()
    if tokens and tokens[-1][0].isspace():
        tokens[-1] = tokens[-1].lstrip()


def _skip_options(tokens: list[str]) -> None:
    """Drop ``[...]`` and ``(...)`` from the top of the stack."""
    while tokens:
        place = len(tokens) - 1
        while place >= 0 and not tokens[place].strip():
            place -= 1
        if place < 0:
            return
        if tokens[place] == "[":
            end = place - 1
            least = max(0, place - _LONGEST_OPTION)
            while end >= least and tokens[end] not in _OPTION_ENDS:
                end -= 1
            if end < least or tokens[end] != "]":
                return
            del tokens[end:]
        elif trimmed := re.match(r"\s*\((?:l|r|\{.*?\})*\)", tokens[place]):
            del tokens[place + 1 :]
            tokens[place] = tokens[place][trimmed.end() :]
            if not tokens[place]:
                tokens.pop()
        else:
            return


def _group(tokens: list[str]) -> list[str]:
    """Tokens up to the end of a group whose opening brace was consumed."""
    depth, content = 1, []
    while tokens:
        token = tokens.pop()
        depth += (token == "{") - (token == "}")
        if not depth:
            break
        content.append(token)
    return content


def _argument(tokens: list[str]) -> list[str]:
    """Tokens of the next argument: a group, a command or a character."""
    _skip_blanks(tokens)
    if not tokens:
        return []
    token = tokens.pop()
    if token == "{":
        return _group(tokens)
    if token.startswith("\\") or len(token) == 1:
        return [token]
    tokens.append(token[1:])
    return [token[0]]


def _laid_out(start: int, end: int, rows: list[list[_Cell]]) -> LatexTable:
    width = max((sum(cell.columns for cell in row) for row in rows), default=0)
    grid = [[""] * width for _ in rows]
    below: list[tuple[int, int, _Cell]] = []
    for number, row in enumerate(rows):
        column = 0
        for cell in row:
            grid[number][column : column + cell.columns] = [cell.text] * min(cell.columns, width - column)
            if cell.rows != 1:
                below.append((number, column, cell))
            column += cell.columns
    for number, column, cell in below:
        step = 1 if cell.rows > 0 else -1
        for covered in range(number + step, number + cell.rows, step):
            if 0 <= covered < len(grid) and not grid[covered][column]:
                grid[covered][column : column + cell.columns] = [cell.text] * min(cell.columns, width - column)
    spanned = frozenset(n for n, row in enumerate(rows) if any(cell.columns > 1 for cell in row))
    sections = frozenset(n for n in spanned if len(rows[n]) == 1 and rows[n][0].columns == width)
    return LatexTable(start, end, tuple(map(tuple, grid)), spanned, sections)


def plain_text(source: str) -> str:
    """Text of LaTeX source without a table.

    Raises:
        ValueError: groups are nested more than :data:`MAX_DEPTH` levels deep.
    """
    return _cell(_TOKEN.findall(source)).text
