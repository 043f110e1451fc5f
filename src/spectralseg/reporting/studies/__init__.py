"""Studies: one module each, see :mod:`spectralseg.outputs`. A study answers one question on a page of its own."""

from __future__ import annotations

import importlib

from spectralseg.outputs import module_of
from spectralseg.reporting.drawing import style
from spectralseg.reporting.results import Results
from spectralseg.reporting.study import Study


def build_study(name: str, results: Results) -> Study:
    """Answer the question of a study as far as the results allow.

    Raises:
        InputError: there is no such study, or a file that it needs is missing or damaged.
    """
    with style.applied():
        study: Study = importlib.import_module(module_of("studies", name)).build(results)
    return study
