"""A page that says what a study found, and the numbers that it is written from.

:func:`extract` turns a results folder into small CSV files; :func:`write_page` writes the page from these alone, so
that nothing on it can come from elsewhere.
"""

from spectralseg.reporting.findings.extract import extract
from spectralseg.reporting.findings.writing import write_page

__all__ = ["extract", "write_page"]
