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
from spectralseg.reporting.report_link import report_link
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
        numbers: the values behind the page; column ``part`` names the table of the page that a row belongs to.
        figure: the figure of the page.
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
            "html": rendering.html(self.page, f"data:image/png;base64,{picture}", report_link(folder)),
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
    """A page that starts with the question, the answer as far as the data allow, and the missing runs.

    Args:
        results: the results folder; the page of phantoms starts with their banner.
        name: name of the study.
        title: the question.
        answer: the answer in one sentence, then one sentence for each point of evidence.
        needed: one sentence for each missing input, with the command that makes it.
        sections: tables; sections without a block are left out.
        legend: legend of the tables.
        row_headings: headings of their label columns.
        notes: further remarks.
        warnings: warnings besides the banner.
    """
    first, *points = answer
    needs = " ".join(needed)
    return Page(
        name=name,
        title=title,
        warnings=(*results.banner, *warnings),
        row_headings=row_headings,
        sections=tuple(section for section in sections if section.blocks),
        legend=legend,
        notes=tuple(notes),
        lead=(("Answer", first, tuple(points)), *([("Needed", needs, ())] if needs else [])),
    )
