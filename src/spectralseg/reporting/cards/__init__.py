"""Dataset cards: one self-contained page about a prepared dataset, pictures first."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from spectralseg.data.prepared import open_prepared
from spectralseg.files import replacing
from spectralseg.reporting.cards import charts
from spectralseg.reporting.cards.content import content
from spectralseg.reporting.cards.measures import measure


def write_card(prepared: Path | str, out: Path | str) -> None:
    """Write the card of a prepared dataset as one HTML page that needs no other file.

    The same dataset gives the same bytes. Arrays are never held in memory as a whole.

    Args:
        prepared: folder of the prepared dataset.
        out: HTML file.

    Raises:
        InputError: the prepared dataset is missing, damaged or empty.
    """
    measures = measure(open_prepared(prepared))
    environment = Environment(
        loader=PackageLoader("spectralseg.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"percent": charts.percent, "number": "{:,}".format}
    with charts.applied():
        page = environment.get_template("card.html").render(content(measures))
    with replacing(Path(out)) as partial:
        partial.write_text(page + "\n", encoding="utf-8")
