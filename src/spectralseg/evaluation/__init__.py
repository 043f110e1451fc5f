"""Predictions in native geometry, corruptions, and the suites: test set, out of distribution, noise, calibration."""
