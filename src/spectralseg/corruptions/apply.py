"""The entry point to all corruptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from spectralseg.corruptions import mri, noise, photographs
from spectralseg.corruptions.noise import CORRUPTIONS, Images
from spectralseg.corruptions.severities import parameters_of

SWEPT: Mapping[str, Callable[..., Images]] = {
    "gaussian_noise": noise.gaussian_sd,
    "speckle_noise": noise.speckle,
    "impulse_noise": noise.impulse,
    "shot_noise": noise.shot,
    "rician_noise": noise.rician,
    "gaussian_blur": photographs.gaussian_blur,
    "defocus_blur": photographs.defocus_blur,
    "motion_blur": photographs.motion_blur,
    "brightness_up": photographs.brightness,
    "brightness_down": photographs.brightness,
    "contrast_up": photographs.contrast,
    "contrast_down": photographs.contrast,
    "gamma_up": photographs.gamma,
    "gamma_down": photographs.gamma,
    "saturate": photographs.saturate,
    "jpeg_compression": photographs.jpeg,
    "pixelate": photographs.pixelate,
    "specular_highlights": photographs.specular_highlights,
    "bias_field": mri.bias_field,
    "ghosting": mri.ghosting,
    "patient_motion": mri.patient_motion,
}


def corrupt(images: Images, corruption: str, severity: str, modality: str, rng: np.random.Generator) -> Images:
    """Corrupt the images of a case.

    Args:
        images: float32 (N, S, S, 1 or 3) in [0, 1], N ≥ 1: an image, or the slices of a volume in order.
        corruption: key of ``CORRUPTIONS``, or one of ``conditions_of(modality)``.
        severity: the level of the former, as a decimal; "1" to "5" for the latter.
        modality: as the dataset file states it.
        rng: the only source of randomness; the same state gives bit-identical images.

    Returns:
        New images of the same shape, float32 in [0, 1]; or ``images`` itself if the corruption changes nothing.

    Raises:
        InputError: the modality has no sweep.
        KeyError, ValueError: the corruption or severity is unknown.
    """
    if corruption in CORRUPTIONS:
        return CORRUPTIONS[corruption](images, float(severity), rng)
    return SWEPT[corruption](images, rng=rng, **parameters_of(modality, corruption, severity))
