"""Keep paths, names of users and machines, and secrets out of shared files."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from spectralseg.errors import InputError
from spectralseg.files import notes_of
from spectralseg.parsing import read_json, read_yaml
from spectralseg.redaction import contains_secret

ELSEWHERE = "elsewhere/"
"""Replaces the folder of an absolute path."""
_TEXTS = {".csv", ".html", ".json", ".jsonl", ".md", ".tex", ".txt", ".yaml"}
_STRUCTURED = {".json": read_json, ".yaml": read_yaml}
_ROOTS = ("home", "Users", "root", "tmp", "var", "mnt", "media", "scratch", "data", "work", "opt", "srv", "nfs", "gpfs")
_WINDOWS = re.compile(r"(?<![\w/])[A-Za-z]:\\{1,2}[\w.$~-]+\\")
_FILE_ADDRESS = re.compile(r"\bfile:/")
_BASE64 = re.compile(r"base64,[A-Za-z0-9+/=]+")
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
        roots = {*_ROOTS, *(entry for entry in os.listdir("/") if entry.isalnum())}
        folders = [re.escape(folder) + r"(?![\w.-])" for folder in self._folders if folder.count("/") > 1]
        return re.compile("|".join([*folders, rf"(?<![\w.:/~<*%)-])/(?:{'|'.join(sorted(roots))})/[\w.@+-]+"]))

    @cached_property
    def _name(self) -> re.Pattern[str] | None:
        names = {socket.gethostname(), socket.gethostname().partition(".")[0]}
        with contextlib.suppress(KeyError, OSError):  # a user without a name
            names.add(getpass.getuser())
        names = {name for name in names if len(name) >= _SHORTEST and name.lower() not in _GENERIC}
        return re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, sorted(names)))})(?![\w-])") if names else None

    def leak_of(self, text: str) -> str:
        """What of a text must not be shared, as a clause; empty if nothing."""
        if contains_secret(text):
            return "a password, token or other secret"
        for pattern in (self._path, _WINDOWS, _FILE_ADDRESS):
            if match := pattern.search(text):
                return f"the path {match[0]} of this machine"
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
        else:
            content = file.read_bytes()
            for folder in self._folders:
                if folder.count("/") > 1 and os.fsencode(folder) in content:
                    yield Leak("metadata", f"the path {folder} of this machine")


def _texts_of(file: Path) -> Iterator[tuple[str, str]]:
    table = parquet.read_table(file, partitioning=None)
    yield "metadata", str(notes_of(table) or "")
    for column in table.schema:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            for text in pc.unique(table[column.name].cast(pa.string())).to_pylist():
                yield f"column '{column.name}'", text or ""


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
