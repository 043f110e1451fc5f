"""Overlap, surface distance, calibration, and the policy for missing structures. See ``docs/metrics-policy.md``."""

from spectralseg.metrics.calibration import (
    adaptive_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    two_class_calibration,
)
from spectralseg.metrics.overlap import Counts, accuracy, dice, iou, overlap_counts, sensitivity, specificity
from spectralseg.metrics.surface import hausdorff95

__all__ = [
    "Counts",
    "accuracy",
    "adaptive_calibration_error",
    "dice",
    "expected_calibration_error",
    "hausdorff95",
    "iou",
    "maximum_calibration_error",
    "overlap_counts",
    "sensitivity",
    "specificity",
    "two_class_calibration",
]
