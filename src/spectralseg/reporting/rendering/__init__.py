"""A :class:`Page` of tables as Markdown, LaTeX, HTML and JSON."""

from spectralseg.reporting.rendering.blocks import COUNTS, LEGEND, UNDEFINED, few_patients, protocol_sections
from spectralseg.reporting.rendering.html import html
from spectralseg.reporting.rendering.latex import escape_latex, latex
from spectralseg.reporting.rendering.markdown import markdown
from spectralseg.reporting.rendering.numbers import MINUS, NO_RUN, counted, limits, listed, margins, p_text, signed
from spectralseg.reporting.rendering.page import PROTOCOLS, Block, Entry, Line, Page, Section, json_text, read_page

__all__ = [
    "COUNTS",
    "LEGEND",
    "MINUS",
    "NO_RUN",
    "PROTOCOLS",
    "UNDEFINED",
    "Block",
    "Entry",
    "Line",
    "Page",
    "Section",
    "counted",
    "escape_latex",
    "few_patients",
    "html",
    "json_text",
    "latex",
    "limits",
    "listed",
    "margins",
    "markdown",
    "p_text",
    "protocol_sections",
    "read_page",
    "signed",
]
