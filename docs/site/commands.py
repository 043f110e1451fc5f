"""Reference of the command line, from the parser: usage, arguments, defaults, exit statuses and examples."""

from __future__ import annotations

import argparse
import functools
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from spectralseg import cli

REPOSITORY = Path(__file__).parents[2]
GUIDES = {path.name: path for path in sorted((REPOSITORY / "docs").glob("*.md"))}
USUAL_FAILURE = 1  # exit status after an error in the input
EXAMPLES = 2  # of each command, from different guides

_DEFAULT = re.compile(r" *\(default: (.*)\)$")
_BASH = re.compile(r"^ *```bash\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def reference() -> str:
    """Markdown: exit statuses, a table of all commands, and a section for each."""
    commands = parsers()
    examples = _examples()
    rows = "".join(f"| [`{name}`](#{name}) | {_cell(command.description)} |\n" for name, command in commands.items())
    sections = "\n".join(_section(name, command, examples.get(name, {})) for name, command in commands.items())
    statuses = "".join(f"- {status}\n" for status in exit_statuses())
    table = f"| command | purpose |\n| --- | --- |\n{rows}"
    return f"## Exit status\n\n{statuses}\n## All commands\n\n{table}\n{sections}"


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command by name, in the order of ``--help``."""
    (subparsers,) = (
        action
        for action in cli.parser()._actions
        if isinstance(action, argparse._SubParsersAction)  # argparse has no public way to the parsers of commands
    )
    return dict(subparsers.choices)


def exit_statuses() -> list[str]:
    """The exit statuses with their meanings, from the docstring of :func:`spectralseg.cli.main`."""
    _, _, returns = (inspect.getdoc(cli.main) or "").partition("Returns:\n")
    sentence = _plain(" ".join(returns.split("\n\n")[0].split()))
    return re.split(r"; (?=\d)", sentence.removeprefix("The exit status: "))


def _section(name: str, command: argparse.ArgumentParser, examples: Mapping[str, str]) -> str:
    command.formatter_class = functools.partial(argparse.HelpFormatter, width=88)  # type: ignore[assignment]
    usage = textwrap.dedent(command.format_usage().replace("usage: ", " " * len("usage: ")))
    parts = [f"## {name}", _plain(command.description or ""), f"```text\n{usage}```"]
    rows = [_row(command, action) for action in command._actions if action.dest != "help"]
    if rows:
        parts.append("| argument | meaning | default |\n| --- | --- | --- |\n" + "\n".join(rows))
    if command.epilog:
        parts.append(f"```text\n{inspect.cleandoc(command.epilog)}\n```")
    failure = command.get_default("failure")
    if failure != USUAL_FAILURE:
        parts.append(f"Exit status after an error in the input: {failure}.")
    parts += [f"From [{_title(guide)}]({guide}):\n\n```bash\n{line}\n```" for guide, line in examples.items()]
    return "\n\n".join(parts) + "\n"


def _row(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    values = {**vars(action), "prog": command.prog}
    if action.choices is not None:
        values["choices"] = ", ".join(map(str, action.choices))
    meaning = (action.help or "") % values
    given = _DEFAULT.search(meaning)
    if given:
        default = f"`{given[1]}`" if " " not in given[1] else given[1]
    else:
        default = "required" if _is_required(action) else "none"
    if isinstance(action, argparse._StoreTrueAction) and not given:
        default = "off"
    cells = (f"`{_name(action)}`", _DEFAULT.sub("", meaning), default)
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _is_required(action: argparse.Action) -> bool:
    return action.required and action.nargs not in ("?", "*")


def _name(action: argparse.Action) -> str:
    """The name of an argument with its values, as in ``--seed SEED``."""
    if not action.option_strings:
        return str(action.metavar or action.dest)
    if action.nargs == 0:
        return ", ".join(action.option_strings)
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else None
    value = str(action.metavar or choices or action.dest.upper())
    value = {"?": f"[{value}]", "+": f"{value} ...", "*": f"[{value} ...]"}.get(str(action.nargs), value)
    return f"{', '.join(action.option_strings)} {value}"


def _examples() -> dict[str, dict[str, str]]:
    """The first command line of each command in each guide, in at most ``EXAMPLES`` guides: command, guide, line."""
    examples: dict[str, dict[str, str]] = {}
    for guide, name, line in _command_lines():
        lines = examples.setdefault(name, {})
        if guide not in lines and len(lines) < EXAMPLES and line not in lines.values():
            lines[guide] = line
    return examples


def _command_lines() -> Iterator[tuple[str, str, str]]:
    """Guide, command and line of all command lines in the blocks of the guides."""
    for guide, path in GUIDES.items():
        for block in _BASH.findall(path.read_text(encoding="utf-8")):
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                if match := re.match(r" *spectralseg ([\w-]+)", line):
                    yield guide, match[1], line.strip()


def _title(guide: str) -> str:
    return GUIDES[guide].read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _plain(text: str) -> str:
    return text.replace("``", "`")


def _cell(text: str | None) -> str:
    """Text in a cell of a table; what looks like a tag or a pattern is shown as it is."""
    escaped = (text or "").replace("|", "\\|")
    return escaped if "`" in escaped else re.sub(r"([<*_])", r"\\\1", escaped)
