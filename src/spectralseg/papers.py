"""Papers whose published numbers and claims are data: one folder each in ``config/published``.

``paper.yaml`` of a folder holds the paper's short name, title and citation, and selects runs of its own methods, e.g.
``own: {objective: [spatial_spectral]}``; a study without any is not about the paper. Beside it are its claims in
``claims.csv`` and ``claims_cells.csv`` (:mod:`spectralseg.published.claims`) and its tables in ``table_<number>.csv``
(:mod:`spectralseg.published.tables`); a paper may lack either. Names of tables are unique over all papers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectralseg.errors import InputError
from spectralseg.files import visible
from spectralseg.parsing import read_yaml
from spectralseg.registry import suggest

DESCRIPTION = "paper.yaml"
_TEXTS = ("name", "title", "citation")
_KEYS = ("dataset", "architecture", "objective", "lambda")  # of a run
_FOLDER = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Paper:
    """A paper.

    Attributes:
        folder: its folder, whose name identifies the paper in results.
        name: short name in headings.
        title: title of the paper.
        citation: authors, place and year, without the title.
        own: key of a run → values that its own methods have; empty if every run counts.
    """

    folder: Path
    name: str
    title: str
    citation: str
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    def is_own(self, run: Mapping[str, Any]) -> bool:
        """Whether a run, by its keys, is of one of the paper's own methods."""
        return all(str(run[key]) in values for key, values in self.own.items())

    @property
    def id(self) -> str:
        """Value of the column ``paper`` in results."""
        return self.folder.name

    @property
    def claims(self) -> Path | None:
        """The file of its claims; None if it has none."""
        file = self.folder / "claims.csv"
        return file if file.is_file() else None

    @property
    def tables(self) -> dict[str, Path]:
        """Files of its tables by name."""
        return {file.stem: file for file in visible(self.folder.glob("table_*.csv"))}

    @property
    def files(self) -> list[Path]:
        """All its files that results depend on."""
        claims = [self.claims, self.folder / "claims_cells.csv"] if self.claims else []
        return [self.folder / DESCRIPTION, *filter(None, claims), *self.tables.values()]


def read_papers(published: Path | str) -> tuple[Paper, ...]:
    """The papers of a folder such as ``config/published``, sorted by folder; none if the folder does not exist.

    Raises:
        InputError: a file lies outside of the papers' folders, a folder has another name than lower-case letters,
            digits and ``_``, its ``paper.yaml`` is missing or malformed, or two papers have a table of the same name.
    """
    entries = visible(Path(published).glob("*"))
    if files := [entry for entry in entries if entry.suffix == ".csv"]:
        raise InputError(f"{files[0]}: is not in the folder of a paper; move it to {published}/<paper>/")
    papers = tuple(_read_paper(entry) for entry in entries if entry.is_dir())
    _tables(papers)
    return papers


def published_tables(published: Path | str) -> dict[str, tuple[Paper, Path]]:
    """Paper and file of each published table by name.

    Raises:
        InputError: as for :func:`read_papers`.
    """
    return _tables(read_papers(published))


def find_table(published: Path | str, name: str) -> tuple[Paper, Path]:
    """Paper and file of a published table.

    Raises:
        InputError: as for :func:`read_papers`, or no paper has the table.
    """
    tables = published_tables(published)
    if name not in tables:
        raise InputError(f"{published}: no paper has a table '{name}'; {suggest(name, tables)}")
    return tables[name]


def _tables(papers: Iterable[Paper]) -> dict[str, tuple[Paper, Path]]:
    tables: dict[str, tuple[Paper, Path]] = {}
    for paper in papers:
        for name, file in paper.tables.items():
            if name in tables:
                raise InputError(f"{file}: table '{name}' is also in {tables[name][1]}; renumber one of them")
            tables[name] = paper, file
    return tables


def _read_paper(folder: Path) -> Paper:
    if not _FOLDER.fullmatch(folder.name):
        raise InputError(f"{folder}: is not a valid folder of a paper; name it with lower-case letters, digits and '_'")
    file = folder / DESCRIPTION
    content = read_yaml(file)
    texts = {key: value for key, value in content.items() if key != "own"} if isinstance(content, dict) else {}
    if sorted(texts) != sorted(_TEXTS) or not all(map(_is_line, texts.values())):
        raise InputError(f"{file}: is not the description of a paper; give {', '.join(_TEXTS)}, each a line of text")
    own = content.get("own", {})
    if not isinstance(own, dict) or not all(key in _KEYS and _is_list(values) for key, values in own.items()):
        raise InputError(f"{file}: 'own' selects no runs; give lists of names for {', '.join(_KEYS)}")
    return Paper(folder, **texts, own={key: tuple(values) for key, values in own.items()})


def _is_list(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(map(_is_line, values))


def _is_line(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\n" not in value
