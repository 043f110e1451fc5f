"""Overlap, surface distance, calibration, and the policy for missing structures. See ``docs/metrics-policy.md``."""

from spectralseg.metrics.averaging import Average, averages
from spectralseg.metrics.calibration import (
    Reliability,
    adaptive_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
)
from spectralseg.metrics.overlap import (
    Counts,
    accuracy,
    dice,
    iou,
    overlap_counts,
    sensitivity,
    slice_counts,
    specificity,
)
from spectralseg.metrics.surface import (
    SurfaceDistances,
    average_surface_distance,
    boundary_iou,
    hausdorff95,
    normalized_surface_dice,
)

__all__ = [
    "Average",
    "Counts",
    "Reliability",
    "SurfaceDistances",
    "accuracy",
    "adaptive_calibration_error",
    "average_surface_distance",
    "averages",
    "boundary_iou",
    "dice",
    "expected_calibration_error",
    "hausdorff95",
    "iou",
    "maximum_calibration_error",
    "normalized_surface_dice",
    "overlap_counts",
    "sensitivity",
    "slice_counts",
    "specificity",
]
