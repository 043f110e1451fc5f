"""Class activation maps and spectral maps."""
