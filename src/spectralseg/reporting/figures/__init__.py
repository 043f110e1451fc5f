"""Figures: one module each, see :mod:`spectralseg.outputs`. The paper's Figures 1 and 4 show no results."""

from __future__ import annotations

import importlib
from pathlib import Path

from matplotlib.figure import Figure

from spectralseg.outputs import module_of
from spectralseg.reporting.drawing import style
from spectralseg.reporting.drawing.saving import FigureFiles, save_figure
from spectralseg.reporting.results import Results


def build_figure(name: str, results: Results) -> Figure:
    """Draw a figure. Missing results are marked in it.

    Raises:
        InputError: there is no such figure, or a file of the results is damaged.
    """
    with style.applied():
        figure: Figure = importlib.import_module(module_of("figures", name)).build(results)
    return figure


def write_figure(name: str, results: Results, folder: Path | str) -> FigureFiles:
    """Draw a figure, see :func:`build_figure`, and write ``<name>.pdf`` and ``<name>.png`` into a folder."""
    return save_figure(build_figure(name, results), name, folder)
