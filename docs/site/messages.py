"""Reference of the error messages, collected from the source of the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "spectralseg"
ERRORS = ("InputError", "FindingsError", "ArgumentTypeError", "ValueError", "Diverged")
"""Exceptions whose messages users read: each says what is wrong, and after the last semicolon what to do."""
CALLS = {"suggest": "the nearest valid names", "explained": "the error of the system"}
"""Functions that return a part of a message, and what they return."""
FIRST = ("config", "cli", "data")
"""Areas that come first; the others follow in alphabetical order."""

_PLACEHOLDER = "‹{}›"
_LONGEST = 40  # characters of an expression in a placeholder
_Locals = Mapping[str, ast.expr]


@dataclass(frozen=True)
class Message:
    """An error message: its area of the package, the exception, what is wrong, and what to do, which may be empty."""

    area: str
    error: str
    cause: str
    remedy: str


def messages() -> tuple[list[Message], int]:
    """The messages in the order of the source, without repetitions, and the number of those that another part writes.

    The latter are errors whose text is a variable or the text of a library, so the source does not show it.
    """
    collected: dict[Message, None] = {}
    unwritten = 0
    for file in sorted(PACKAGE.rglob("*.py")):
        for error, expression, values in _raised(ast.parse(file.read_text(encoding="utf-8"))):
            text = _text(expression, values)
            if error == "Diverged":
                text = f"‹run›: the run diverged: {text}; lower 'learning_rate' or set 'gradient_clip' and retrain"
            cause, semicolon, remedy = text.rpartition("; ")
            if not any(character.isalpha() for character in _without_placeholders(text)):
                unwritten += 1
            elif semicolon:
                collected[Message(_area(file), error, cause, remedy)] = None
            else:
                collected[Message(_area(file), error, text, "")] = None
    return list(collected), unwritten


def reference() -> str:
    """Markdown with a table for each area."""
    collected, unwritten = messages()
    areas = sorted({message.area for message in collected}, key=lambda area: (area.split(".")[0] not in FIRST, area))
    tables = "\n".join(_table(area, [message for message in collected if message.area == area]) for area in areas)
    return f"{len(collected)} messages are listed. {unwritten} more pass on the text of a library.\n\n{tables}"


def _table(area: str, rows: list[Message]) -> str:
    head = f"## {area}\n\n| message | what to do |\n| --- | --- |\n"
    return head + "".join(f"| {_cell(row.cause)} | {_cell(row.remedy) or '–'} |\n" for row in rows)


def _area(file: Path) -> str:
    """The package, such as ``data.readers``, or the module."""
    *packages, module = file.relative_to(PACKAGE).parts
    return ".".join(packages) or module.removesuffix(".py")


def _raised(tree: ast.AST) -> Iterator[tuple[str, ast.expr, _Locals]]:
    """Exception, message and local texts of every error."""
    constants = _assigned(tree)
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef | ast.Module):
            values = {**constants, **_assigned(scope)}
            for node in _own(scope):
                if isinstance(node, ast.Call) and node.args and _name(node.func) in ERRORS:
                    yield _name(node.func), node.args[_name(node.func) == "Diverged"], values


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope without those of functions within it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from _own(child)


def _assigned(scope: ast.AST) -> _Locals:
    """Texts that are assigned to a name once."""
    values: dict[str, list[ast.expr]] = {}
    for node in _own(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            values.setdefault(node.targets[0].id, []).append(node.value)
    texts = ast.JoinedStr | ast.Constant | ast.IfExp | ast.BinOp
    return {name: value for name, (value, *more) in values.items() if not more and isinstance(value, texts)}


def _text(node: ast.expr, values: _Locals) -> str:
    """The text of an expression, with placeholders for what is known at run time only."""
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return "".join(_text(part, values) for part in node.values)
        case ast.FormattedValue():
            return _text(node.value, values)
        case ast.BinOp(left=left, op=ast.Add(), right=right) if _is_text(left) or _is_text(right):
            return _text(left, values) + _text(right, values)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return f"{_text(left, values)}/{_text(right, values)}"
        case ast.IfExp(body=body, orelse=orelse):
            return " or ".join(filter(None, (_text(body, values), _text(orelse, values))))
        case ast.Name(id=name) if name in values:
            return _text(values[name], {key: value for key, value in values.items() if key != name})
        case ast.Call(func=func, args=[argument, *_]) if _name(func) in ("redact", "printable"):
            return _text(argument, values)
    return _PLACEHOLDER.format(_meaning(node))


def _meaning(node: ast.expr) -> str:
    """A short name of an expression."""
    match node:
        case ast.Name() | ast.Attribute():
            return _name(node).strip("_")
        case ast.Subscript(value=value) | ast.Starred(value=value) | ast.Await(value=value):
            return _meaning(value)
        case ast.Call(func=func) if _name(func) in CALLS:
            return CALLS[_name(func)]
        case ast.Call(func=ast.Attribute(attr="join"), args=[argument]):
            return _meaning(argument)
        case ast.Call(args=[argument, *_]):
            return _meaning(argument)
        case ast.Call(func=ast.Attribute(value=value)):
            return _meaning(value)
        case ast.Call(func=func):
            return _meaning(func)
        case ast.BoolOp(values=[first, *_]) | ast.Tuple(elts=[first, *_]) | ast.List(elts=[first, *_]):
            return _meaning(first)
        case ast.GeneratorExp(generators=[first, *_]) | ast.ListComp(generators=[first, *_]):
            return _meaning(first.iter)
        case ast.BinOp(left=left):
            return _meaning(left)
        case ast.Constant(value=value):
            return str(value)
    return ast.unparse(node)[:_LONGEST]


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _without_placeholders(text: str) -> str:
    return "".join(part.rpartition("›")[2] for part in text.split("‹"))


def _cell(text: str) -> str:
    """Text in a cell of a table, with characters of Markdown and HTML shown as they are."""
    return re.sub(r"[\\`*_\[\]|<#~$]", r"\\\g<0>", " ".join(text.split()))
