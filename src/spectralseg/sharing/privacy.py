"""Keep paths, names of users and machines, and secrets out of shared files."""

from __future__ import annotations

import contextlib
import getpass
import html
import os
import re
import socket
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from spectralseg.errors import InputError
from spectralseg.loading import read_parquet, reading
from spectralseg.parsing import read_json, read_yaml
from spectralseg.redaction import contains_secret

ELSEWHERE = "elsewhere/"
"""Replaces the folder of an absolute path."""
_TEXTS = {".csv", ".html", ".json", ".jsonl", ".md", ".tex", ".txt", ".yaml"}
_STRUCTURED = {".json": read_json, ".yaml": read_yaml}
# Two folders or more, of this machine or the one that trained; not relative addresses and fragments.
_ABSOLUTE = r"(?<![\w./~*%)#-])/[\w.@+-]+/[\w.@+-]+"
_WINDOWS = r"(?<![\w/])[A-Za-z]:(?:\\{1,2}[\w.$~-]+\\|/[\w.$~-]+/)|(?<![\\\w])\\{2}[\w.-]+\\[\w.$-]+"
_FILE_ADDRESS = re.compile(r"\bfile:/")
_BASE64 = re.compile(r"base64,[A-Za-z0-9+/=]+")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})|\\([\\/])")  # characters of JSON
_STREAM = re.compile(rb"stream\r?\n.*?endstream", re.DOTALL)  # of a PDF file
# Names that say nothing about a person or machine, or are ordinary words of results.
_GENERIC = {
    "root",
    "user",
    "admin",
    "ubuntu",
    "debian",
    "runner",
    "jovyan",
    "data",
    "test",
    "localhost",
    "guest",
    "main",
}
_SHORTEST = 4  # characters of a name of a user or machine that is searched for


class Leak(NamedTuple):
    """Something in a file that must not be shared.

    Attributes:
        place: the line or the column, e.g. ``line 3``.
        what: a clause, e.g. ``the path /home/anna/data``.
    """

    place: str
    what: str


class Machine:
    """What identifies this machine and its user, and what the study is called on it.

    Args:
        study: results folder of the study.
    """

    def __init__(self, study: Path) -> None:
        self._folders = [os.fspath(folder) for folder in (study.absolute(), study.resolve(), Path.home(), Path.cwd())]

    @cached_property
    def _path(self) -> re.Pattern[str]:
        folders = [re.escape(folder) + r"(?![\w.-])" for folder in self._folders if folder.count("/") > 1]
        return re.compile("|".join([*folders, _WINDOWS, _ABSOLUTE]))

    @cached_property
    def _name(self) -> re.Pattern[str] | None:
        host = socket.gethostname()
        patterns = {name: f"(?i:{re.escape(name)})" for name in (host, host.partition(".")[0])}
        with contextlib.suppress(KeyError, OSError):  # a user without a name
            patterns.setdefault(user := getpass.getuser(), re.escape(user))
        kept = [patterns[name] for name in patterns if len(name) >= _SHORTEST and name.lower() not in _GENERIC]
        return re.compile(rf"(?<![\w.-])(?:{'|'.join(kept)})(?![\w-])") if kept else None

    def leak_of(self, text: str) -> str:
        """What of a text must not be shared, as a clause; empty if nothing. Escapes of JSON, HTML and URLs are read."""
        plain = html.unescape(unquote(_ESCAPED.sub(_unescaped, text)))
        return self._leak_of(text) or (self._leak_of(plain) if plain != text else "")

    def _leak_of(self, text: str) -> str:
        if contains_secret(text):
            return "a password, token or other secret"
        for pattern in (self._path, _FILE_ADDRESS):
            if match := pattern.search(text):
                return f"the path {match[0]} of a machine"
        if self._name and (match := self._name.search(text)):
            return f"the name '{match[0]}' of this user or machine"
        return ""

    def leaks(self, file: Path) -> Iterator[Leak]:
        """What a file must not be shared with: lines of texts, and texts of parquet files. Pixels are not checked."""
        if file.suffix in _TEXTS:
            lines = file.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines, 1):
                if what := self.leak_of(_BASE64.sub("", line)):
                    yield Leak(f"line {number}", what)
        elif file.suffix == ".parquet":
            for place, text in _texts_of(file):
                if what := self.leak_of(text):
                    yield Leak(place, what)
        elif what := self.leak_of(_metadata(file)):
            yield Leak("metadata", what)


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else match[2]


def _metadata(file: Path) -> str:
    """The texts that a PNG or PDF file has beside its picture."""
    if file.suffix == ".png":
        with reading(file, "a picture", "draw it again"), Image.open(file, formats=("PNG",)) as picture:
            picture.load()  # texts may follow the pixels
            return " ".join(f"{key} {value}" for key, value in picture.info.items() if isinstance(value, str))
    return _STREAM.sub(b"", file.read_bytes()).decode("latin-1")


def _texts_of(file: Path) -> Iterator[tuple[str, str]]:
    """All texts of a parquet file, also those of dictionaries that no row has."""
    table = read_parquet(file, "a table", "make it again")
    for key, value in (table.schema.metadata or {}).items():
        yield "metadata", f"{key.decode(errors='replace')} {value.decode(errors='replace')}"
    for name, column in zip(table.column_names, table.columns, strict=True):
        yield "columns", name
        parts = [chunk.dictionary if pa.types.is_dictionary(column.type) else chunk for chunk in column.chunks]
        if parts and not pa.types.is_primitive(parts[0].type):
            values = pa.chunked_array(parts)
            if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
                values = pc.unique(values)  # not of lists
            yield from ((f"column '{name}'", str(text)) for text in values.to_pylist())


def without_folders(file: Path) -> str:
    """The text of a file of JSON or YAML whose values that are absolute paths have lost their folder.

    ``/home/anna/acdc.zip`` becomes ``elsewhere/acdc.zip``. Lines stay the same, so that a message can name them.

    Raises:
        InputError: the file is damaged.
    """
    text = file.read_text(encoding="utf-8")
    for path in sorted(set(_absolute_paths(_STRUCTURED[file.suffix](file))), key=len, reverse=True):
        shortened = f"{ELSEWHERE}{Path(path).name}".replace("\\", r"\\")
        text = re.sub(rf"(?<![\w./~-]){re.escape(path)}(?![\w.-])", shortened, text)
    return text


def _absolute_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _absolute_paths(part)
    elif isinstance(value, list):
        for part in value:
            yield from _absolute_paths(part)
    elif isinstance(value, str) and os.path.isabs(value) and len(Path(value).parts) > 1:
        yield value


def refuse_leaks(staged: Path, study: Path) -> None:
    """Refuse files that tell a secret, or something about this machine or its user.

    Args:
        staged: folder of the files that are to be shared.
        study: results folder of the study, whose files of the same names messages refer to.

    Raises:
        InputError: names the first such file and its line, and what is wrong.
    """
    machine = Machine(study)
    for file in sorted(staged.rglob("*")):
        if file.is_file() and not file.is_symlink():
            for leak in machine.leaks(file):
                name = study / file.relative_to(staged)
                raise InputError(f"{name}, {leak.place}: contains {leak.what}; remove it and bundle the study again")
