"""All runs of this study in further metrics.

All runs of this study in the metrics that the paper does not have, mean over foreground classes: surface Dice and
distance, boundary IoU, further calibration errors, scores of class activation maps beside those of random maps, and
spectra.

Each kind of metric has a block per test set. A difference to the baseline is inconclusive while its interval contains
zero.
"""

from __future__ import annotations

import pandas as pd

from spectralseg.outputs import title_of
from spectralseg.published.tables import PublishedTable
from spectralseg.reporting.results import Results
from spectralseg.reporting.table import Table
from spectralseg.reporting.tables._cells import FALSE_STRUCTURES, all_runs, blocks_by_kind, fill, leak_free

METRICS = {
    "Surfaces": ("nsd", "assd", "boundary_iou"),
    "Empty references": ("false_structure",),
    "Calibration": ("ace", "brier", "nll", "pooled_ece", "band_ece", "band_mce"),
    "Class activation maps": tuple(
        f"{prefix}_{name}"
        for name in ("energy", "pointing", "iou", "insertion", "deletion")
        for prefix in ("cam", "cam_random")
    ),
    "Spectra": (
        *("spectral_correlation", "spectral_correlation_detrended", "spectral_similarity"),
        *("frc_low", "frc_mid", "frc_high"),
    ),
}


def build(results: Results) -> Table:
    """A block for each kind of metric and test set; a kind without records has no block.

    Raises:
        InputError: there are no metric records.
    """
    blocks = blocks_by_kind(results, METRICS)
    notes = (
        "Mean over foreground classes; of class activation maps over the foreground as a whole. NSD: within 2 mm, or 2 "
        "pixels where the spacing is not known; ASSD in the same unit. Near boundaries: within 10 pixels. Definitions: "
        "docs/metrics-policy.md and docs/interpretation.md.",
        FALSE_STRUCTURES,
        "A class activation map follows the segmentation: compare its score with that of a random map.",
    )
    cells = pd.concat(blocks or [all_runs(results, ())])
    return fill(results, PublishedTable("metrics", title_of(__doc__), "Method", notes, cells), leak_free)
