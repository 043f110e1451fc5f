"""Dataset cards: one self-contained page about a prepared dataset."""

from __future__ import annotations

from pathlib import Path

from spectralseg.data.prepared import open_prepared
from spectralseg.reporting.cards import charts
from spectralseg.reporting.cards.card import content
from spectralseg.reporting.cards.measures import measure
from spectralseg.reporting.rendering.html import linked, write_html
from spectralseg.reporting.report_link import report_link


def write_card(prepared: Path | str, out: Path | str) -> None:
    """Write the card of a prepared dataset as one self-contained HTML page.

    The same dataset gives the same bytes. Arrays are never held in memory as a whole.

    Args:
        prepared: folder of the prepared dataset.
        out: HTML file.

    Raises:
        InputError: the prepared dataset is missing, damaged or empty.
    """
    measures = measure(open_prepared(prepared))
    with charts.applied():
        values = content(measures)
    values |= linked(report_link(Path(out).parent))
    write_html(Path(out), "card.html", values, percent=charts.percent, number="{:,}".format)
