"""SpectralSeg: a benchmark of spatial and spectral objectives for medical image segmentation.

Importing this package is cheap: torch is loaded only by the modules that need it.
"""

__version__ = "0.2.0"
