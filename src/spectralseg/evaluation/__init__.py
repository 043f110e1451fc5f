"""Predictions in native geometry, their scores, and the suites: iid, ood, noise, calibration, interpretation."""
