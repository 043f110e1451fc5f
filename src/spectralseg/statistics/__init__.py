"""Honest comparisons: paired bootstrap over seeds and patients."""
