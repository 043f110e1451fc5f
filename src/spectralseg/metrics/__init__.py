"""Overlap, surfaces, lesions, calibration, and the policy for missing structures. See ``docs/metrics-policy.md``."""

from spectralseg.metrics.averaging import Average, averages
from spectralseg.metrics.calibration import (
    Reliability,
    adaptive_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
)
from spectralseg.metrics.lesions import (
    LesionMatch,
    agatston_score,
    match_lesions,
    risk_category,
    volume_difference,
)
from spectralseg.metrics.overlap import (
    Counts,
    accuracy,
    dice,
    iou,
    overlap_counts,
    precision,
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
    "LesionMatch",
    "Reliability",
    "SurfaceDistances",
    "accuracy",
    "adaptive_calibration_error",
    "agatston_score",
    "average_surface_distance",
    "averages",
    "boundary_iou",
    "dice",
    "expected_calibration_error",
    "hausdorff95",
    "iou",
    "match_lesions",
    "maximum_calibration_error",
    "normalized_surface_dice",
    "overlap_counts",
    "precision",
    "risk_category",
    "sensitivity",
    "slice_counts",
    "specificity",
    "volume_difference",
]
