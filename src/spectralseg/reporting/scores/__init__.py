"""The report of scored predictions: means, paired differences, single cases and the audit of the files."""

from spectralseg.reporting.scores.report import ScoreReport, build_score_report

__all__ = ["ScoreReport", "build_score_report"]
