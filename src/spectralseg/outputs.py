"""Tables, figures and studies by name: which exist, what they show and what they read.

Each is a module of ``spectralseg.reporting.tables``, ``figures`` or ``studies``; a new file is a new entry. The module
defines ``build(results)``, which returns a table, a matplotlib figure or a study. The first line of its docstring is
the title, the next paragraph the caption, and what follows explains it. ``NEEDS``, where the module defines it, lists
the files that it reads besides the metric records, the leakage audit and the folders of the runs: files of the results
folder, or ``published/<table>.csv`` for the published table of this name. ``RUNS`` selects the runs that it shows, by
default all: a value of each key must be a feature of the run (:mod:`spectralseg.study_outputs`), as in
``RUNS = {"dataset": ("monuseg", "btseg"), "suite": ("noise",)}``. By default a study gets what shows one of its runs.
``IMAGES`` is True if it shows images or masks of cases, which a shared study leaves out.

A published table is a file ``config/published/<paper>/<table>.csv`` (:mod:`spectralseg.papers`), whose comments hold
the same texts, and whose cells select its runs; it is shown with one of the paper's own methods only.

Modules are read, not imported: the workflow looks names up without loading matplotlib.
"""

from __future__ import annotations

import ast
import csv
import importlib.machinery
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectralseg.errors import InputError
from spectralseg.files import read_text, visible
from spectralseg.papers import Paper, published_tables
from spectralseg.registry import folders_of
from spectralseg.registry import names as modules_of

KINDS = {"tables": "table", "figures": "figure", "studies": "study"}  # and the template notebook of each
PUBLISHED = "published/"
_CONDITION = ("suite", "test_dataset", "corruption", "severity")
_MAX_BYTES = 2**24
_CONSTANTS: Mapping[str, Any] = {"NEEDS": (), "RUNS": {}, "IMAGES": False}  # of a module, with defaults


@dataclass(frozen=True)
class Output:
    """A table, figure or study.

    Attributes:
        name: its name in the configuration and the stem of its files.
        title: what it shows, in a few words; empty where only its own notebook knows.
        caption: what a reader sees, in a few sentences.
        explanation: how to read it and why it is there; may be empty.
        needs: files that it reads; see the module.
        runs: selections of the runs that it shows, of which a run must meet one: values by key; see the module.
        own: a further selection of which a run must be, that of the paper of a published table.
        images: whether it shows, or may show, images or masks of cases.
    """

    name: str
    title: str
    caption: str
    explanation: str = ""
    needs: tuple[str, ...] = ()
    runs: tuple[Mapping[str, tuple[str, ...]], ...] = ({},)
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: bool = False

    @property
    def label(self) -> str:
        """Name in print: ``table_1`` is Table 1."""
        return self.name.replace("_", " ").capitalize()

    @property
    def numbered(self) -> bool:
        """Whether it has a number, as those of a paper do."""
        return is_numbered(self.name)

    def markdown(self) -> str:
        """Heading and texts as Markdown."""
        return "\n\n".join(filter(None, (f"# {self.label}. {self.title}", self.caption, self.explanation)))


def is_numbered(name: str) -> bool:
    """Whether a name is that of a numbered table or figure of a paper, e.g. ``table_1``."""
    return re.fullmatch(r"(table|figure)_\d+", name) is not None


def names(kind: str) -> list[str]:
    """Names of all modules of a kind, a key of :data:`KINDS`: numbered ones first."""
    return sorted(modules_of(_package(kind)), key=lambda name: (not is_numbered(name), name))


def describe_all(kind: str, published: Path | str) -> list[Output]:
    """All published tables, if they are of that kind, and all modules.

    Raises:
        InputError: the folders of papers are not valid, or the file of a published table is damaged.
    """
    tables = published_tables(published) if kind == "tables" else {}
    ordered = sorted(tables, key=lambda name: (len(name), name))
    return [*(_of_file(name, *tables[name]) for name in ordered), *(_of_module(kind, name) for name in names(kind))]


def own_names(repository: Path) -> list[str]:
    """Names that a repository adds: its notebooks, apart from the templates, and its published tables.

    Raises:
        InputError: the folders of papers are not valid, or two papers have a table of the same name.
    """
    notebooks = [file.stem for file in visible((repository / "notebooks").glob("*.ipynb"))]
    return sorted({*notebooks, *published_tables(repository / "config" / "published")} - set(KINDS.values()))


def has_templates(repository: Path) -> bool:
    """Whether a folder has the notebook templates."""
    return all((repository / "notebooks" / f"{template}.ipynb").is_file() for template in KINDS.values())


def describe(kind: str, name: str, published: Path | str | None = None) -> Output:
    """Texts and needs of a table, figure or study.

    Args:
        kind: key of :data:`KINDS`.
        name: its name.
        published: folder of the papers; None where there is none.

    Raises:
        InputError: the folders of papers are not valid, or the file of the table is damaged.
    """
    if name in modules_of(_package(kind)):
        return _of_module(kind, name)
    tables = published_tables(published) if kind == "tables" and published is not None else {}
    if name in tables:
        return _of_file(name, *tables[name])
    return Output(name, "", "Made by its own notebook.", images=True)


def module_of(kind: str, name: str) -> str:
    """Full name of the module of a table, figure or study.

    Raises:
        InputError: there is no such module.
    """
    if name not in modules_of(_package(kind)):
        raise InputError(f"{KINDS[kind]} '{name}' is unknown; valid: {', '.join(names(kind))}")
    return f"{_package(kind)}.{name}"


def title_of(docstring: str | None) -> str:
    """First line of a module's docstring without its full stop."""
    return (docstring or "").strip().splitlines()[0].removesuffix(".")


def _of_file(name: str, paper: Paper, file: Path) -> Output:
    text = read_text(file, _MAX_BYTES, "give a CSV file of one results table")
    tags = dict(re.findall(r"^# ?(title|caption|explanation): *(.*)$", text, re.MULTILINE))
    texts = tags.get("title", name), tags.get("caption", ""), tags.get("explanation", "")
    return Output(name, *texts, (f"{PUBLISHED}{name}.csv",), _runs_of_cells(text), paper.own)


def _of_module(kind: str, name: str) -> Output:
    spec = importlib.machinery.PathFinder.find_spec(name, folders_of(_package(kind)))
    assert spec is not None  # as it is listed
    assert spec.origin is not None
    module = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    docstring = ast.get_docstring(module) or name
    _, caption, *explanation = [" ".join(part.split()) for part in docstring.split("\n\n")] + [""]
    constants = {
        ast.unparse(statement.targets[0]): ast.literal_eval(statement.value)
        for statement in module.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in _CONSTANTS
    }
    texts = title_of(docstring), caption, "\n\n".join(filter(None, explanation))
    needs, runs, images = (constants.get(key, default) for key, default in _CONSTANTS.items())
    return Output(name, *texts, needs, (runs,), images=images)


def _runs_of_cells(text: str) -> tuple[Mapping[str, tuple[str, ...]], ...]:
    """Runs and test conditions that the cells of a published table select, without duplicates."""
    cells = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    keys = {
        (
            *((key, (cell.get(key) or "").strip()) for key in ("dataset", "architecture", "objective", "lambda")),
            ("condition", "/".join((cell.get(key) or "").strip() for key in _CONDITION)),
        ): None
        for cell in cells
    }
    return tuple({key: (value,) for key, value in pairs} for pairs in keys)


def _package(kind: str) -> str:
    return f"spectralseg.reporting.{kind}"
