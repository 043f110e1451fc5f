"""Outlines of polyps and skin lesions.

Actual and predicted outlines of polyps and skin lesions, in and out of distribution (the paper's Figure 5). Cases are
selected by foreground area alone; their ids are in the footer.

The paper shows cases in which the spectral term improves the outline and does not state how they were selected. Here
the cases are selected by foreground area alone, so they show typical behaviour, good or bad. Three cases per dataset
are no evidence; see the tables for results over all cases.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from spectralseg.reporting.drawing import images
from spectralseg.reporting.figures._strips import contour_figure, strip_of
from spectralseg.reporting.results import Results

IMAGES = True
RUNS = {
    "dataset": ("kvasir_seg", "isic2018"),
    "architecture": ("unet", "transunet"),
    "objective": ("spatial_spectral",),
    "lambda": ("0.2",),
}


def build(results: Results) -> Figure:
    """Contours in distribution and out of distribution: Kvasir-SEG, PolypGen, ISIC-18, ISIC-17."""
    pairs = [("kvasir_seg", "polypgen"), ("isic2018", "isic2017")]
    names, left_out = images.available(results, [name for pair in pairs for name in pair])
    bands = [[strip_of(results, pair[0], name) for name in pair if name in names] for pair in pairs]
    return contour_figure([band for band in bands if band], left_out, results.demonstration)
