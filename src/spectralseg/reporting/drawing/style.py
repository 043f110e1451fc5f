"""One look for every figure: colour-blind safe, vector friendly, readable in print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

# Okabe and Ito's palette, which stays apart under the common colour vision deficiencies.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, WINE = "#0072B2", "#D55E00", "#CC79A7", "#882255"

ACTUAL = VERMILLION
PREDICTED = GREEN
PART_COLOURS = {"train": "#24425C", "validation": "#7395AE", "test": "#C3D3DE"}  # they differ in lightness alone
CLASS_COLOURS = (ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE, WINE)
SPECTRUM_MAP = "magma"
ACTIVATION_MAP = "inferno"
EMPTY = "#F2F2F2"
FAINT = "#767676"

FONT = "DejaVu Sans"  # ships with matplotlib, so that figures do not depend on the machine
TEXT_SIZE = 7.0
SMALL_SIZE = 6.0  # minimum, as figures are printed in their original size
PAGE_WIDTH = 7.1  # inches: two columns of a journal, or a page
PNG_DPI = 150

# One look per method: colour, marker and dashes all differ, so that methods differ without colour as well.
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "o", "linestyle": "-"},
    {"color": VERMILLION, "marker": "s", "linestyle": (0, (4, 1.5))},
    {"color": GREEN, "marker": "^", "linestyle": (0, (1.2, 1.2))},
    {"color": PURPLE, "marker": "D", "linestyle": (0, (5, 1.2, 1.2, 1.2))},
    {"color": "black", "marker": "v", "linestyle": (0, (7, 1.5))},
    {"color": ORANGE, "marker": "P", "linestyle": (0, (3, 1, 1, 1, 1, 1))},
)

_STYLE: dict[Any, Any] = {
    "axes.linewidth": 0.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": TEXT_SIZE,
    "axes.titlepad": 3.0,
    "axes.labelsize": SMALL_SIZE,
    "axes.labelpad": 1.5,
    "font.family": FONT,
    "font.size": TEXT_SIZE,
    "image.interpolation": "none",
    "legend.fontsize": TEXT_SIZE,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "pdf.fonttype": 42,
    "text.hinting": "none",  # equal line widths in PNG and PDF
    "text.parse_math": False,  # case ids may hold a dollar sign
    "xtick.labelsize": SMALL_SIZE,
    "xtick.major.size": 2.0,
    "xtick.major.pad": 1.5,
    "xtick.major.width": 0.5,
    "ytick.labelsize": SMALL_SIZE,
    "ytick.major.size": 2.0,
    "ytick.major.pad": 1.5,
    "ytick.major.width": 0.5,
}


@contextmanager
def applied() -> Iterator[None]:
    """Use the style within the block, then restore matplotlib's settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield
