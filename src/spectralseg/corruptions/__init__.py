"""Corruptions of test images: the noise of the paper, and artefacts of each modality.

Every corruption is a pure function of float32 images (N, S, S, channels) in [0, 1] with 1 or 3 channels, its
parameters and a random generator, and returns images of the same shape, type and range. N is 1 for an image and the
number of slices for a volume. Labels stay valid: no corruption moves or hides structures on purpose.

=================  ====================================================================================
:mod:`noise`       pixel noise; :data:`CORRUPTIONS` holds the interpretations of the noise of the paper
:mod:`photographs`  blur, lighting and compression of photographs and, as far as they apply, of CT
:mod:`mri`         bias field, ghosting and motion
:mod:`severities`  corruptions of each modality and their parameters at severities 1 to 5
:mod:`apply`       one entry point to all of them
=================  ====================================================================================

Importing this package loads neither OpenCV nor torch; the configuration needs the names only.
"""

from spectralseg.corruptions.noise import CORRUPTIONS, bernoulli, gaussian
from spectralseg.corruptions.severities import conditions_of

CLEAN = "none"
"""Name of the absence of a corruption, in test conditions and records."""

__all__ = ["CLEAN", "CORRUPTIONS", "bernoulli", "conditions_of", "gaussian"]
