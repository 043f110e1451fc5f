"""Figures as files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from PIL import Image

from spectralseg.files import replacing
from spectralseg.reporting.drawing import style

MAXIMUM_BYTES = 700_000


class FigureFiles(NamedTuple):
    """A written figure."""

    pdf: Path
    png: Path


def save_figure(figure: Figure, name: str, folder: Path | str) -> FigureFiles:
    """Write a figure as ``<name>.pdf`` and ``<name>.png`` (150 dpi, below 700 kB) into a folder."""
    files = FigureFiles(Path(folder) / f"{name}.pdf", Path(folder) / f"{name}.png")
    with style.applied():
        with replacing(files.pdf) as partial:
            # Without a date, equal results give equal files.
            figure.savefig(partial, metadata={"CreationDate": None}, dpi=300)
        with replacing(files.png) as partial:
            figure.savefig(partial, dpi=style.PNG_DPI)
            _limit_size(partial)
    return files


def _limit_size(png: Path) -> None:
    """Reduce a picture to the maximum size: first fewer colours, then fewer pixels."""
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
