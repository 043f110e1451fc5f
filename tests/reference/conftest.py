"""The references import torchvision, which may not fit the installed torch; the package knows how to mend that."""

from spectralseg._torchvision import ensure_operators

ensure_operators()
