"""Interpretation of predictions: class activation maps and their scores, spectra."""
