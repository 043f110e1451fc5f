"""A table: its page as text, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from spectralseg.files import csv_text, write_texts
from spectralseg.reporting import rendering
from spectralseg.reporting.report_link import report_link


@dataclass(frozen=True)
class Table:
    """A finished table.

    Attributes:
        page: the table as text.
        cells: its numbers. A table of metrics has one row per protocol and published cell, in published units:
            ``published``, ``published_bold``, the columns of :data:`spectralseg.reporting.measurements.MEASURED`,
            ``measured_best``, ``missing_runs``, ``paper`` (the folder of the paper, empty where nothing is published)
            and the columns that place and select the cell. ``leak_free`` is empty
            where all cases count; otherwise it names the last part whose matching test cases are left out.
    """

    page: rendering.Page
    cells: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the table and stem of its files."""
        return self.page.name

    def csv(self) -> str:
        """The cells in long format; column ``source`` is the origin of the data."""
        return csv_text(self.cells)

    def markdown(self) -> str:
        """One section per protocol, one pipe table per block."""
        return rendering.markdown(self.page)

    def latex(self) -> str:
        """One ``table`` environment per protocol; needs the packages booktabs and graphicx."""
        return rendering.latex(self.page)

    def html(self, report: str = "") -> str:
        """A self-contained page, with a link to the report at an address unless it is empty."""
        return rendering.html(self.page, report=report)

    def write(self, folder: Path | str) -> list[Path]:
        """Write ``<name>.csv``, ``.json``, ``.md``, ``.tex`` and ``.html`` into a folder and return their paths."""
        texts = {
            "csv": self.csv(),
            "json": rendering.json_text(self.page),
            "md": self.markdown(),
            "tex": self.latex(),
            "html": self.html(report_link(folder)),
        }
        return write_texts(folder, {f"{self.name}.{suffix}": text for suffix, text in texts.items()})
