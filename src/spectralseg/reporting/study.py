"""A study: a page that answers one question, its numbers, and one figure."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from spectralseg.files import csv_text, write_texts
from spectralseg.reporting import rendering
from spectralseg.reporting.drawing.saving import save_figure
from spectralseg.reporting.rendering import Page, Section
from spectralseg.reporting.results import Results


class StudyFiles(NamedTuple):
    """A written study."""

    csv: Path
    json: Path
    md: Path
    html: Path
    pdf: Path
    png: Path


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        page: question, answer and tables as text.
        numbers: what they are made of; column ``part`` says which table of the page a row belongs to.
        figure: the same as a picture.
    """

    page: Page
    numbers: pd.DataFrame
    figure: Figure

    @property
    def name(self) -> str:
        """Name of the study and stem of its files."""
        return self.page.name

    def markdown(self) -> str:
        """The page without the figure."""
        return rendering.markdown(self.page)

    def write(self, folder: Path | str) -> StudyFiles:
        """Write ``<name>.csv``, ``.json``, ``.md``, ``.html`` (self-contained, with the figure), ``.pdf``, ``.png``."""
        figure = save_figure(self.figure, self.name, folder)
        picture = base64.b64encode(figure.png.read_bytes()).decode()
        texts = {
            "csv": csv_text(self.numbers),
            "json": rendering.json_text(self.page),
            "md": f"{self.markdown()}\n![{self.page.title}]({figure.png.name})\n",
            "html": rendering.html(self.page, f"data:image/png;base64,{picture}"),
        }
        files = write_texts(folder, {f"{self.name}.{suffix}": text for suffix, text in texts.items()})
        csv, json, md, html = files
        return StudyFiles(csv, json, md, html, figure.pdf, figure.png)


def study_page(
    results: Results,
    name: str,
    title: str,
    *,
    answer: Iterable[str],
    needed: Iterable[str] = (),
    sections: Iterable[Section],
    legend: str,
    row_headings: tuple[str, str],
    notes: Iterable[str] = (),
    warnings: Iterable[str] = (),
) -> Page:
    """A page that starts with its question, the answer as far as the data allow, and the runs that it lacks.

    Args:
        results: the results folder; on phantoms their banner comes first.
        name: name of the study.
        title: the question.
        answer: in one sentence, then what it rests on, point by point.
        needed: one sentence for each thing that is missing, with the command that makes it.
        sections: tables; those without a block are left out.
        legend: how to read them.
        row_headings: headings of their label columns.
        notes: further remarks.
        warnings: what a reader must know besides the banner.
    """
    first, *points = answer
    lacking = " ".join(needed)
    return Page(
        name=name,
        title=title,
        warnings=(*results.banner, *warnings),
        row_headings=row_headings,
        sections=tuple(section for section in sections if section.blocks),
        legend=legend,
        notes=tuple(notes),
        lead=(("Answer", first, tuple(points)), *([("Needed", lacking, ())] if lacking else [])),
    )
