"""Corruptions of each modality, and their published parameters at severities 1 to 5.

MedMNIST-C publishes parameters per modality in its registry, ROOD-MRI as the defaults of its code. Excluded are
corruptions that move or hide labelled structures (zoom blur, affine and elastic deformation, dark corners, written
characters, bubbles), that need further images (stain deposits), or that do not occur in the modality (JPEG compression
of CT).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from spectralseg.errors import InputError

SEVERITIES = ("1", "2", "3", "4", "5")

Levels = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Sweep:
    """Parameters of a corruption at five severities, and their source."""

    source: str
    parameters: Mapping[str, Levels]


@dataclass(frozen=True)
class Kind:
    """A kind of modality: the lower-case words that identify it, and its corruptions."""

    words: frozenset[str]
    sweeps: Mapping[str, Sweep]


def _sweep(source: str, **parameters: Levels) -> Sweep:
    return Sweep(source, parameters)


DERMA = "MedMNIST-C, DermaMNIST"
PATH = "MedMNIST-C, PathMNIST"
ORGAN = "MedMNIST-C, OrganMNIST"
ROOD = "ROOD-MRI"
UNPUBLISHED = "none published; chosen for SpectralSeg"

_PICTURES = {
    "gaussian_noise": _sweep(DERMA, sd=(0.04, 0.08, 0.12, 0.18, 0.26)),
    "speckle_noise": _sweep(DERMA, sd=(0.05, 0.15, 0.2, 0.35, 0.45)),
    "impulse_noise": _sweep(DERMA, share=(0.01, 0.03, 0.06, 0.09, 0.17)),
    "shot_noise": _sweep(DERMA, photons=(60, 25, 18, 10, 5)),
    "defocus_blur": _sweep(DERMA, radius=(4, 5, 6, 7, 8)),
    "motion_blur": _sweep(DERMA, radius=(10, 15, 15, 15, 20), sigma=(5, 5, 8, 12, 15)),
    "brightness_up": _sweep(DERMA, factor=(1.1, 1.2, 1.3, 1.4, 1.5)),
    "brightness_down": _sweep(DERMA, factor=(0.9, 0.8, 0.7, 0.6, 0.5)),
    "contrast_up": _sweep(DERMA, factor=(1.1, 1.2, 1.3, 1.4, 1.6)),
    "contrast_down": _sweep(DERMA, factor=(0.8, 0.7, 0.6, 0.5, 0.4)),
    "jpeg_compression": _sweep(DERMA, quality=(30, 20, 15, 10, 7)),
    "pixelate": _sweep(DERMA, factor=(0.7, 0.5, 0.4, 0.3, 0.25)),
}

KINDS: Mapping[str, Kind] = {
    "dermoscopy": Kind(frozenset({"dermoscopy", "dermatoscopy"}), _PICTURES),
    "endoscopy": Kind(
        frozenset({"endoscopy", "colonoscopy", "gastroscopy"}),
        {**_PICTURES, "specular_highlights": _sweep(UNPUBLISHED, share=(0.005, 0.01, 0.02, 0.04, 0.08))},
    ),
    "histology": Kind(
        frozenset({"histology", "histopathology"}),
        {
            "defocus_blur": _sweep(PATH, radius=(3, 4, 5, 6, 7)),
            "motion_blur": _sweep(PATH, radius=(5, 10, 15, 15, 15), sigma=(5, 5, 5, 8, 12)),
            "brightness_up": _sweep(PATH, factor=(1.1, 1.15, 1.2, 1.22, 1.25)),
            "brightness_down": _sweep(PATH, factor=(0.85, 0.8, 0.75, 0.72, 0.7)),
            "contrast_up": _sweep(PATH, factor=(1.1, 1.2, 1.3, 1.4, 1.6)),
            "contrast_down": _sweep(PATH, factor=(0.8, 0.7, 0.6, 0.55, 0.5)),
            "saturate": _sweep(PATH, increase=(0.05, 0.1, 0.15, 0.2, 0.25)),
            "jpeg_compression": _sweep(PATH, quality=(50, 30, 15, 10, 7)),
            "pixelate": _sweep(PATH, factor=(0.8, 0.6, 0.4, 0.3, 0.25)),
        },
    ),
    "CT": Kind(
        frozenset({"ct"}),
        {
            "gaussian_noise": _sweep(ORGAN, sd=(0.04, 0.08, 0.12, 0.16, 0.2)),
            "impulse_noise": _sweep(ORGAN, share=(0.01, 0.02, 0.03, 0.05, 0.08)),
            "shot_noise": _sweep(ORGAN, photons=(200, 100, 50, 25, 15)),
            # Published as kernel sizes of 11, 13, 15, 17 and 21 pixels, which torchvision maps to these deviations.
            "gaussian_blur": _sweep(ORGAN, sigma=(2.0, 2.3, 2.6, 2.9, 3.5)),
            "contrast_up": _sweep(ORGAN, factor=(1.3, 1.4, 1.6, 1.7, 1.8)),
            "contrast_down": _sweep(ORGAN, factor=(0.8, 0.7, 0.6, 0.55, 0.5)),
            "gamma_up": _sweep(ORGAN, exponent=(1.3, 1.4, 1.6, 1.8, 2.0)),
            "gamma_down": _sweep(ORGAN, exponent=(0.9, 0.8, 0.7, 0.6, 0.4)),
        },
    ),
    "MR": Kind(
        frozenset({"mr", "mri"}),
        {
            "rician_noise": _sweep(ROOD, relative_sd=(0.16, 0.32, 0.48, 0.64, 0.8)),
            "bias_field": _sweep(ROOD, coefficient=(0.3, 0.6, 0.9, 1.2, 1.5)),
            "ghosting": _sweep(ROOD, ghosts=(3, 5, 7, 9, 11), intensity=(0.5, 1.0, 1.5, 2.0, 2.5)),
            "patient_motion": _sweep(
                ROOD, degrees=(1, 2, 3, 4, 5), translation=(2, 4, 6, 8, 10), movements=(2, 4, 6, 8, 10)
            ),
            "gaussian_blur": _sweep(ROOD, sigma=(0.8, 1.6, 2.4, 3.2, 4.0)),
            "gamma_up": _sweep(ROOD, exponent=(1.4, 1.8, 2.2, 2.6, 3.0)),
            "gamma_down": _sweep(ROOD, exponent=(0.86, 0.72, 0.58, 0.44, 0.3)),
        },
    ),
}


def kind_of(modality: str) -> str:
    """The key of :data:`KINDS` that the modality of a dataset mentions, such as CT for "abdominal CT".

    Raises:
        InputError: the modality mentions none or several.
    """
    words = set(re.findall(r"\w+", modality.lower()))
    kinds = [name for name, kind in KINDS.items() if kind.words & words]
    if len(kinds) != 1:
        valid = ", ".join(word for kind in KINDS.values() for word in sorted(kind.words))
        raise InputError(
            f"modality '{modality}' has no severity sweep; it must name one of these: {valid}; or list noise under "
            "'corruptions'"
        )
    return kinds[0]


def conditions_of(modality: str) -> list[tuple[str, str]]:
    """All pairs of corruption and severity ("1" to "5") of a modality.

    Raises:
        InputError: the modality has no sweep.
    """
    return [(name, severity) for name in KINDS[kind_of(modality)].sweeps for severity in SEVERITIES]


def parameters_of(modality: str, corruption: str, severity: str) -> dict[str, float]:
    """Parameters of a corruption at a severity.

    Raises:
        InputError: the modality has no sweep.
        KeyError, ValueError: the corruption or severity is unknown.
    """
    level = SEVERITIES.index(severity)
    return {name: values[level] for name, values in KINDS[kind_of(modality)].sweeps[corruption].parameters.items()}
