"""A page of the findings of a study.

:func:`extract` reduces a results folder to small CSV files; :func:`write_page` writes the page from these files alone.
"""

from spectralseg.reporting.findings.extract import extract
from spectralseg.reporting.findings.page import write_page

__all__ = ["extract", "write_page"]
