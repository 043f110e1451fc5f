"""The paper's figures, redrawn from stored predictions, and others. Its Figures 1 and 4 show no results."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from PIL import Image

from spectralseg.errors import InputError
from spectralseg.files import replacing
from spectralseg.reporting import style
from spectralseg.reporting.figures.activation import figure_9
from spectralseg.reporting.figures.corruptions import corruptions
from spectralseg.reporting.figures.cost import cost
from spectralseg.reporting.figures.forest import forest
from spectralseg.reporting.figures.frequency import frequency
from spectralseg.reporting.figures.lambda_curves import lambda_curves
from spectralseg.reporting.figures.leak_free import leak_free
from spectralseg.reporting.figures.leakage import leakage_matrix
from spectralseg.reporting.figures.reliability import reliability
from spectralseg.reporting.figures.scatter import scatter
from spectralseg.reporting.figures.segmentation import figure_5, figure_6, figure_7
from spectralseg.reporting.figures.severity import severity
from spectralseg.reporting.figures.spectral import figure_2, figure_3, figure_8
from spectralseg.reporting.results import Results

FIGURES: dict[str, Callable[[Results], Figure]] = {
    "figure_2": figure_2,
    "figure_3": figure_3,
    "figure_5": figure_5,
    "figure_6": figure_6,
    "figure_7": figure_7,
    "figure_8": figure_8,
    "figure_9": figure_9,
    "leakage_matrix": leakage_matrix,
    "corruptions": corruptions,
    "forest": forest,
    "severity": severity,
    "reliability": reliability,
    "lambda_curves": lambda_curves,
    "frequency": frequency,
    "scatter": scatter,
    "leak_free": leak_free,
    "cost": cost,
}
MAXIMUM_BYTES = 700_000


class FigureFiles(NamedTuple):
    """A written figure."""

    pdf: Path
    png: Path


def write_figure(name: str, results: Results, folder: Path | str) -> FigureFiles:
    """Draw a figure and write ``<name>.pdf`` and ``<name>.png`` (150 dpi, below 700 kB) into a folder.

    Args:
        name: key of :data:`FIGURES`.
        results: the results folder; what it lacks is shown as missing.
        folder: where the files go.

    Raises:
        InputError: there is no such figure, or a file of the results is damaged.
    """
    if name not in FIGURES:
        raise InputError(f"figure '{name}' is unknown; available: {', '.join(FIGURES)}")
    with style.applied():
        figure = FIGURES[name](results)
    return save_figure(figure, name, folder)


def save_figure(figure: Figure, name: str, folder: Path | str) -> FigureFiles:
    """Write a figure as ``<name>.pdf`` and ``<name>.png`` (150 dpi, below 700 kB) into a folder."""
    files = FigureFiles(Path(folder) / f"{name}.pdf", Path(folder) / f"{name}.png")
    with style.applied():
        with replacing(files.pdf) as partial:
            # Without a date the same results give the same file.
            figure.savefig(partial, metadata={"CreationDate": None}, dpi=300)
        with replacing(files.png) as partial:
            figure.savefig(partial, dpi=style.PNG_DPI)
            _limit_size(partial)
    return files


def _limit_size(png: Path) -> None:
    """Bring a picture below the maximum: first fewer colours, then fewer pixels."""
    if png.stat().st_size <= MAXIMUM_BYTES:
        return
    with Image.open(png) as opened:
        full = opened.convert("RGB")
    scale = 1.0
    while True:
        size = (round(full.width * scale), round(full.height * scale))
        resized = full.resize(size, Image.Resampling.LANCZOS)
        palette = resized.quantize(256)
        palette.putpalette([255 if value >= 248 else value for value in palette.getpalette() or []])
        resized.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(png, optimize=True)
        excess = png.stat().st_size / MAXIMUM_BYTES
        if excess <= 1:
            return
        scale *= min(0.9, math.sqrt(1 / excess))
