"""Outlines of nuclei and brain tumours.

Actual and predicted outlines of nuclei and brain tumours (the paper's Figure 6). Cases are selected by foreground area
alone; their ids are in the footer.

The paper presents TransUNet with the spectral term as the best outline of many small nuclei and of tumours of varied
shape. The cases here follow a fixed rule on foreground area. On nuclei, look for merged neighbours; on tumours, for
missed or invented regions.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from spectralseg.reporting.drawing import images
from spectralseg.reporting.figures._strips import contour_figure, strip_of
from spectralseg.reporting.results import Results

IMAGES = True
RUNS = {
    "dataset": ("monuseg", "btseg"),
    "architecture": ("unet", "transunet"),
    "objective": ("spatial_spectral",),
    "lambda": ("0.2",),
}


def build(results: Results) -> Figure:
    """Contours on MoNuSeg and BTSeg."""
    names, left_out = images.available(results, RUNS["dataset"])
    bands = [[strip_of(results, name, name)] for name in names]
    return contour_figure(bands, left_out, results.demonstration)
