"""Corruptions of test images: the paper's noise, and what goes wrong in practice in each modality.

Every corruption is a pure function of float32 images (N, S, S, channels) in [0, 1] with 1 or 3 channels, its
parameters and a random generator, and returns images of the same shape, type and range. N is 1 for a picture and the
slices of the case for a volume. Labels stay valid: nothing moves or hides a structure on purpose.

=================  ====================================================================================
:mod:`noise`       noise of each pixel; :data:`CORRUPTIONS` holds the readings of the paper's two noises
:mod:`photographs`  blur, light and compression of pictures and, as far as they apply, of CT
:mod:`mri`         bias field, ghosts and movement
:mod:`severities`  which corruptions suit a modality, and their parameters at severities 1 to 5
:mod:`apply`       one entry point to all of them
=================  ====================================================================================

Importing this package loads neither OpenCV nor torch, as the configuration needs the names only.
"""

from spectralseg.corruptions.noise import CORRUPTIONS, bernoulli, gaussian
from spectralseg.corruptions.severities import conditions_of

__all__ = ["CORRUPTIONS", "bernoulli", "conditions_of", "gaussian"]
