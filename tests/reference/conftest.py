"""References import torchvision, which may not match the installed torch; the package has a workaround."""

from spectralseg._torchvision import ensure_operators

ensure_operators()
